"""Arrays in the user's cache folder, each file with a checksum: a damaged file is named, and made again.

The checksum is CRC-32. It finds every error of up to 32 adjacent bits, and costs 0.4 s for 1 GB in memory (2 cores; sha256
1.6 s, the copy alone 0.1 s).
"""

import io
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import write_atomic_bytes

_BLOCK = 2**20  # bytes that are read at once


def cache_dir() -> Path:
    """Return the user's cache folder for gan_jax: `$XDG_CACHE_HOME/gan_jax`, by default `~/.cache/gan_jax`."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_jax"
    except RuntimeError:
        raise InputError("this user has no home folder: set HOME or XDG_CACHE_HOME to a folder for the cache") from None


def write_to_cache(path: Path, write: Callable[[IO[bytes]], object]) -> bool:
    """Write a file of the cache folder, or print that this failed: a cache only saves time. Return whether it was written."""
    try:
        write_atomic_bytes(path, write)
    except OSError as error:
        print(f"not cached for the next time: {error.filename or path}: {error.strerror or error}", flush=True)
        return False
    return True


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Write arrays by name to a file of the cache folder: a `.npz`, and four bytes of checksum. See `write_to_cache`."""
    content = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(content, **named)
    body = content.getvalue()
    return write_to_cache(path, lambda file: file.write(body + zlib.crc32(body).to_bytes(4)))


def load_arrays(path: Path, expected: Mapping[str, tuple[Any, tuple[int | None, ...]]]) -> dict[str, np.ndarray] | None:
    """Load what `save_arrays` has written; None where there is no file, or, after a line that says so, a damaged one.

    expected: dtype and shape by name, with None for any length.
    """
    try:
        content = path.read_bytes()
        body = content[:-4]
        if zlib.crc32(body).to_bytes(4) != content[-4:]:
            raise ValueError("its checksum is wrong")
        with np.load(io.BytesIO(body)) as file:
            arrays = dict(file)
        _check(arrays, expected)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        tell_damaged(path, error)
        return None
    return arrays


def tell_damaged(path: Path, error: Exception) -> None:
    """Print the line about a damaged file of the cache, which is made again."""
    reason = error.strerror if isinstance(error, OSError) else None
    print(f"{path}: damaged ({reason or error}); it is made again", flush=True)


def file_checksum(path: Path) -> int:
    """Return the CRC-32 of a file of any size."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _check(arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[Any, tuple[int | None, ...]]]) -> None:
    """Raise `ValueError` where the arrays are not those that are expected: another program may have written the file."""
    for name in {**arrays, **expected}:
        if name not in arrays or name not in expected:
            raise ValueError(f"{name} is {'missing' if name in expected else 'not expected'}")
        dtype, shape = expected[name]
        wrong = len(shape) != arrays[name].ndim or any(
            length not in (None, actual) for length, actual in zip(shape, arrays[name].shape, strict=False)
        )
        if wrong or arrays[name].dtype != dtype:
            raise ValueError(f"{name} is {arrays[name].dtype} {list(arrays[name].shape)}")
