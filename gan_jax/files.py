"""Files that survive what happens to a run: written whole or not at all, or row by row and mended after a cut."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import jax
import numpy as np

from gan_jax.errors import InputError, shorten

_MAX_ROWS, _MAX_ROW = 2**30, 2**20  # bytes of a file of rows that is read, and of a row
_MAX_ENTRIES = 100_000  # files and folders in a tree that is read


def open_regular(path: str | Path, flags: int = os.O_RDONLY, *, at_most: int | None = None) -> int:
    """Open a regular file, which no link leads to, of at most so many bytes; return its descriptor.

    Nothing blocks: a pipe or a device is refused, rather than waited for. flags: as of `os.open`.

    Raises:
        InputError: there is something else at this path, or a larger file.
        OSError: what the system says, such as that there is no file.
    """
    safe = (
        getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        descriptor = os.open(path, flags | safe, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):  # a link, also of BSD; a pipe that nobody reads
            raise _not_regular(path) from error
        raise
    status = os.fstat(descriptor)
    large = at_most is not None and status.st_size > at_most
    if large or not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: must be at most {at_most} bytes, not {status.st_size}") if large else _not_regular(path)
    return descriptor


def _not_regular(path: str | Path) -> InputError:
    return InputError(f"{shorten(path)}: must be a regular file, and no link, pipe or device")


def check_tree(folder: Path, *, at_most: int) -> None:
    """Raise `InputError` unless there is nothing but folders and regular files in a folder, of at most so many bytes in all."""
    size, entries, folders = 0, 0, [folder]
    while folders:
        with os.scandir(folders.pop()) as found:
            for entry in found:
                entries += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise _not_regular(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
                if size > at_most or entries > _MAX_ENTRIES:
                    raise InputError(f"{folder}: must be at most {at_most} bytes in {_MAX_ENTRIES} files")


def expand(path: str) -> Path:
    """Return the path, with ~ and ~user replaced by the home folder.

    Raises:
        InputError: there is no such folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{shorten(path)}: no such home folder; give the whole path") from None


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Name the file in an `OSError` that does not: what is written to an open file knows no name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` make the file beside its place, and rename it: what is there is always whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")  # two processes may make the same file at once
    with name_in_errors(path):
        try:
            write(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_atomic_bytes(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """The same for what writes to an open file: numpy would add an ending to the name."""

    def write_open(partial: Path) -> None:
        with partial.open("wb") as file:
            write(file)

    write_atomic(path, write_open)


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, without those that were cut off or damaged; none where there is no file."""
    rows = []
    with suppress(FileNotFoundError), os.fdopen(open_regular(path, at_most=_MAX_ROWS), "r", errors="replace") as file:
        while line := file.readline(_MAX_ROW):
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
                rows += [row] if isinstance(row, dict) else []
    return rows


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row, on a line of its own even where the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    with name_in_errors(path), os.fdopen(descriptor, "a+b") as file:
        file.seek(-min(1, file.tell()), 2)
        file.write((b"" if file.read(1) in (b"", b"\n") else b"\n") + json.dumps(row).encode() + b"\n")


class JsonlWriter:
    """A file of JSON lines with a step each. Those after `start`, a resumed run's to repeat, are dropped, and damaged ones."""

    def __init__(self, path: Path, *, start: int):
        self._path = path
        self.rows = [row for row in read_jsonl(path) if isinstance(row.get("step"), int) and row["step"] <= start]
        write_atomic(path, lambda file: file.write_text("".join(json.dumps(row) + "\n" for row in self.rows)))
        self._file = os.fdopen(open_regular(path, os.O_WRONLY | os.O_APPEND), "a")

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row, at once on disk."""
        with name_in_errors(self._path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file, also where what it still holds does not fit on the disk."""
        with name_in_errors(self._path):
            self._file.close()


def cache_dir() -> Path:
    """The user's cache folder for gan_jax: `$XDG_CACHE_HOME/gan_jax`, by default `~/.cache/gan_jax`."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_jax"
    except RuntimeError:
        raise InputError("this user has no home folder: set HOME or XDG_CACHE_HOME to a folder for the cache") from None


def write_to_cache(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file of the cache folder, or say that it cannot be written: a cache only saves time."""
    try:
        write_atomic_bytes(path, write)
    except OSError as error:
        print(f"not kept for the next time: {error.filename or path}: {error.strerror or error}", flush=True)


def sha256_of(*parts: Any) -> str:
    """Return the sha256 (hex) of pytrees of arrays, strings and numbers."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(parts):
        array = None if isinstance(leaf, str) else np.asarray(leaf)
        digest.update(leaf.encode() if array is None else f"{array.dtype}{array.shape}".encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
