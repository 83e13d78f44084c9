"""What is measured or predicted: the blocks of a whole network, or a few blocks of one alone."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from latency_models.kernels import Kernel, block_kernels
from search_space import Architecture, BlockPlan, LayerPlan, Scale, get_scale, layer_plan
from search_space.blocks import block_operations, spec_from_json, spec_to_json

_ALONE = "alone"  # the stage of blocks outside a network


@dataclasses.dataclass(frozen=True)
class Network:
    """Blocks in execution order at a scale.

    Attributes:
      scale: Where they live.
      blocks: What is computed.
      architecture: Whose blocks these all are; None for blocks alone, each of which reads what the one before it wrote,
        and takes its skip as an input.
    """

    scale: Scale
    blocks: tuple[BlockPlan, ...]
    architecture: Architecture | None = None

    @cached_property
    def key(self) -> str:
        """A name that equal networks share: the architecture's digest, or one of the blocks, with the scale's name."""
        if self.architecture is not None:
            return f"{self.architecture.digest}@{self.scale.name}"
        text = json.dumps(self.to_json()["blocks"], sort_keys=True)
        return f"blocks-{hashlib.sha256(text.encode()).hexdigest()[:16]}@{self.scale.name}"

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels in execution order."""
        return tuple(kernel for block in self.blocks for kernel in block_kernels(block))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass at batch 1, attention's included."""
        return sum(block.macs for block in self.blocks)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in float32."""
        return 4 * sum(block.parameters for block in self.blocks)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into this value."""
        if self.architecture is not None:
            return {"scale": self.scale.name, "architecture": self.architecture.to_json()}
        blocks = [{"spec": spec_to_json(block.spec), "resolution": block.resolution} for block in self.blocks]
        return {"scale": self.scale.name, "blocks": blocks}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Network":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: There is no such scale or block, a key is missing, or the architecture is damaged.
        """
        try:
            scale = get_scale(record["scale"])
            if "architecture" in record:
                return network_of(layer_plan(Architecture.from_json(record["architecture"]), scale))
            return blocks_alone([(spec_from_json(part["spec"]), int(part["resolution"])) for part in record["blocks"]], scale)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a network must name 'scale' and 'architecture' or 'blocks', got {record!r} ({error})") from None


# Turns a network into a JAX function of one array, its weights closed over, and example inputs at batch 1. It crosses
# into child processes, so it must be a function of a module.
Build = Callable[[Network], tuple[Callable[..., Any], Sequence[np.ndarray]]]


def network_of(plan: LayerPlan) -> Network:
    """The whole network of a plan."""
    return Network(plan.scale, plan.blocks, plan.architecture)


def blocks_alone(specs: Sequence[tuple[Any, int]], scale: Scale) -> Network:
    """A chain of blocks from their specifications and the resolutions of their inputs."""
    return Network(
        scale,
        tuple(
            BlockPlan(f"{_ALONE}.{i}", _ALONE, spec, resolution, None, block_operations(spec, resolution, scale))
            for i, (spec, resolution) in enumerate(specs)
        ),
    )
