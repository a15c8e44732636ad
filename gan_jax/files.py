"""Files that survive what happens to a run: written whole or not at all, or row by row and mended after a cut."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import jax
import numpy as np


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
    path = Path(path)
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row, on a line of its own even where the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with name_in_errors(path), path.open("a+b") as file:
        file.seek(-min(1, file.tell()), 2)
        file.write((b"" if file.read(1) in (b"", b"\n") else b"\n") + json.dumps(row).encode() + b"\n")


class JsonlWriter:
    """A file of JSON lines with a step each. Those after `start`, a resumed run's to repeat, are dropped, and damaged ones."""

    def __init__(self, path: Path, *, start: int):
        self._path = path
        self.rows = [row for row in read_jsonl(path) if row["step"] <= start]
        write_atomic(path, lambda file: file.write_text("".join(json.dumps(row) + "\n" for row in self.rows)))
        self._file = path.open("a")

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
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_jax"


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
