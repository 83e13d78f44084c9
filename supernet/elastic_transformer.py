"""The spatial transformers of a supernet's stage: every one that an architecture can put behind a block.

Norms run once, on channels that are padded with zeros; projections and attention are switched, each on exactly its channels.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from search_space import Scale
from supernet.blocks import ACTIVATIONS, ATTENTION_FUNCTIONS, TRANSFORMER_NORM_EPSILON, Context, Tokens, attend, feed_forward_of
from supernet.convolution import Image
from supernet.elastic_layers import elastic_group_norm, elastic_layer_norm, pad, run_or_keep
from supernet.elastic_stage import PART_KINDS, ElasticStage, Row
from supernet.families import Family, Parameters, only
from supernet.switch import switch


@dataclasses.dataclass(frozen=True)
class ElasticTransformer:
    """The transformers of a stage as functions of what is chosen.

    Attributes:
        stage: the stage.
        families: of its parts by name.
        scale: whose norm and head rules hold.
    """

    stage: ElasticStage
    families: Mapping[str, Family]
    scale: Scale

    @property
    def width(self) -> int:
        """Channels to which sequences are padded."""
        return max(self.stage.widths)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a layer that the stage can have, in their order."""
        return tuple(part for part in PART_KINDS if part in self.families)

    def enter(self, row: Row, stored: Parameters, x: Image, active: Array) -> Tokens:
        """Group norm and 1x1 convolution where `active`; the pixels as a sequence."""
        family = self.families["project_in"]

        def run(row: Row, stored: Parameters, x: Image) -> Tokens:
            scale, bias = stored["norm/scale"], stored["norm/bias"]
            h = elastic_group_norm(x, row["channels"], scale, bias, rule=self.scale, epsilon=TRANSFORMER_NORM_EPSILON)
            branches = [self._dense(family, channels) for channels in family.specs]
            return self._sequence(switch(row["width"], branches, only(stored, "dense"), h))

        x = pad(x, self.width)
        return run_or_keep(active, run, stored, x, choices=row, keep=self._sequence)

    def layer(self, row: Row, stored: Mapping[str, Parameters], tokens: Tokens, context: Context, active: Array) -> Tokens:
        """One layer where `active`: those of its parts that are chosen."""
        for part in self.parts:
            run = self._feed_forward if part == "feed_forward" else self._attention(part)
            tokens = run_or_keep(active * row[part], run, stored[part], tokens, context, choices=row)
        return tokens

    def leave(self, row: Row, stored: Parameters, tokens: Tokens, x: Image, active: Array) -> Image:
        """The image, with the sequence after a 1x1 convolution added where `active`."""
        family = self.families["project_out"]

        def run(row: Row, stored: Parameters, tokens: Tokens, x: Image) -> Image:
            image = tokens.reshape(*x.shape[:3], self.width)
            branches = [self._dense(family, channels, x.shape[-1]) for channels in family.specs]
            return x + switch(row["width"], branches, stored, image)

        return run_or_keep(active, run, stored, tokens, x, choices=row, keep=lambda tokens, x: x)

    def _dense(self, family: Family, channels: int, width: int | None = None) -> Callable[..., Array]:
        return lambda stored, x: pad(family.layer(stored, channels, "dense")(x[..., :channels]), width or self.width)

    def _sequence(self, x: Image) -> Tokens:
        return x.reshape(x.shape[0], -1, self.width)

    def _attention(self, part: str) -> Callable[..., Tokens]:
        family, is_cross = self.families[part], part == "cross_attention"
        branches = [self._attention_branch(family, channels, is_cross) for channels in self.stage.widths]

        def run(row: Row, stored: Parameters, tokens: Tokens, context: Context) -> Tokens:
            h = self._norm(row, stored, tokens)
            layers = only(stored, "query", "key", "value", "out")
            return tokens + switch(row["width"], branches, layers, h, context, choices=row)

        return run

    def _attention_branch(self, family: Family, channels: int, is_cross: bool) -> Callable[..., Tokens]:
        of_width = [spec for spec in family.specs if spec.channels == channels]
        spec = min(of_width, key=lambda spec: spec.shared_kv)  # one that has every parameter
        sharing = (False,) if is_cross else self.stage.choices.shared_kv
        functions = self.stage.choices.attention_function

        def branch(row: Row, stored: Parameters, h: Tokens, context: Context) -> Tokens:
            h = h[..., :channels]
            query, key, out = (family.layer(stored, spec, path) for path in ("query", "key", "out"))
            value = None if all(sharing) else family.layer(stored, spec, "value")
            if value is not None and any(sharing):  # to choose a matrix costs less than to compile both ways
                kernel = jnp.where(row["is_shared"] == 1, key.kernel[...], value.kernel[...])
                value = lambda source: source @ kernel  # noqa: E731
            weigh = lambda scores: _weigh(functions, row["is_relu"] == 1, scores)  # noqa: E731
            heads = self.scale.heads(channels)
            source = context if is_cross else h
            return pad(attend(h, source, query=query, key=key, value=value, out=out, heads=heads, weigh=weigh), self.width)

        return branch

    def _feed_forward(self, row: Row, stored: Parameters, tokens: Tokens, context: Context) -> Tokens:
        del context
        family = self.families["feed_forward"]

        def branch(spec: Any) -> Callable[..., Tokens]:
            def apply(stored: Parameters, h: Tokens) -> Tokens:
                expand, gate, contract = (family.layer(stored, spec, path) for path in ("expand", "gate", "contract"))
                h = h[..., : spec.channels]
                return pad(
                    feed_forward_of(h, expand=expand, gate=gate, contract=contract, activation=ACTIVATIONS[spec.gating]),
                    self.width,
                )

            return apply

        layers = only(stored, "expand", "gate", "contract")
        branches = [branch(spec) for spec in family.specs]
        return tokens + switch(row["feed_forward_branch"], branches, layers, self._norm(row, stored, tokens))

    def _norm(self, row: Row, stored: Parameters, tokens: Tokens) -> Tokens:
        return elastic_layer_norm(tokens, row["channels"], stored["norm/scale"], stored["norm/bias"])


def _weigh(functions: tuple[str, ...], is_relu: Array, scores: Array) -> Array:
    """Attention weights by the chosen function; to select costs less than a branch, which would compile once more a width."""
    if len(functions) == 1:
        return ATTENTION_FUNCTIONS[functions[0]](scores)
    return jnp.where(is_relu, ATTENTION_FUNCTIONS["relu"](scores), ATTENTION_FUNCTIONS["softmax"](scores))
