"""The two scales of images: uint8 grey levels, as they are stored and shown, and float32 in [-1, 1], as networks see them."""

from typing import Any

import numpy as np


def to_float(images: Any) -> Any:
    """Grey levels 0 to 255 -> float32 in [-1, 1]; numpy and JAX arrays alike."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(images: Any) -> Any:
    """Images in [-1, 1], clipped there -> uint8, rounded to the nearest grey level; numpy and JAX arrays alike."""
    return ((images.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
