"""Plain images, as files of any format, and what the package makes of a folder of them."""

import io

import numpy as np
from PIL import Image

from gan_jax.data import Transform, load_images

RED, GREEN, BLUE = (200, 30, 20), (10, 180, 40), (30, 20, 210)


def load(folder, size=8, channels=3, **options):
    """The images of a folder, uint8 `[N, H, W, channels]`."""
    return np.array(load_images(f"folder:{folder}", Transform(size, channels, **options))[0])


def plain(color=RED, size=(12, 12), mode="RGB"):
    return Image.new(mode, size, color)


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def cached_files(tmp_path):
    """Files in the cache of a test that has one of its own."""
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
