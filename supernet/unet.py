"""The stand-alone UNet of one architecture: the blocks of its layer plan, in order. It knows nothing of supernets."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from search_space import LayerPlan
from search_space.plan import ConvolutionSpec, OutputSpec, ResidualSpec, TimeSpec, TransformerSpec
from supernet.blocks import Tokens, build_block
from supernet.convolution import XLA, Image, Lowering
from supernet.initializer import Initializer


class UNet(nnx.Module):
    """A UNet built from a layer plan.

    Attributes:
        plan: the layer plan.
        blocks: the plan's blocks by name.
    """

    def __init__(self, plan: LayerPlan, *, init: Initializer, lowering: Lowering = XLA) -> None:
        self.plan = nnx.static(plan)
        self.blocks = nnx.Dict(
            {b.name.replace(".", "_"): build_block(b.spec, plan.scale, lowering=lowering, init=init) for b in plan.blocks}
        )

    def __call__(self, x: Image, timestep: Float[Array, " batch"], context: Tokens) -> Float[Array, "batch height width out"]:
        """The network's prediction; see `features` for the arguments."""
        return self.features(x, timestep, context)[0]

    def features(
        self, x: Image, timestep: Float[Array, " batch"], context: Tokens
    ) -> tuple[Float[Array, "batch height width out"], dict[str, Float[Array, "batch _ _ _"]]]:
        """The prediction, and the stream at the end of each stage by the stage's name.

        Args:
            x: noisy images.
            timestep: diffusion time in [0, 1000].
            context: the encoded prompts.
        """
        time = None
        skips: dict[str, Array] = {}
        stage_outputs: dict[str, Array] = {}
        wanted = {block.skip_from for block in self.plan.blocks}
        for block in self.plan.blocks:
            apply: Any = self.blocks[block.name.replace(".", "_")]
            with jax.named_scope(block.name):  # a runtime that refuses an operation can say in which block it is
                match block.spec:
                    case TimeSpec():
                        time = apply(timestep)
                        continue
                    case ResidualSpec():
                        x = apply(x, time, skips[block.skip_from] if block.skip_from else None)
                    case TransformerSpec():
                        x = apply(x, context)
                    case ConvolutionSpec() | OutputSpec():
                        x = apply(x)
            if block.name in wanted:
                skips[block.name] = x
            stage_outputs[block.stage] = x
        return stage_outputs.pop("output"), stage_outputs
