"""Trains one subnet at a time by the supernet's program: from fresh weights as if it stood alone, or on from shared ones.

What the subnet does not use has no gradient and stays as it is, so that each step is the step of the stand-alone network;
but nothing is compiled for each network.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import SweepConfig
from experiments.denoising_task import load_examples, training_examples
from experiments.memory import keep_freed_memory
from experiments.supernet_training import sweep_supernet, sweep_task
from search_space import Architecture, layer_plan
from supernet import UNet, unet_parameters
from supernet.initializer import Initializer, random_initializer
from supernet.parameters import of_block
from supernet.subnets import write_block
from supernet.training import adam_with_warmup, initial_state, training_step

_TUNING_SEED = 303  # of batches, noise and times
_WARMUP_SHARE = 12  # one step in so many raises the learning rate


@dataclasses.dataclass(frozen=True)
class SubnetSchedule:
    """How subnets are trained: number of steps, images a step, the highest learning rate, decay of the averaged weights."""

    num_steps: int
    batch_size: int
    learning_rate: float
    ema_decay: float = 0.999


class SubnetTraining:
    """Trains subnets of a sweep's supernet; the program compiles once."""

    def __init__(self, config: SweepConfig, schedule: SubnetSchedule) -> None:
        """Prepares the program; nothing is compiled yet."""
        keep_freed_memory()
        task, supernet = sweep_task(config), sweep_supernet(config)
        self._supernet, self._num_steps = supernet, schedule.num_steps
        self._noisy_batch = jax.jit(task.noisy_batch)
        self._optimizer = adam_with_warmup(
            schedule.learning_rate, warmup_steps=schedule.num_steps // _WARMUP_SHARE, num_steps=schedule.num_steps
        )

        def loss(parameters: Any, inputs: Any, target: Any, route: Any) -> Any:
            return jnp.mean((task.predict(supernet.apply, parameters, inputs, route) - target) ** 2)

        self._step = training_step(jax.value_and_grad(loss), self._optimizer, ema_decay=schedule.ema_decay)

    def __call__(
        self,
        parameters: Any,
        architecture: Architecture,
        examples: Iterable[tuple[np.ndarray, np.ndarray]],
        *,
        seed: int,
        on_step: Callable[[], None] = lambda: None,
    ) -> Any:
        """The averaged parameters after training; those that the architecture does not use are as they were.

        Args:
            parameters: `network` (the supernet's) and `prompt`.
            architecture: what is trained.
            examples: batches of images and prompts, as many as there are steps or more.
            seed: of noise and times.
            on_step: is called after every step.
        """
        route = jnp.asarray(self._supernet.route(architecture))
        state = initial_state(parameters, self._optimizer)
        for number, batch in enumerate(itertools.islice(examples, self._num_steps), start=1):
            inputs, target = self._noisy_batch(jnp.uint32(seed), jnp.uint32(number), *batch)
            state, _ = self._step(state, inputs, target, route)
            on_step()
        return state.average


def fresh_parameters(
    config: SweepConfig,
    architecture: Architecture,
    seed: int,
    *,
    initializer: Callable[[int], Initializer] = random_initializer,
) -> dict[str, Any]:
    """The supernet's parameters, with those of the architecture as its stand-alone network draws them."""
    supernet, task = sweep_supernet(config), sweep_task(config)
    parameters = jax.tree.map(np.array, supernet.initial_parameters(seed))
    plan = layer_plan(architecture, task.scale)
    drawn = unet_parameters(UNet(plan, init=initializer(seed)))
    for block in plan.blocks:
        write_block(supernet, parameters, block, of_block(drawn, block.name))
    return {"network": jax.tree.map(jnp.asarray, parameters), "prompt": task.prompt_parameters(seed)}


def tuning_batches(config: SweepConfig) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and prompts of every step by which architectures are trained on before they are judged; of none, none."""
    scale, settings = sweep_task(config).scale, config.supernet
    if not (num_steps := config.quality.fine_tune_steps):
        return []
    dataset = load_examples(config.data, scale, split="train")
    examples = training_examples(dataset, scale, batch_size=settings.batch_size, seed=_TUNING_SEED)
    return list(itertools.islice(examples, num_steps))


def tuning(config: SweepConfig, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> Callable[[Any, Architecture], Any]:
    """A function of the shared parameters and an architecture that trains them on, all architectures on the same batches.

    The learning rate is half the supernet's. Without batches it hands the parameters on.
    """
    if not batches:
        return lambda shared, architecture: shared
    settings = config.supernet
    train = SubnetTraining(
        config, SubnetSchedule(len(batches), settings.batch_size, settings.learning_rate / 2, settings.ema_decay)
    )
    return lambda shared, architecture: train(shared, architecture, batches, seed=_TUNING_SEED)
