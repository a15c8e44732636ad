"""Decode one image of any format to uint8 `[S, S, C]`."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps

from gan_jax.errors import InputError

Encoded = Path | bytes | np.ndarray
"""A file, its bytes, or pixels uint8 `[H, W, C]`."""

MAX_PIXELS = 2**26
"""Larger images are skipped: a file of a few bytes can ask for all memory. Pillow warns at a limit that is higher."""


@dataclass(frozen=True)
class Transform:
    """How an image is made to fit.

    channels: 1 (luma) or 3. resize: crop to the largest centred square and resize with antialiasing, or keep the pixels.
    background: the colour under transparent pixels and around images that are not resized.
    """

    image_size: int
    channels: int
    resize: bool = True
    background: str = "black"

    def __post_init__(self) -> None:
        try:
            ImageColor.getrgb(self.background)
        except ValueError:
            raise InputError(f"data.background={self.background} must be a colour such as black, white or #ff8800") from None

    def describe(self) -> dict[str, Any]:
        """Return itself as plain JSON, a part of the cache's key."""
        return asdict(self)


def decode(encoded: Encoded, transform: Transform) -> np.ndarray:
    """Decode an image to uint8 `[S, S, C]`, or, where it is not resized, `[H, W, C]`.

    Applies the EXIF orientation, takes the first frame of an animation, and blends transparency over the background.

    Raises:
        ValueError: more pixels than `MAX_PIXELS`.
        Exception: whatever Pillow raises on bytes that are no image.
    """
    with _open(encoded) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} × {image.height} pixels, more than {MAX_PIXELS}")
        upright = _to_mode(ImageOps.exif_transpose(image), "L" if transform.channels == 1 else "RGB", transform.background)
    if transform.resize:
        side = min(upright.size)
        left, top = (upright.width - side) // 2, (upright.height - side) // 2
        square = upright.crop((left, top, left + side, top + side))  # cropped first: the filter must not see beyond
        upright = square.resize((transform.image_size, transform.image_size), Image.Resampling.LANCZOS)
    pixels = np.asarray(upright)
    return pixels.reshape(*pixels.shape[:2], transform.channels)


def pad(pixels: np.ndarray, transform: Transform) -> np.ndarray:
    """Centre `[H, W, C]` on a background of `[S, S, C]`."""
    size = transform.image_size
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    mode = "L" if transform.channels == 1 else "RGB"
    canvas = np.array(Image.new(mode, (size, size), transform.background)).reshape(size, size, transform.channels)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def _open(encoded: Encoded) -> Image.Image:
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded[..., 0] if encoded.shape[-1] == 1 else encoded)
    return Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded)


def _to_mode(image: Image.Image, mode: str, background: str) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA"))
    return image.convert(mode)
