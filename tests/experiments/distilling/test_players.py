"""Training of two players on losses whose gradients are known: who moves when, by whose gradient, and what is handed on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bundle import Bundle
from experiments.config import load_config
from experiments.distilling.players import Game, two_players
from experiments.handoff import training_settings
from search_space import get_space

NUM_STEPS = 8
IMAGES, PROMPTS = jnp.arange(4.0), jnp.zeros(4)


def bundle(**changes):
    settings = training_settings(load_config("digits-small"), "nothing")
    plain = {"learning_rate": 0.1, "warmup_steps": 0, "accumulation": 1, "ema_decay": 0.5, "batch_size": 4}
    parameters = {"network": {"g": jnp.float32(2.0)}, "prompt": {}}
    return Bundle(get_space("digits-small").smallest(), settings.model_copy(update=plain | changes), parameters)


def draw(seed, number, images, prompts):
    return {"x": images, "number": jnp.full(len(images), number)}


def of_generator(own, other, batch):
    """Falls with g where d is above 0."""
    value = jnp.mean(-other["d"] * own["network"]["g"] + 0.0 * batch["x"])
    return value, {"adversarial": value}


def of_discriminator(own, other, batch):
    """Least at d = g."""
    return jnp.mean((own["d"] - other["network"]["g"]) ** 2 + batch["x"]), {}


def fitting(*, rate=1.0, every=1, **changes):
    game = Game(of_generator, of_discriminator, rate, every)
    return two_players(bundle(**changes), {"d": jnp.float32(0.0)}, game, draw, num_steps=NUM_STEPS)


def run(fitting, num_steps=NUM_STEPS, rate=1.0):
    state, states, losses = fitting.state, [], []
    for number in range(1, num_steps + 1):
        state, named = fitting.step(state, jnp.uint32(0), jnp.uint32(number), IMAGES, PROMPTS, jnp.float32(rate))
        states.append(jax.tree.map(np.array, state))
        losses.append({name: float(value) for name, value in named.items()})
    return states, losses


def test_the_discriminator_moves_first_and_the_generator_answers():
    """Adam's first step is the learning rate long, against the sign of the gradient."""
    states, losses = run(fitting(rate=0.5), 1)
    assert states[0].discriminator.parameters["d"] == pytest.approx(0.05, rel=1e-4)
    assert states[0].generator.parameters["network"]["g"] == pytest.approx(2.1, rel=1e-4)
    # The discriminator's loss is that before it moved; the generator's is against what it has become.
    assert losses[0] == pytest.approx({"discriminator": 5.5, "loss": -0.1, "adversarial": -0.1}, rel=1e-4)


def test_a_rate_of_zero_moves_nobody():
    state = run(fitting(), 1, rate=0.0)[0][0]
    assert state.discriminator.parameters["d"] == 0.0
    assert state.generator.parameters["network"]["g"] == 2.0


def test_between_its_turns_the_discriminator_and_its_optimizer_stay():
    states, losses = run(fitting(every=2))
    before = jax.tree.map(np.array, fitting(every=2).state.discriminator)
    for number, state in enumerate(states, start=1):
        same = jax.tree.map(lambda a, b: bool(np.all(a == b)), state.discriminator, before)
        assert all(jax.tree.leaves(same)) == (number % 2 == 1), number
        before = state.discriminator
    assert [int(state.discriminator.step) for state in states] == [0, 1, 1, 2, 2, 3, 3, 4]
    # At d = 0 the generator has no gradient; its loss is told in every step all the same.
    assert states[0].generator.parameters["network"]["g"] == 2.0
    assert losses[0]["discriminator"] == losses[1]["discriminator"] == 5.5
    assert losses[3]["discriminator"] != losses[1]["discriminator"]


def test_what_is_handed_on_is_the_average_of_the_generator():
    fitted = fitting()
    states, _ = run(fitted)
    trained = fitted.trained(jax.tree.map(jnp.asarray, states[-1]))
    assert set(trained) == {"network", "prompt"}
    assert trained["network"]["g"] == states[-1].generator.average["network"]["g"]
    assert trained["network"]["g"] < states[-1].generator.parameters["network"]["g"]


@pytest.mark.parametrize("every", [1, 2])
def test_accumulation_changes_memory_alone(every):
    (one, told), (two, told_too) = (run(fitting(every=every, accumulation=n)) for n in (1, 2))
    for a, b in zip(jax.tree.leaves(one[-1]), jax.tree.leaves(two[-1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for a, b in zip(told, told_too, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
