"""Trains one subnet at a time by the supernet's program: from fresh weights as if it stood alone, or on from shared ones.

What the subnet does not use has no gradient and stays as it is, so that each step is the step of the stand-alone network;
but nothing is compiled for each network.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import SweepConfig
from experiments.denoising_task import load_examples, training_examples
from experiments.supernet_training import sweep_supernet, sweep_task
from search_space import Architecture, layer_plan
from supernet import UNet, unet_parameters
from supernet.initializer import random_initializer
from supernet.subnets import write_block
from supernet.training import adam_with_warmup, initial_state, training_step

_WARMUP_SHARE = 12  # one step in so many raises the learning rate


@dataclasses.dataclass(frozen=True)
class SubnetSchedule:
    """How subnets are trained: number of steps, images a step, the highest learning rate, decay of the averaged weights."""

    num_steps: int
    batch_size: int
    learning_rate: float
    ema_decay: float = 0.999


class SubnetTraining:
    """Trains subnets of a sweep's supernet, each from the same batches with the same noise for one seed."""

    def __init__(self, config: SweepConfig, schedule: SubnetSchedule) -> None:
        """Reads the data; nothing is compiled yet."""
        task, supernet = sweep_task(config), sweep_supernet(config)
        self._task, self._supernet, self._schedule = task, supernet, schedule
        self._examples = load_examples(config.data, task.scale, split="train")
        self._noisy_batch = jax.jit(task.noisy_batch)
        self._optimizer = adam_with_warmup(
            schedule.learning_rate, warmup_steps=schedule.num_steps // _WARMUP_SHARE, num_steps=schedule.num_steps
        )

        def loss(parameters: Any, inputs: Any, target: Any, route: Any) -> Any:
            x_t, timestep, prompts = inputs
            context = task.encode(parameters["prompt"], prompts)
            return jnp.mean((supernet.apply(parameters["network"], x_t, timestep, context, route) - target) ** 2)

        self._step = training_step(jax.value_and_grad(loss), self._optimizer, ema_decay=schedule.ema_decay)

    def fresh(self, architecture: Architecture, seed: int) -> dict[str, Any]:
        """The supernet's parameters with those of the architecture as its stand-alone network draws them."""
        parameters = jax.tree.map(np.array, self._supernet.initial_parameters(seed))
        plan = layer_plan(architecture, self._task.scale)
        drawn = unet_parameters(UNet(plan, init=random_initializer(seed)))
        for block in plan.blocks:
            prefix = f"blocks/{block.name.replace('.', '_')}/"
            values = {path.removeprefix(prefix): x for path, x in drawn.items() if path.startswith(prefix)}
            write_block(self._supernet, parameters, block, values)
        return {"network": jax.tree.map(jnp.asarray, parameters), "prompt": self._task.prompt_parameters(seed)}

    def __call__(
        self, parameters: Any, architecture: Architecture, *, seed: int, on_step: Callable[[], None] = lambda: None
    ) -> Any:
        """The averaged parameters after training; those that the architecture does not use are as they were.

        Args:
            parameters: `network` (the supernet's) and `prompt`.
            architecture: what is trained.
            seed: of batches, noise and times.
            on_step: is called after every step.
        """
        route = jnp.asarray(self._supernet.route(architecture))
        state = initial_state(parameters, self._optimizer)
        examples = training_examples(self._examples, self._task.scale, batch_size=self._schedule.batch_size, seed=seed)
        for number in range(1, self._schedule.num_steps + 1):
            inputs, target = self._noisy_batch(jnp.uint32(seed), jnp.uint32(number), *next(examples))
            state, _ = self._step(state, inputs, target, route)
            on_step()
        return state.average
