"""Training of a generator against a discriminator: both in one state, each with its own loss and its own Adam."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from experiments.bundle import Bundle
from experiments.fitting import Draw, Fitting, Parameters, Trainable, accumulated, compiled, handed_on, in_parts, trainable
from supernet.training import TrainState, adam_with_warmup, initial_state, training_update

# The first beta of the discriminator's Adam: what it should answer to changes while the generator learns.
_NO_MOMENTUM = 0.0
# (own parameters, the opponent's, batch) to a loss, and its parts by name.
PlayerLoss = Callable[[Parameters, Parameters, Any], tuple[Array, dict[str, Array]]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Players:
    """What training carries from step to step: the generator, whose average is what is trained for, and its opponent."""

    generator: TrainState
    discriminator: TrainState


@dataclasses.dataclass(frozen=True, eq=False)
class Game:
    """What the two play for.

    Attributes:
        generator_loss: is minimised by the generator.
        discriminator_loss: is minimised by the discriminator.
        discriminator_rate: its learning rate, as a multiple of the generator's.
        discriminator_every: it moves in every so manieth step; the generator moves in each.
    """

    generator_loss: PlayerLoss
    discriminator_loss: PlayerLoss
    discriminator_rate: float
    discriminator_every: int = 1


def two_players(
    bundle: Bundle, discriminator: Parameters, game: Game, draw: Draw, *, num_steps: int, weights: Trainable | None = None
) -> Fitting:
    """Fitting of what is trainable of a bundle against a discriminator.

    In a step the discriminator moves first, and the generator answers to what it has become, on the same batch. `loss` is the
    generator's, `discriminator` the discriminator's before it moved.

    Args:
        bundle: where the generator starts, and its learning rate, averaging and accumulation.
        discriminator: its parameters before the first step.
        game: the losses, and how the discriminator learns.
        draw: makes the batch of a step.
        num_steps: of the training.
        weights: what is trained; by default what the settings of the bundle say.
    """
    weights = weights or trainable(bundle)
    settings, every = bundle.settings, game.discriminator_every
    for_generator = adam_with_warmup(settings.learning_rate, warmup_steps=settings.warmup_steps, num_steps=num_steps)
    for_discriminator = adam_with_warmup(
        game.discriminator_rate * settings.learning_rate, warmup_steps=settings.warmup_steps // every,
        num_steps=max(num_steps // every, 1), momentum=_NO_MOMENTUM,
    )  # fmt: skip
    move_generator, move_discriminator = (
        training_update(optimizer, ema_decay=settings.ema_decay) for optimizer in (for_generator, for_discriminator)
    )

    def generator_loss(trained: Parameters, discriminator: Parameters, batch: Any) -> Any:
        return game.generator_loss(weights.whole(trained), discriminator, batch)

    def discriminator_loss(discriminator: Parameters, trained: Parameters, batch: Any) -> Any:
        return game.discriminator_loss(discriminator, weights.whole(trained), batch)

    def gradient(loss: PlayerLoss, own: TrainState, other: TrainState, batch: Any) -> tuple[dict[str, Array], Parameters]:
        of_batch = accumulated(lambda mine, part: loss(mine, other.parameters, part), settings.accumulation)
        return of_batch(own.parameters, batch)

    def moved(discriminator: TrainState, generator: TrainState, batch: Any, rate: Array) -> tuple[TrainState, Array]:
        losses, gradients = gradient(discriminator_loss, discriminator, generator, batch)
        return move_discriminator(discriminator, gradients, rate=rate), losses["loss"]

    def kept(discriminator: TrainState, generator: TrainState, batch: Any, rate: Array) -> tuple[TrainState, Array]:
        of_batch = in_parts(lambda mine, part: discriminator_loss(mine, generator.parameters, part)[0], settings.accumulation)
        return discriminator, of_batch(discriminator.parameters, batch)

    def step(players: Players, seed: Array, number: Array, images: Array, prompts: Array, rate: Array) -> Any:
        batch, generator = draw(seed, number, images, prompts), players.generator
        inputs = (players.discriminator, generator, batch, rate)
        discriminator, value = moved(*inputs) if every == 1 else jax.lax.cond(number % every == 0, moved, kept, *inputs)
        losses, gradients = gradient(generator_loss, generator, discriminator, batch)
        return Players(move_generator(generator, gradients, rate=rate), discriminator), {**losses, "discriminator": value}

    return Fitting(
        Players(initial_state(weights.start, for_generator), initial_state(discriminator, for_discriminator)),
        compiled(step),
        lambda players: handed_on(weights, players.generator.average),
    )
