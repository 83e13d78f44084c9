"""Published designs as exact points of the space `mobile-sd`, each with what was published of it and how far that is known.

A figure is marked `verified` where we have read it in the source named, `computed` where it was derived by an independent
counter from a published configuration, and `remembered` where it is from memory: such a figure is shown, never a
threshold. Counters differ between papers, so each figure names its own.
"""

import dataclasses
import difflib
from typing import Literal

from search_space.architecture import Architecture, Level, Stage

Mark = Literal["verified", "computed", "remembered"]


@dataclasses.dataclass(frozen=True)
class PublishedFigure:
    """One number about a design.

    Attributes:
        quantity: which of our counts it is to be held against: "parameters", "macs", "macs_conv_linear", "macs_attention".
        value: in units of one.
        mark: how far it is known.
        source: who says so, by which counter.
    """

    quantity: str
    value: int
    mark: Mark
    source: str


@dataclasses.dataclass(frozen=True)
class PublishedDesign:
    """A network that somebody published.

    Attributes:
        name: how commands refer to it.
        title: how its authors call it.
        scale: name of the scale at which it was published.
        source: the paper, and the part of it that says how the network is built.
        architecture: the network.
        figures: what was published or computed of it elsewhere.
        note: what is inferred, or does not add up; empty where all does.
    """

    name: str
    title: str
    scale: str
    source: str
    architecture: Architecture
    figures: tuple[PublishedFigure, ...]
    note: str = ""


def design_names() -> tuple[str, ...]:
    """Names that `get_design` knows, aliases apart."""
    return tuple(_DESIGNS)


def is_design(name: str) -> bool:
    """Whether `get_design` knows a name."""
    return name in _DESIGNS or name in _ALIASES


def get_design(name: str) -> PublishedDesign:
    """The published design of this name.

    >>> get_design("sd15").title
    'Stable Diffusion 1.5'

    Raises:
        ValueError: there is none; the message lists those there are, and the nearest.
    """
    if not is_design(name):
        nearest = difflib.get_close_matches(name, [*_DESIGNS, *_ALIASES], n=1, cutoff=0)[0]
        raise ValueError(f"there is no published design {name!r}; known are {', '.join(_DESIGNS)}; did you mean {nearest!r}?")
    return _DESIGNS[_ALIASES.get(name, name)]


_ALIASES = {"mobilediffusion-lite": "md-lite"}
_COUNTER = "independent count of the configuration, 64x64x4 latents, 77x768 context"
_THOP = "BK-SDM repository, issue 53; thop, which counts norms too, and no attention matmuls"
_BK_CARD = "BK-SDM model card, rounded"


def _level(width: int, down: int, up: int, *, depth: int = 0) -> Level:
    return Level(width, Stage(down, transformer_depth=depth), Stage(up, transformer_depth=depth))


_MID = Stage(2, transformer_depth=1)
_BK_LEVELS = (_level(5, 1, 2, depth=1), _level(10, 1, 2, depth=1), _level(20, 1, 2, depth=1), _level(20, 1, 2))


def _sd15() -> PublishedDesign:
    levels = (_level(5, 2, 3, depth=1), _level(10, 2, 3, depth=1), _level(20, 2, 3, depth=1), _level(20, 2, 3))
    return PublishedDesign(
        "sd15",
        "Stable Diffusion 1.5",
        "sd15",
        "Rombach et al. 2022, the released UNet's config.json",
        Architecture(levels, _MID),
        (
            PublishedFigure("parameters", 859_520_964, "verified", "BK-SDM repository, issue 53"),
            PublishedFigure("macs_conv_linear", 338_749_194_240, "verified", _THOP),
            PublishedFigure("macs_conv_linear", 338_610_000_000, "computed", _COUNTER),
            PublishedFigure("macs_attention", 63_030_000_000, "computed", _COUNTER),
            PublishedFigure("macs", 401_640_000_000, "computed", _COUNTER),
            PublishedFigure("macs", 392_000_000_000, "remembered", "MobileDiffusion's table of architectures; counter unknown"),
        ),
    )


def _bk_sdm(size: str, architecture: Architecture, figures: tuple[PublishedFigure, ...]) -> PublishedDesign:
    return PublishedDesign(
        f"bk-sdm-{size.lower()}", f"BK-SDM-{size}", "sd15",
        "BK-SDM (arXiv 2305.15798)", architecture, figures,
    )  # fmt: skip


def _bk_sdm_base() -> PublishedDesign:
    figures = (
        PublishedFigure("parameters", 579_384_964, "verified", "BK-SDM repository, issue 53"),
        PublishedFigure("macs_conv_linear", 223_755_632_640, "verified", _THOP),
        PublishedFigure("macs_conv_linear", 223_670_000_000, "computed", _COUNTER),
        PublishedFigure("macs_attention", 37_820_000_000, "computed", _COUNTER),
    )
    return _bk_sdm("Base", Architecture(_BK_LEVELS, _MID), figures)


def _bk_sdm_small() -> PublishedDesign:
    figures = (
        PublishedFigure("parameters", 490_000_000, "verified", _BK_CARD),
        PublishedFigure("parameters", 482_346_884, "computed", _COUNTER),
        PublishedFigure("macs_conv_linear", 217_650_000_000, "computed", _COUNTER),
        PublishedFigure("macs_attention", 37_800_000_000, "computed", _COUNTER),
    )
    return _bk_sdm("Small", Architecture(_BK_LEVELS), figures)


def _bk_sdm_tiny() -> PublishedDesign:
    figures = (
        PublishedFigure("parameters", 330_000_000, "verified", _BK_CARD),
        PublishedFigure("parameters", 323_384_964, "computed", _COUNTER),
        PublishedFigure("macs_conv_linear", 204_950_000_000, "computed", _COUNTER),
        PublishedFigure("macs_attention", 37_800_000_000, "computed", _COUNTER),
    )
    return _bk_sdm("Tiny", Architecture(_BK_LEVELS[:3]), figures)


def _snapfusion() -> PublishedDesign:
    third = Level(20, Stage(1, transformer_depth=2), Stage(2, transformer_depth=3))
    # Of the 7 residual blocks at 8x8 the paper keeps 4 and the one transformer. Here every level has a block on each side,
    # and a mid stage's transformer stands between two blocks, so that one, two and one is the only way to place them.
    levels = (_level(5, 2, 3), _level(10, 2, 3, depth=1), third, _level(20, 1, 1))
    return PublishedDesign(
        "snapfusion", "SnapFusion's efficient UNet", "sd15", "SnapFusion (arXiv 2306.00980), table 3",
        Architecture(levels, _MID),
        (
            PublishedFigure("parameters", 848_000_000, "verified", "the paper's text; it does not follow from its table 3"),
            PublishedFigure("macs", 285_000_000_000, "remembered", "MobileDiffusion's table of architectures; counter unknown"),
        ),
        note="Table 3 merges the 8x8 level's down, mid and up blocks into one row: how its 4 residual blocks split is our "
        "choice (1, 2, 1), and under Stable Diffusion's block definitions no split gives the published 848 M (other counts of "
        "the table give 748 to 759 M and 296 to 308 G); the authors were asked and have not answered.",
    )  # fmt: skip


def _mobilediffusion(name: str, title: str, width: int, up_depth: int, figures: tuple[PublishedFigure, ...]) -> PublishedDesign:
    def cross(num_blocks: int) -> Stage:
        return Stage(num_blocks, "full", 1, "cross", "relu", expansion=3, gating="silu")

    def bottleneck(num_blocks: int, depth: int) -> Stage:
        return Stage(num_blocks, "separable", depth, "self_cross", "relu", expansion=3, shared_kv=True, gating="silu")

    levels = (
        _level(5, 1, 2), Level(10, cross(1), cross(2)), Level(width, bottleneck(2, 3), bottleneck(3, up_depth))
    )  # fmt: skip
    return PublishedDesign(
        name, title, "sd15", "MobileDiffusion (arXiv 2311.16567), table of architectures", Architecture(levels), figures,
        note="Of the table of architectures only the Lite row's blocks were seen; channels are remembered, MobileDiffusion's "
        "blocks inferred from their totals. The feed-forward's ratio of 6 counts value and gate together: our expansion 3.",
    )  # fmt: skip


def _mobilediffusion_full() -> PublishedDesign:
    fit = "independent count of the layout that comes nearest to the remembered figures"
    figures = (
        PublishedFigure("parameters", 386_000_000, "remembered", "the paper's table of architectures"),
        PublishedFigure("macs", 182_000_000_000, "remembered", "the paper's table of architectures; counter unknown"),
        PublishedFigure("parameters", 382_800_000, "computed", fit),
        PublishedFigure("macs", 184_200_000_000, "computed", fit),
    )
    return _mobilediffusion("mobilediffusion", "MobileDiffusion", 16, 3, figures)


def _md_lite() -> PublishedDesign:
    fit = "independent count of the layout that comes nearest to the remembered figures"
    figures = (
        PublishedFigure("parameters", 278_000_000, "remembered", "the paper's table of architectures"),
        PublishedFigure("macs", 153_000_000_000, "remembered", "the paper's table of architectures; counter unknown"),
        PublishedFigure("parameters", 270_000_000, "computed", fit),
        PublishedFigure("macs", 153_700_000_000, "computed", fit),
    )
    return _mobilediffusion("md-lite", "MobileDiffusion-Lite", 14, 2, figures)


_DESIGNS = {
    design.name: design
    for design in (
        _sd15(), _bk_sdm_base(), _bk_sdm_small(), _bk_sdm_tiny(), _snapfusion(), _mobilediffusion_full(), _md_lite()
    )
}  # fmt: skip
