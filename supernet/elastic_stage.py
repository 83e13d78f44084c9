"""The stages of a supernet: for each stage of a search space, everything that any architecture can put there."""

import dataclasses
import itertools

from jaxtyping import Array, Int

from search_space.plan import ResidualSpec, TransformerSpec
from search_space.space import StageChoices

# What is chosen at one position of a stage, by name: see `route.FIELDS`.
Row = dict[str, Int[Array, ""]]


@dataclasses.dataclass(frozen=True)
class ElasticStage:
    """One stage with everything that may stand in it; widths are channels.

    Attributes:
        name: "down0", "mid", "up0".
        level: index of its level; the mid stage has that of the coarsest that there may be.
        choices: what each gene may be.
        widths: of its output.
        entry_widths: of the stream that comes in.
        skip_widths: of the skips behind the first position's, empty where the stage takes none. The first position's skip
            has the stage's own width.
    """

    name: str
    level: int
    choices: StageChoices
    widths: tuple[int, ...]
    entry_widths: tuple[int, ...]
    skip_widths: tuple[int, ...]

    def level_of(self, num_levels: int) -> int:
        """The level that it belongs to where there are so many: the mid stage follows the coarsest."""
        return num_levels - 1 if self.name == "mid" else self.level

    def entry_level(self, num_levels: int) -> int:
        """The level from which its stream comes where there are so many."""
        if self.name == "mid":
            return num_levels - 1
        return min(self.level + 1, num_levels - 1) if self.skip_widths else max(self.level - 1, 0)

    @property
    def positions(self) -> int:
        """The largest number of residual blocks."""
        return max(self.choices.num_blocks)

    @property
    def depth(self) -> int:
        """The largest number of transformer layers at a position."""
        return max(self.choices.transformer_depth)

    @property
    def carried_width(self) -> int:
        """Channels to which the stream is padded on its way through the stage."""
        return max(self.widths + self.entry_widths)

    @property
    def residuals(self) -> tuple[ResidualSpec, ...]:
        """Every residual block that an architecture can put into this stage."""
        shapes: dict[tuple[int, int, int], None] = {}
        for out in self.widths:
            for entry in self.entry_widths if self.name != "mid" else (out,):
                shapes[(entry, out if self.skip_widths else 0, out)] = None
            for skip in {out, *self.skip_widths} if self.skip_widths else (0,):
                shapes[(out, skip, out)] = None
        return tuple(
            ResidualSpec(*shape, convolution)
            for shape, convolution in itertools.product(sorted(shapes), self.choices.convolution)
        )

    @property
    def transformers(self) -> tuple[TransformerSpec, ...]:
        """Every kind of transformer layer that an architecture can put into this stage."""
        c = self.choices
        combinations = itertools.product(
            self.widths, (1,), c.attention, c.attention_function, c.expansion, c.shared_kv, c.gating
        )
        return tuple(TransformerSpec(*values) for values in combinations) if self.depth else ()


# The parts of a transformer layer, each as what tells its alternatives apart: the other fields take a fixed value.
def self_attention_part(spec: TransformerSpec) -> TransformerSpec:
    """The fields that self-attention depends on."""
    return TransformerSpec(spec.channels, 1, "self", spec.attention_function, 1, spec.shared_kv, "gelu")


def cross_attention_part(spec: TransformerSpec) -> TransformerSpec:
    """The fields that cross-attention depends on."""
    return TransformerSpec(spec.channels, 1, "cross", spec.attention_function, 1, False, "gelu")


def feed_forward_part(spec: TransformerSpec) -> TransformerSpec:
    """The fields that the feed-forward depends on."""
    return TransformerSpec(spec.channels, 1, "self", "softmax", spec.expansion, False, spec.gating)


# The parts of a transformer layer in their order, and the kinds of attention that have each.
PART_KINDS = {
    "self_attention": ("self", "self_cross"),
    "cross_attention": ("cross", "self_cross"),
    "feed_forward": ("self", "cross", "self_cross"),
}
