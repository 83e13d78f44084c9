"""The scale at which an architecture lives: everything about a UNet that the search does not choose."""

import dataclasses
import difflib


@dataclasses.dataclass(frozen=True)
class Scale:
    """Fixed sizes and rules of a family of UNets.

    Attributes:
        name: how configurations refer to it.
        resolution: height and width of the input, in pixels or latent pixels.
        in_channels: channels of the input.
        out_channels: channels of the output.
        base_width: channels of one unit of width.
        context_length: tokens of the prompt.
        context_width: features of a prompt token.
        time_features: width of the sinusoidal time embedding, even.
        time_width: width of the two-layer perceptron on it.
        vocabulary: number of prompt tokens, the null token included; 0 where the context comes encoded.
        norm_groups: groups of every group normalisation (the rule of Stable Diffusion), or None.
        norm_group_size: channels of a group instead (the rule under which widths are elastic), or None.
        norm_epsilon: added to the variance by every group normalisation but the transformers' (1e-6).
        num_heads: attention heads at every width, or None.
        head_width: channels of a head instead, or None.
        shared_projections: whether the transformer layers behind a residual block stand between one pair of projections
            (diffusers' `transformer_layers_per_block`), or each layer is a spatial transformer with its own pair (as SnapFusion
            and MobileDiffusion stack them). For a depth of 1 it is the same.
        prompt_layers: transformer layers of the prompt encoder behind its embedding; labels do without.
        dtype: of parameters and activations; there is float32 alone.
    """

    name: str
    resolution: int
    in_channels: int
    out_channels: int
    base_width: int
    context_length: int
    context_width: int
    time_features: int
    time_width: int
    vocabulary: int = 0
    norm_groups: int | None = None
    norm_group_size: int | None = None
    norm_epsilon: float = 1e-5
    num_heads: int | None = None
    head_width: int | None = None
    shared_projections: bool = True
    prompt_layers: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Checks sizes, that each pair of rules names exactly one, and that the rest fits together."""
        for field in dataclasses.fields(self):
            size, least = getattr(self, field.name), 0 if field.name in ("vocabulary", "prompt_layers") else 1
            is_size = field.type is int or (field.type == int | None and size is not None)
            if is_size and (type(size) is not int or size < least):
                raise ValueError(f"scale {self.name!r}: {field.name} must be a whole number of {least} or more, got {size!r}")
        for one, other in (("norm_groups", "norm_group_size"), ("num_heads", "head_width")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"scale {self.name!r}: give either {one} or {other}, not both and not neither")
        for name, value, fits, wanted in (
            ("dtype", self.dtype, self.dtype == "float32", "'float32'"),
            ("norm_epsilon", self.norm_epsilon, self.norm_epsilon > 0, "above 0"),
            ("shared_projections", self.shared_projections, isinstance(self.shared_projections, bool), "true or false"),
        ):
            if not fits:
                raise ValueError(f"scale {self.name!r}: {name} must be {wanted}, got {value!r}")
        if self.time_features % 2:
            raise ValueError(f"scale {self.name!r}: time_features must be even, got {self.time_features}")
        if self.prompt_layers and not self.vocabulary:
            raise ValueError(
                f"scale {self.name!r}: prompt_layers={self.prompt_layers} need a vocabulary, got 0; where contexts come "
                "encoded, leave prompt_layers out"
            )

    def groups(self, channels: int) -> int:
        """Number of normalisation groups of so many channels."""
        if self.norm_groups:
            _divide("norm_groups", channels, self.norm_groups)
            return self.norm_groups
        return _divide("norm_group_size", channels, self.norm_group_size)

    def heads(self, channels: int) -> int:
        """Number of attention heads of so many channels."""
        if self.num_heads:
            _divide("num_heads", channels, self.num_heads)
            return self.num_heads
        return _divide("head_width", channels, self.head_width)


def _divide(name: str, channels: int, size: int | None) -> int:
    assert size is not None
    if channels % size:
        raise ValueError(
            f"a width must be a multiple of {name}={size}, got {channels}; use {channels - channels % size + size}"
        )
    return channels // size


_SCALES = {
    scale.name: scale
    for scale in (
        # Digits are 8x8: quality is judged there. The same architectures are judged for latency at 32x32 and three
        # times the width, where a network takes milliseconds, not the microseconds in which a runtime's overhead decides.
        Scale(
            "digits-proxy", 8, 1, 1, 8, context_length=1, context_width=32, time_features=32, time_width=64, vocabulary=11,
            norm_group_size=8, head_width=8,
        ),
        Scale(
            "digits-deploy", 32, 4, 4, 24, context_length=16, context_width=128, time_features=64, time_width=256,
            norm_group_size=8, head_width=24,
        ),
        # Captioned shapes, whose captions have six words out of 26. Channels and heads are half as wide as for digits: an
        # image has four times the pixels, or sixteen times.
        Scale(
            "shapes16-proxy", 16, 3, 3, 4, context_length=6, context_width=32, time_features=32, time_width=32, vocabulary=27,
            norm_group_size=4, head_width=4, prompt_layers=2,
        ),
        # The same at half the widths, to see whether ranks at one width hold at another.
        Scale(
            "shapes16-narrow", 16, 3, 3, 2, context_length=6, context_width=32, time_features=32, time_width=32, vocabulary=27,
            norm_group_size=2, head_width=2, prompt_layers=2,
        ),
        Scale(
            "shapes32-proxy", 32, 3, 3, 4, context_length=6, context_width=32, time_features=32, time_width=32, vocabulary=27,
            norm_group_size=4, head_width=4, prompt_layers=2,
        ),
        # Pictures whose captions are of any words: a token a byte, and so many that most captions fit.
        Scale(
            "captions16-proxy", 16, 3, 3, 4, context_length=96, context_width=32, time_features=32, time_width=32,
            vocabulary=257, norm_group_size=4, head_width=4, prompt_layers=2,
        ),
        Scale(
            "captions32-proxy", 32, 3, 3, 4, context_length=96, context_width=32, time_features=32, time_width=32,
            vocabulary=257, norm_group_size=4, head_width=4, prompt_layers=2,
        ),
        # Stable Diffusion 1.5 at 512x512 images. Widths of its whole family are multiples of 64 channels.
        Scale(
            "sd15", 64, 4, 4, 64, context_length=77, context_width=768, time_features=320, time_width=1280, norm_groups=32,
            num_heads=8, shared_projections=False,
        ),
        # The same family at a quarter of every width, groups of the norm included, so that a group keeps its channels. A
        # network is measured here in seconds; its attention stays as large as the images are.
        Scale(
            "sd15-quarter", 64, 4, 4, 16, context_length=77, context_width=192, time_features=80, time_width=320,
            norm_groups=8, num_heads=8, shared_projections=False,
        ),
        # The same at 256x256 images: what a predictor that knows only the larger ones makes of smaller ones.
        Scale(
            "sd15-quarter-256", 32, 4, 4, 16, context_length=77, context_width=192, time_features=80, time_width=320,
            norm_groups=8, num_heads=8, shared_projections=False,
        ),
    )
}  # fmt: skip


def scale_names() -> tuple[str, ...]:
    """Names that `get_scale` knows."""
    return tuple(_SCALES)


def get_scale(name: str) -> Scale:
    """The scale of this name.

    Raises:
        ValueError: there is none; the message lists those there are, and the nearest.
    """
    if name not in _SCALES:
        nearest = difflib.get_close_matches(name, _SCALES, n=1, cutoff=0)[0]
        raise ValueError(f"there is no scale {name!r}; known are {', '.join(_SCALES)}; did you mean {nearest!r}?")
    return _SCALES[name]
