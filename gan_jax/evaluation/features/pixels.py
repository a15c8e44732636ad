"""The pixels themselves as features: no network, for any images; distances of them see places rather than content."""

import numpy as np

from gan_jax.data.batch import to_float
from gan_jax.evaluation.features.extractor import Extractor

_SIZE = 32  # larger images are averaged down to between this and its double: all distances cost by the dimension


def make_pixels(image_shape: tuple[int, ...]) -> Extractor:
    """Make the extractor of the pixels, in [-1, 1], of images of that shape `(H, W, C)`."""
    height, width, channels = image_shape
    factor = max(1, min(height, width) // _SIZE)
    rows, columns = height // factor, width // factor

    def extract(images: np.ndarray) -> np.ndarray:
        cut = images[:, : rows * factor, : columns * factor]
        blocks = cut.reshape(len(images), rows, factor, columns, factor, channels)
        features: np.ndarray = to_float(blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(images), -1))
        return features

    preparation = "scaled to [-1, 1]" if factor == 1 else f"averaged to {rows} × {columns}, scaled to [-1, 1]"
    return Extractor("pixels", extract, rows * columns * channels, 256, "", preparation)
