"""The stand-alone UNet of one architecture: the blocks of its layer plan, in order. It knows nothing of supernets."""

from collections.abc import Mapping
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

    def __init__(self, plan: LayerPlan, *, init: Initializer, lowering: Lowering = XLA, remat: bool = False) -> None:
        """Builds the blocks.

        Args:
            plan: the layer plan.
            init: of the parameters.
            lowering: of convolutions.
            remat: whether a gradient computes what is inside each block again, and keeps the streams between them alone.
        """
        self.plan = nnx.static(plan)
        self.remat = remat
        self.blocks = nnx.Dict(
            {b.name.replace(".", "_"): build_block(b.spec, plan.scale, lowering=lowering, init=init) for b in plan.blocks}
        )

    def __call__(self, x: Image, timestep: Float[Array, " batch"], context: Tokens) -> Float[Array, "batch height width out"]:
        """The network's prediction; see `features` for the arguments."""
        return self.features(x, timestep, context)[0]

    def features(
        self, x: Image, timestep: Float[Array, " batch"], context: Tokens
    ) -> tuple[Float[Array, "batch height width out"], dict[str, Float[Array, "batch _ _ _"]]]:
        """The prediction, and the stream at the end of each stage by the stage's name; see `block_outputs`."""
        prediction, outputs = self.block_outputs(x, timestep, context)
        return prediction, {block.stage: outputs[block.name] for block in self.plan.blocks if block.name in outputs}

    def block_outputs(
        self,
        x: Image,
        timestep: Float[Array, " batch"],
        context: Tokens,
        added: Mapping[str, Float[Array, "batch _ _ _"]] | None = None,
    ) -> tuple[Float[Array, "batch rows columns out"], dict[str, Float[Array, "batch _ _ _"]]]:
        """The prediction, and the stream behind each block by the block's name, time embedding and output head apart.

        Args:
            x: noisy images.
            timestep: diffusion time in [0, 1000].
            context: the encoded prompts.
            added: by block of the encoder, what the decoder finds added to its stream; the encoder itself does not.
        """
        time, last = None, self.plan.encoder[-1].name
        outputs: dict[str, Array] = {}
        for block in self.plan.blocks:
            apply: Any = self.blocks[block.name.replace(".", "_")]
            if self.remat:
                apply = jax.checkpoint(apply)
            with jax.named_scope(block.name):  # a runtime that refuses an operation can say in which block it is
                match block.spec:
                    case TimeSpec():
                        time = apply(timestep)
                        continue
                    case ResidualSpec():
                        x = apply(x, time, outputs[block.skip_from] if block.skip_from else None)
                    case TransformerSpec():
                        x = apply(x, context)
                    case ConvolutionSpec() | OutputSpec():
                        x = apply(x)
            outputs[block.name] = x
            if added is not None and block.name == last:
                outputs |= {name: outputs[name] + stream for name, stream in added.items()}
                x = outputs[last]
        return outputs.pop(self.plan.blocks[-1].name), outputs
