"""Read idx files, the format in which MNIST and Fashion-MNIST were published (magic number, big-endian sizes, bytes)."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from gan_jax.errors import InputError

IDX_SPLITS = {"train": "train", "test": "t10k"}
"""Split -> the first word in the names of its two idx files."""


def has_idx_files(folder: Path) -> bool:
    """Tell whether a folder has the idx file of the training images, plain or gzipped."""
    return _find(folder, "train-images-idx3-ubyte") is not None


def read_idx_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the images uint8 `[N, H, W]` and labels uint8 `[N]` of a split, "train" or "test".

    Raises:
        InputError: a file is missing or damaged, or there are not as many labels as images.
    """
    stem = IDX_SPLITS[split]
    images, labels = (_read(folder, f"{stem}-{part}-ubyte") for part in ("images-idx3", "labels-idx1"))
    if len(images) != len(labels):
        raise InputError(f"{folder}: {len(images)} {stem} images, {len(labels)} labels: there must be one label for each image")
    return images, labels


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read(folder: Path, name: str) -> np.ndarray:
    path = _find(folder, name)
    if path is None:
        raise InputError(f"{folder}: {name}, or {name}.gz, is missing")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, rank = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{rank}I", content, 4)
        if (zeros, kind) != (0, 8):
            raise ValueError("not an idx file of bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: {error}; download it again") from error
