"""The prompt encoder, for prompts that do not come encoded: an embedding of tokens and positions, and a small transformer.

Labels need the embedding alone; a caption's words mean something together, and pass through the transformer.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from search_space import Scale
from supernet.blocks import FeedForward, attend
from supernet.initializer import Initializer
from supernet.layers import LayerNorm, Linear

NULL_TOKEN = 0
_EXPANSION = 4


class PromptEncoder(nnx.Module):
    """Turns tokens into a context; the null prompt, all zeros, stands for no prompt in guidance.

    Embeddings of tokens and positions; then, where the scale has them, pre-norm transformer layers and a last norm.
    """

    def __init__(self, scale: Scale, *, init: Initializer) -> None:
        if not scale.vocabulary:
            raise ValueError(f"scale {scale.name!r} has no vocabulary: its contexts come encoded; pass them as they are")
        self.tokens = nnx.Param(init((scale.vocabulary, scale.context_width), std=1.0))
        self.positions = nnx.Param(init((scale.context_length, scale.context_width), std=0.1))
        self.layers = nnx.List([TextLayer(scale, init=init) for _ in range(scale.prompt_layers)])
        self.norm = LayerNorm(scale.context_width, init=init) if scale.prompt_layers else None

    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length width"]:
        """Encodes prompts."""
        x = self.tokens[...][tokens] + self.positions[...][None]
        # The first place is always seen: in the null prompt there is nothing else to attend to. Not by `.at[].set`: mobile
        # converters refuse to scatter.
        is_seen = (tokens != NULL_TOKEN) | (jnp.arange(tokens.shape[1])[None] == 0)
        for layer in self.layers:
            x = layer(x, is_seen)
        return x if self.norm is None else self.norm(x)


class TextLayer(nnx.Module):
    """Layer norm and self-attention over the tokens that are seen, then layer norm and gated feed-forward, both residual."""

    def __init__(self, scale: Scale, *, init: Initializer) -> None:
        width = scale.context_width
        self.heads = scale.heads(width)
        self.norm = LayerNorm(width, init=init)
        self.query, self.key, self.value = (Linear(width, width, bias=False, init=init) for _ in range(3))
        self.out = Linear(width, width, zero=True, init=init)
        self.feed_forward = FeedForward(width, _EXPANSION * width, gating="gelu", init=init)

    def __call__(
        self, x: Float[Array, "batch length width"], is_seen: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length width"]:
        """Applies the layer."""
        h = self.norm(x)
        attended = attend(
            h, h, query=self.query, key=self.key, value=self.value, out=self.out, heads=self.heads,
            weigh=lambda scores: jax.nn.softmax(jnp.where(is_seen[:, None, None, :], scores, -jnp.inf)),
        )  # fmt: skip
        return self.feed_forward(x + attended)
