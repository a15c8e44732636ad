"""Decode one image of any format to uint8 `[H, W, C]`."""

import io
import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageOps

from gan_jax.errors import InputError

Encoded = Path | bytes | np.ndarray
"""A file, its bytes, or pixels uint8 `[H, W, C]`."""

MAX_PIXELS = 2**26
"""Larger images are skipped: a file of a few bytes can ask for all memory. Pillow warns at a limit that is higher."""


ImageSize = int | Sequence[int]
"""The side of a square, or (height, width)."""


def height_and_width(image_size: ImageSize) -> tuple[int, int]:
    """Return the sides of an image size.

    Raises:
        InputError: anything else.
    """
    try:
        given: Any = (image_size,) * 2 if np.ndim(image_size) == 0 else image_size
        height, width = (operator.index(side) for side in given)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise InputError(f"image_size={image_size} must be an integer ≥ 1, or two, height and width")
    return height, width


@dataclass(frozen=True)
class Transform:
    """How an image is made to fit.

    image_size: a square's is kept as one integer. channels: 1 (luma) or 3. resize: crop to the largest centred rectangle of the
    size's shape and resize with antialiasing, or keep the pixels. background: the colour under transparent pixels and around
    images that are not resized.
    """

    image_size: ImageSize
    channels: int
    resize: bool = True
    background: str = "black"

    def __post_init__(self) -> None:
        height, width = height_and_width(self.image_size)
        object.__setattr__(self, "image_size", height if height == width else (height, width))
        try:
            ImageColor.getrgb(self.background)
        except ValueError:
            raise InputError(f"data.background={self.background} must be a colour such as black, white or #ff8800") from None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """What comes out: (H, W, C)."""
        return (*height_and_width(self.image_size), self.channels)

    def describe(self) -> dict[str, Any]:
        """Return itself as plain JSON, a part of the cache's key."""
        return asdict(self)


class Decoded(NamedTuple):
    """Pixels uint8 `[H, W, C]`, and whether any pixel of the image itself was not opaque."""

    pixels: np.ndarray
    transparent: bool


def decode(encoded: Encoded, transform: Transform) -> Decoded:
    """Decode an image to the transform's uint8 `[H, W, C]`, or, where it is not resized, to its own.

    Applies the EXIF orientation, takes the first frame of an animation, and blends transparency over the background.

    Raises:
        ValueError: more pixels than `MAX_PIXELS`.
        Exception: whatever Pillow raises on bytes that are no image.
    """
    with _open(encoded) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} × {image.height} pixels, more than {MAX_PIXELS}")
        upright, transparent = _to_mode(image, "L" if transform.channels == 1 else "RGB", transform.background)
    if transform.resize:
        height, width, _ = transform.image_shape
        # The larger of the two factors by which a side would be scaled is that of both.
        across = min(upright.width, max(1, round(upright.height * width / height)))
        down = min(upright.height, max(1, round(upright.width * height / width)))
        left, top = (upright.width - across) // 2, (upright.height - down) // 2
        cropped = upright.crop((left, top, left + across, top + down))  # first: the filter must not see beyond
        upright = cropped.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(upright)
    return Decoded(pixels.reshape(*pixels.shape[:2], transform.channels), transparent)


def pad(pixels: np.ndarray, transform: Transform) -> np.ndarray:
    """Centre the pixels of a smaller image on a background of the transform's size."""
    height, width = pixels.shape[:2]
    if pixels.shape == transform.image_shape:
        return pixels
    mode, (rows, columns, _) = "L" if transform.channels == 1 else "RGB", transform.image_shape
    canvas = np.array(Image.new(mode, (columns, rows), transform.background)).reshape(transform.image_shape)
    top, left = (rows - height) // 2, (columns - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def _open(encoded: Encoded) -> Image.Image:
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded[..., 0] if encoded.shape[-1] == 1 else encoded)
    return Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded)


def _to_mode(image: Image.Image, mode: str, background: str) -> tuple[Image.Image, bool]:
    """Return the upright image over the background, and whether the background shows."""
    image, transparent = ImageOps.exif_transpose(image), False
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        levels, key = np.asarray(image), image.info.get("transparency")  # the one level that is transparent, if any
        opaque = np.full(levels.shape, 255, np.uint8) if key is None else np.where(levels == key, 0, 255).astype(np.uint8)
        image = Image.fromarray(np.stack([(levels >> 8).astype(np.uint8), opaque], axis=-1))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparent = bool(np.asarray(image.getchannel("A")).min() < 255)
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert(mode), transparent
