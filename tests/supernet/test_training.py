"""The training step: its average, its gradient over several subnets, and which subnets a step trains."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from search_space import get_space
from supernet.paths import fair_genotypes, thinned_genotypes, training_paths
from supernet.training import adam_with_warmup, initial_state, path_gradient, training_step

SPACE = get_space("digits")


def _predict(parameters, inputs, genotype):
    """A stand-in for a supernet: the genotype's first gene picks one of two slopes."""
    return parameters["slope"][genotype[0]] * inputs


def _loss(prediction, target, genotype):
    return jnp.mean((prediction - target) ** 2)


GRADIENT = path_gradient(_predict, _loss)
PARAMETERS = {"slope": jnp.array([1.0, 3.0])}
INPUTS = jnp.array([1.0, 2.0])


def _gradient(genotypes, num_paths, *, in_place):
    target = jnp.zeros(2)
    return GRADIENT(PARAMETERS, INPUTS, target, jnp.array(genotypes), jnp.int32(num_paths), jnp.asarray(in_place))


def test_the_gradient_is_the_mean_over_the_trained_paths():
    loss, gradient = _gradient([[0], [1], [1]], 2, in_place=False)
    # mean of slope^2 * (1 + 4) / 2 over the slopes 1 and 3; its derivative is 5 * slope, each path counting half
    assert loss == pytest.approx((2.5 * 1 + 2.5 * 9) / 2)
    np.testing.assert_allclose(gradient["slope"], [2.5, 7.5])


def test_rows_beyond_the_number_of_paths_do_nothing():
    loss, gradient = _gradient([[0], [1], [1]], 1, in_place=False)
    assert loss == pytest.approx(2.5)
    np.testing.assert_allclose(gradient["slope"], [5.0, 0.0])


def test_in_place_distillation_teaches_all_but_the_first_what_the_first_predicts():
    loss, gradient = _gradient([[1], [0]], 2, in_place=True)
    # The first learns the target 0 with slope 3; the second, of slope 1, learns 3 * x: (1 - 3)^2 * 2.5.
    assert loss == pytest.approx((2.5 * 9 + 2.5 * 4) / 2)
    np.testing.assert_allclose(gradient["slope"], [-5.0, 7.5])


def test_one_program_trains_any_number_of_paths():
    traces = 0

    def counted(*arguments):
        nonlocal traces
        traces += 1
        return GRADIENT(*arguments)

    optimizer = optax.sgd(0.1)
    step = training_step(counted, optimizer, ema_decay=0.5)
    state = initial_state(PARAMETERS, optimizer)
    for num_paths, in_place in ((1, False), (3, False), (2, True)):
        genotypes = jnp.array([[0], [1], [1]])
        state, _ = step(state, INPUTS, jnp.zeros(2), genotypes, jnp.int32(num_paths), jnp.asarray(in_place))
    assert traces == 1
    assert state.step == 3
    np.testing.assert_allclose(PARAMETERS["slope"], [1.0, 3.0])  # the caller's arrays were copied, not given away


def test_the_average_begins_as_a_short_one_and_follows_the_decay():
    def gradient(parameters, value):
        return jnp.zeros(()), {"x": parameters["x"] - value}

    step = training_step(gradient, optax.sgd(1.0), ema_decay=0.25)
    state = initial_state({"x": jnp.zeros(())}, optax.sgd(1.0))
    average = 0.0
    for number, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        state, _ = step(state, jnp.asarray(value))
        decay = min(0.25, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * value
        assert state.parameters["x"] == pytest.approx(value)
        assert state.average["x"] == pytest.approx(average)


def test_the_learning_rate_warms_up_and_decays():
    optimizer = adam_with_warmup(1e-2, warmup_steps=10, num_steps=100)
    state, sizes = optimizer.init(jnp.zeros(1)), []
    for _ in range(100):
        update, state = optimizer.update(jnp.ones(1), state)
        sizes.append(abs(float(update[0])))
    assert sizes[0] == 0
    assert max(sizes) == pytest.approx(1e-2, rel=1e-3)
    assert sizes.index(max(sizes)) == 10
    assert sizes[-1] < 1.2e-3


def test_genes_deal_their_choices_in_rounds():
    drawn = np.stack(list(itertools.islice(fair_genotypes(SPACE, np.random.default_rng(0)), 12)))
    for i, gene in enumerate(SPACE.genes):
        if gene.name.startswith("up") and gene.name.endswith("num_blocks"):
            continue  # these may be lowered to keep the skip rule
        counts = Counter(drawn[:, i])
        assert set(counts.values()) == {12 // len(gene.choices)}, gene.name


def test_modes_train_the_subnets_that_they_name():
    largest, smallest = SPACE.encode(SPACE.largest()), SPACE.encode(SPACE.smallest())
    for mode, num_paths, in_place in (("single_path", 2, False), ("sandwich", 4, False), ("sandwich_distill", 4, True)):
        paths = list(itertools.islice(training_paths(SPACE, mode, largest_steps=2, seed=0), 5))
        assert [path.num_paths for path in paths] == [1, 1, num_paths, num_paths, num_paths]
        assert all(np.array_equal(path.genotypes[0], largest) for path in paths[:2])
        assert len({path.genotypes.shape for path in paths}) == 1
        assert paths[-1].in_place is in_place
        if mode != "single_path":
            assert np.array_equal(paths[-1].genotypes[0], largest)
            assert np.array_equal(paths[-1].genotypes[3], smallest)
        for path in paths:
            assert all(SPACE.contains(SPACE.decode(genotype)) for genotype in path.genotypes)
    with pytest.raises(ValueError, match="mode must be one of single_path, sandwich, .*, got 'sandwhich'"):
        next(training_paths(SPACE, "sandwhich", largest_steps=0, seed=0))


def test_gradients_flow_through_jit():
    loss, gradient = jax.jit(GRADIENT)(
        PARAMETERS, INPUTS, jnp.zeros(2), jnp.array([[0], [1]]), jnp.int32(2), jnp.asarray(False)
    )
    assert np.isfinite(loss)
    assert gradient["slope"].shape == (2,)


def test_recovery_ends_with_sandwiches_whatever_came_before():
    paths = list(
        itertools.islice(training_paths(SPACE, "single_path", largest_steps=1, seed=0, num_steps=6, recovery_steps=2), 6)
    )
    assert [path.num_paths for path in paths] == [1, 2, 2, 2, 4, 4]
    np.testing.assert_array_equal(paths[-1].genotypes[0], SPACE.encode(SPACE.largest()))
    np.testing.assert_array_equal(paths[-1].genotypes[3], SPACE.encode(SPACE.smallest()))
    assert not paths[-1].in_place
    whole = list(
        itertools.islice(training_paths(SPACE, "single_path", largest_steps=0, seed=0, num_steps=3, recovery_steps=3), 3)
    )
    assert [path.num_paths for path in whole] == [4, 4, 4]
    plain = itertools.islice(training_paths(SPACE, "single_path", largest_steps=1, seed=0), 4)
    for one, other in zip(paths, plain, strict=False):
        np.testing.assert_array_equal(one.genotypes, other.genotypes)


def test_thinned_genotypes_are_deeper_than_fair_ones_and_keep_the_skip_rule():
    thinned = np.stack(list(itertools.islice(thinned_genotypes(SPACE, np.random.default_rng(0)), 300)))
    depths = {gene.name: np.array(gene.choices)[thinned[:, i]] for i, gene in enumerate(SPACE.genes)}
    assert depths["down0.transformer_depth"].mean() == pytest.approx(0.7, abs=0.1)  # one block of at most one
    assert depths["mid.num_blocks"].mean() == pytest.approx(1.4, abs=0.15)
    for genotype in thinned[:20]:
        SPACE.validate(SPACE.decode(genotype))


def test_the_rate_of_a_step_scales_what_it_moves():
    step = training_step(GRADIENT, optax.sgd(0.1), ema_decay=0.5)
    arguments = (INPUTS, jnp.zeros(2), jnp.array([[0]]), jnp.int32(1), jnp.asarray(False))
    moved = []
    for rate in (1.0, 0.5):
        state, _ = step(initial_state(PARAMETERS, optax.sgd(0.1)), *arguments, rate=rate)
        moved.append(float(state.parameters["slope"][0]) - 1.0)
    assert moved[1] == pytest.approx(0.5 * moved[0])
    assert moved[0] == pytest.approx(-0.5)
