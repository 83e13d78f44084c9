"""The prompt encoder: a learned embedding of tokens and positions, for prompts that do not come encoded."""

from flax import nnx
from jaxtyping import Array, Float, Int

from search_space import Scale
from supernet.initializer import Initializer

NULL_TOKEN = 0


class PromptEncoder(nnx.Module):
    """Turns tokens into a context; the null prompt, all zeros, stands for no prompt in guidance."""

    def __init__(self, scale: Scale, *, init: Initializer) -> None:
        if not scale.vocabulary:
            raise ValueError(f"scale {scale.name!r} has no vocabulary: its contexts come encoded; pass them as they are")
        self.tokens = nnx.Param(init((scale.vocabulary, scale.context_width), std=1.0))
        self.positions = nnx.Param(init((scale.context_length, scale.context_width), std=0.1))

    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length width"]:
        """Encodes prompts."""
        return self.tokens[...][tokens] + self.positions[...][None]
