"""What is trained and how one step of it is taken, whatever the loss: `experiments.fitting_loop` does the steps.

A method of distillation is a list of phases, each of which trains what the phase before left.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jaxtyping import Array

from experiments.bundle import Bundle
from experiments.progress import Progress
from search_space import Architecture
from search_space.block_map import BlockMap
from supernet import load_unet
from supernet.adapters import fresh_updates, with_updates
from supernet.initializer import random_initializer
from supernet.training import COMPILER_OPTIONS, TrainState, adam_with_warmup, initial_state, training_update

# Parameters, by part ("network", "prompt" and whatever is trained beside them), then by path.
Parameters = dict[str, Any]
_LORA = "lora"
# (parameters, batch: a tree of arrays with a leading axis of examples) to a loss, and its parts by name for people.
BatchLoss = Callable[[Parameters, Any], tuple[Array, dict[str, Array]]]
# (seed, number of the step, images, prompts) to the batch of a loss: noise and times are drawn here.
Draw = Callable[[Array, Array, Array, Array], Any]
# (network's parameters, noisy images, time steps in [0, 1000], contexts) to a prediction in float32.
Apply = Callable[[Any, Array, Array, Array], Array]
# The same, to the prediction and the stream by block.
ApplyStreams = Callable[[Any, Array, Array, Array], tuple[Array, dict[str, Array]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Fitting:
    """What a phase trains.

    Attributes:
        state: arrays in any pytree, before the first step.
        step: (state, seed, number of the step from 1, images, prompts, rate) to the next state, whose memory is that of the
            state given, and losses by name, of which `loss` is the one that people watch; compiled. `rate` multiplies the
            learning rate.
        trained: what of a state is handed on: the averaged parameters `network` and `prompt`.
    """

    state: Any
    step: Callable[[Any, Array, Array, Array, Array, Array], tuple[Any, dict[str, Array]]]
    trained: Callable[[Any], Parameters]


@dataclasses.dataclass(frozen=True, eq=False)
class Phase:
    """One training of a method.

    Attributes:
        title: for people, such as "Halving 32 to 16 steps".
        num_steps: of the training.
        fitting: from the bundle that the phase before left to what is trained.
        changes: keys of `training.yaml` that hold afterwards, such as `sample_steps`.
        architecture: of the network from this phase on; its parameters have the names and shapes of those before. `fitting`
            is given a bundle with it. None: as it was.
        drawer: from the bundle and a seed to a function (parameters handed on, file) that draws samples. None: those of the
            network alone.
    """

    title: str
    num_steps: int
    fitting: Callable[[Bundle], Fitting]
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    architecture: Architecture | None = None
    drawer: Callable[[Bundle, int], Callable[[Parameters, Path], Any]] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """What a method of distillation starts from.

    Attributes:
        student: the bundle whose network is trained, with the learning rate, batch size and so on of this training.
        teacher: a bundle that sees the same inputs and predicts the same quantity; the student itself where there is none.
        seed: of all draws.
        folder: what is in it when a training is interrupted is there when it goes on.
        progress: where to report what takes long beside the training.
        block_map: by block of the student, the teacher's block that it corresponds to, as its bundle has it; see
            `distilling.teachers.read_block_map`. None: `distilling.teachers.compared_blocks` finds what corresponds.
    """

    student: Bundle
    teacher: Bundle
    seed: int
    folder: Path
    progress: Progress
    block_map: BlockMap | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Trainable:
    """What of a bundle is trained.

    Attributes:
        start: before the first step.
        whole: from what is trained to all parameters, as losses see them.
        handed_on: parts of these that are handed on.
    """

    start: Parameters
    whole: Callable[[Parameters], Parameters]
    handed_on: tuple[str, ...] = ("network", "prompt")


def trainable(bundle: Bundle) -> Trainable:
    """All weights, or low-rank updates of the network's kernels where the settings have a `lora_rank`."""
    settings, parameters = bundle.settings, bundle.parameters
    if settings.lora_rank is None:
        return Trainable(parameters, lambda trained: trained)
    network = parameters["network"]
    updates = fresh_updates(network, rank=settings.lora_rank, init=random_initializer(settings.seed))
    return Trainable(
        {_LORA: updates}, lambda trained: {**parameters, **trained, "network": with_updates(network, trained[_LORA])}
    )


def training_apply(bundle: Bundle) -> Apply:
    """The network of a bundle as it is trained: in the precision, and with the memory, that its settings say."""
    apply = training_streams(bundle)
    return lambda parameters, x, timestep, context: apply(parameters, x, timestep, context)[0]


def training_streams(bundle: Bundle) -> ApplyStreams:
    """The same, with the streams behind its blocks."""
    network = bundle.network(remat=bundle.settings.remat)
    dtype = jnp.dtype(bundle.settings.precision)

    def apply(parameters: Any, x: Array, timestep: Array, context: Array) -> tuple[Array, dict[str, Array]]:
        low, x, context = jax.tree.map(lambda array: array.astype(dtype), (parameters, x, context))
        prediction, streams = load_unet(network, low).block_outputs(x, timestep, context)
        return jax.tree.map(lambda array: array.astype(jnp.float32), (prediction, streams))

    return apply


def single_loss(bundle: Bundle, loss: BatchLoss, draw: Draw, *, num_steps: int, beside: Parameters | None = None) -> Fitting:
    """Fitting of what is trainable of a bundle to one loss by Adam, with averaged weights.

    Args:
        bundle: where training starts, and its learning rate, averaging and accumulation.
        loss: is minimised; the mean over equal parts of a batch where the settings accumulate.
        draw: makes the batch of a step.
        num_steps: of the training.
        beside: more parameters, trained along and dropped afterwards.
    """
    settings, weights = bundle.settings, trainable(bundle)
    optimizer = adam_with_warmup(settings.learning_rate, warmup_steps=settings.warmup_steps, num_steps=num_steps)
    gradient = accumulated(lambda trained, batch: loss(weights.whole(trained), batch), settings.accumulation)
    update = training_update(optimizer, ema_decay=settings.ema_decay)

    def step(state: TrainState, seed: Array, number: Array, images: Array, prompts: Array, rate: Array) -> Any:
        losses, gradients = gradient(state.parameters, draw(seed, number, images, prompts))
        return update(state, gradients, rate=rate), losses

    return Fitting(
        initial_state({**weights.start, **(beside or {})}, optimizer),
        compiled(step),
        lambda state: handed_on(weights, state.average),
    )


def handed_on(weights: Trainable, trained: Parameters) -> Parameters:
    """What is handed on, and nothing that was trained beside it."""
    whole = weights.whole(trained)
    return {part: whole[part] for part in weights.handed_on}


def compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step as one program, for arguments of one shape; the memory of the first, the state, goes to the result.

    Arrays that the step closes over, such as a teacher's weights, are arguments of the program. As constants they would be
    written into it, and XLA refuses programs of more than 2 GB.
    """
    program = None

    def call(*arguments: Any) -> Any:
        nonlocal program
        program = program or with_constants_as_arguments(step, arguments)
        return program(*arguments)

    return call


def with_constants_as_arguments(step: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """The compiled step for arguments of the shapes of these; what it closes over is bound to its first argument.

    It is put where the state is: on several devices it would be copied to all of them at every step.
    """
    traced, out = jax.make_jaxpr(step, return_shape=True)(*arguments)
    constants = jax.device_put(traced.consts, jax.tree.leaves(arguments[0])[0].sharding)

    def run(constants: list[Array], *arguments: Any) -> Any:
        flat = eval_jaxpr(traced.jaxpr, constants, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(out), flat)

    return functools.partial(jax.jit(run, donate_argnums=1, compiler_options=COMPILER_OPTIONS), constants)


def accumulated(loss: BatchLoss, num_parts: int) -> Callable[[Parameters, Any], tuple[dict[str, Array], Parameters]]:
    """Losses by name, and gradients, as means over equal parts of a batch; see `in_parts`."""
    gradient = jax.value_and_grad(loss, has_aux=True)

    def of_part(parameters: Parameters, part: Any) -> tuple[dict[str, Array], Parameters]:
        (value, others), gradients = gradient(parameters, part)
        return {"loss": value, **others}, gradients

    return in_parts(of_part, num_parts)


def in_parts(of_part: Callable[[Parameters, Any], Any], num_parts: int) -> Callable[[Parameters, Any], Any]:
    """The mean of what is computed of equal parts of a batch, one after the other.

    Examples go to the parts in turn, so that times which ascend through a batch do so in each part, and a part is spread over
    devices as the batch is. A mean over examples is the same for any number of parts; its memory is that of one.
    """
    if num_parts == 1:
        return of_part

    def mean(parameters: Parameters, batch: Any) -> Any:
        parts = jax.tree.map(lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1), batch)
        shapes = jax.eval_shape(of_part, parameters, jax.tree.map(lambda x: x[0], parts))
        zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def add(total: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, of_part(parameters, part)), None

        total, _ = jax.lax.scan(add, zero, parts)
        return jax.tree.map(lambda x: x / num_parts, total)

    return mean
