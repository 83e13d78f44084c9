"""The training step: gradients, optimizer, moving average, for any loss; and the gradient over several subnets.

The loss is a callable, so that denoising, distillation and anything else train with one step. A step is compiled once: which
subnets it trains, and how many, are inputs. Trained with one subnet alone, the same program trains a stand-alone subnet.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Gradient = Callable[..., tuple[Array, Any]]
Predict = Callable[[Any, Any, Array], Any]
Loss = Callable[[Any, Any, Array], Array]
# LLVM's first level: a quarter less compile time for the same speed, because the time goes into matmuls.
COMPILER_OPTIONS: dict[str, Any] = {"xla_backend_optimization_level": 1}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What training carries from step to step.

    Attributes:
        parameters: the weights that are trained.
        average: their exponential moving average, which is evaluated.
        optimizer: the optimizer's state.
        step: number of steps done.
    """

    parameters: Any
    average: Any
    optimizer: Any
    step: Any  # an integer scalar; no more is said, since JAX also builds this with placeholders


def initial_state(parameters: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step; it holds copies, since a step gives the memory of its inputs to its outputs."""
    trained, average = (jax.tree.map(jnp.array, parameters) for _ in range(2))
    return TrainState(trained, average, optimizer.init(parameters), jnp.int32(0))


def warmup_and_decay(learning_rate: float, *, warmup_steps: int, num_steps: int) -> optax.Schedule:
    """Linear warm-up and cosine decay to a tenth."""
    return optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(warmup_steps, num_steps - 1), num_steps, end_value=learning_rate / 10
    )


def adam_with_warmup(
    learning_rate: float, *, warmup_steps: int, num_steps: int, momentum: float = 0.9
) -> optax.GradientTransformation:
    """Adam with gradient clipping, linear warm-up and cosine decay to a tenth; `momentum` is its first beta."""
    schedule = warmup_and_decay(learning_rate, warmup_steps=warmup_steps, num_steps=num_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=momentum))


def training_step(
    gradient: Gradient, optimizer: optax.GradientTransformation, *, ema_decay: float
) -> Callable[..., tuple[TrainState, Float[Array, ""]]]:
    """A compiled step `(state, *inputs) -> (state, loss)`, where `gradient(parameters, *inputs)` gives loss and gradients.

    The average begins as a short one: its decay at step n is at most (1 + n) / (10 + n). A step called with `rate` moves the
    weights by so many times what the optimizer says.
    """
    update = training_update(optimizer, ema_decay=ema_decay)

    def step(state: TrainState, *inputs: Any, rate: Array | float = 1.0) -> tuple[TrainState, Array]:
        loss, gradients = gradient(state.parameters, *inputs)
        return update(state, gradients, rate=rate), loss

    return jax.jit(step, donate_argnums=0, compiler_options=COMPILER_OPTIONS)


def training_update(optimizer: optax.GradientTransformation, *, ema_decay: float) -> Callable[..., TrainState]:
    """`(state, gradients, rate) -> state`, not compiled; `training_step` says what average and rate are."""

    def update(state: TrainState, gradients: Any, *, rate: Array | float = 1.0) -> TrainState:
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, jax.tree.map(lambda update: rate * update, updates))
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        average = optax.incremental_update(parameters, state.average, 1.0 - decay)
        return TrainState(parameters, average, optimizer_state, state.step + 1)

    return update


def path_gradient(predict: Predict, loss: Loss) -> Gradient:
    """The mean loss and gradient over several subnets of a supernet on one batch, as one program for any number of them.

    The result is called as `gradient(parameters, inputs, target, subnets, num_paths, in_place)`: the first `num_paths`
    of `subnets` are trained; with `in_place`, all but the first learn the first one's prediction, not `target`.

    Args:
        predict: (parameters, inputs, subnet) to prediction, a tree of arrays like the target.
        loss: (prediction, target, subnet) to a number.

    Source: Yu et al. 2020 (BigNAS) for the sandwich rule and in-place distillation.
    """

    def gradient(
        parameters: Any,
        inputs: Any,
        target: Any,
        subnets: Int[Array, "paths *subnet"],
        num_paths: Int[Array, ""],
        in_place: Bool[Array, ""],
    ) -> tuple[Float[Array, ""], Any]:
        def one(parameters: Any, subnet: Array, target: Any) -> tuple[Array, Any]:
            prediction = predict(parameters, inputs, subnet)
            return loss(prediction, target, subnet), prediction

        def add(i: Array, carry: tuple[Array, Any, Any]) -> tuple[Array, Any, Any]:
            total, gradients, taught = carry
            (value, prediction), of_path = jax.value_and_grad(one, has_aux=True)(parameters, subnets[i], taught)
            is_teacher = (i == 0) & in_place
            taught = jax.tree.map(lambda new, old: jnp.where(is_teacher, new, old), prediction, taught)
            return total + value, jax.tree.map(jnp.add, gradients, of_path), taught

        zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, parameters), target)
        total, gradients, _ = lax.fori_loop(0, num_paths, add, zero)
        return total / num_paths, jax.tree.map(lambda x: x / num_paths, gradients)

    return gradient
