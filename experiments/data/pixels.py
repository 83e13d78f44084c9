"""Image files to pixels in [-1, 1], with Pillow: decode, upright, colours, crop, resize."""

import contextlib
import io
import pathlib
import struct
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from experiments.errors import InputError

DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
GREY_MODES = ("1", "L", *DEEP_MODES)
_BAD_EXIF = (struct.error, ArithmeticError, AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError)
REFUSED_MODES = ("I", "F")  # 32-bit pixels have no agreed white


def validate_pixel_channels(channels: int | None) -> None:
    """Refuses a number of channels that pixels do not come in.

    Raises:
        InputError: it is neither 1 nor 3 (nor None).
    """
    if channels not in (None, 1, 3):
        raise InputError(f"`channels` must be 1 (grey) or 3 (RGB) for images, got {channels}; use 1 or 3")


def image_size(path: pathlib.Path) -> tuple[int, int, str]:
    """Height, width and Pillow mode of an image file, from its header alone.

    Raises:
        InputError: the file is no image that Pillow knows.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width, image.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _not_decodable(str(path), error) from None


def read_pixels(
    file: pathlib.Path | bytes, *, shape: tuple[int, int, int], origin: str
) -> Float32[np.ndarray, "height width channels"]:
    """Pixels of an encoded image, fitted to `shape`.

    The image is turned upright by its EXIF orientation, laid on white where it is transparent, and converted to grey
    (ITU-R 601 luma) for one channel or RGB for three. Its largest centred part of the wanted aspect is resized with
    Lanczos (which averages when it shrinks). An image that has the size already is not resampled. 8-bit value u becomes
    u / 127.5 - 1; 16-bit grey is reduced to 8 bits.

    Args:
        file: a path, or the encoded bytes.
        shape: wanted (height, width, channels); 1 or 3 channels.
        origin: the name of the image in a message.

    Raises:
        InputError: the image does not decode, or has 32-bit pixels.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            image.load()
            fitted = _fit(_coloured(image, shape[2], origin), shape[0], shape[1])
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _not_decodable(origin, error) from None
    return bytes_to_pixels(np.asarray(fitted).reshape(shape))


def bytes_to_pixels(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Bytes as pixels in [-1, 1]: u / 127.5 - 1, in float32."""
    return values.astype(np.float32) / np.float32(127.5) - np.float32(1)


def pixels_to_bytes(image: Float[np.ndarray, "*n height width channels"]) -> np.ndarray:
    """The inverse of `bytes_to_pixels`, clipped: uint8 pixels. NaN becomes 0."""
    return np.rint((np.clip(np.nan_to_num(image, nan=-1.0), -1, 1) + 1) * 127.5).astype(np.uint8)


def _coloured(image: Any, channels: int, origin: str) -> Any:
    from PIL import Image, ImageOps

    if image.mode in REFUSED_MODES:
        raise InputError(
            f"{origin}: an image must have 8 or 16 bits per channel, got Pillow mode {image.mode!r} (32 bits); "
            "save it again as an 8-bit PNG"
        )
    if image.mode in DEEP_MODES:
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    with contextlib.suppress(*_BAD_EXIF):  # an orientation that cannot be read is none
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if channels == 1 else "RGB")


def _fit(image: Any, height: int, width: int) -> Any:
    from PIL import Image, ImageOps

    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS, centering=(0.5, 0.5))


def _not_decodable(origin: str, error: Exception) -> InputError:
    from PIL import UnidentifiedImageError

    reason = "no image format that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)
    return InputError(
        f"{origin}: the image does not decode ({reason or type(error).__name__}); "
        "mend it, or take it out (and out of metadata.jsonl)"
    )
