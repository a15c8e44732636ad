"""Files that survive a crash of the run: written whole or not at all, or row by row and repaired after a cut."""

import errno
import hashlib
import json
import os
import re
import stat
import sys
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import jax
import numpy as np

from gan_jax.errors import InputError, shorten

_MAX_ROWS = 2**30  # bytes of a file of rows that is read
_CHECKSUM = "crc"  # the last field of a row: crc32 of the row without it, hex
_NAMED = 3  # dropped rows that a line names
_MAX_ENTRIES = 100_000  # files and folders in a tree that is read


def open_regular(path: str | Path, flags: int = os.O_RDONLY, *, at_most: int | None = None) -> int:
    """Open a regular file of at most so many bytes, without following links; return its descriptor.

    Nothing blocks: a pipe or a device is refused. flags: as for `os.open`.

    Raises:
        InputError: the path is something else, or a larger file.
        OSError: the system's own, for instance where there is no file.
    """
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o666)
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
    return InputError(f"{shorten(path)}: must be a regular file, not a link, pipe or device")


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
                    raise InputError(f"{folder}: must be at most {at_most} bytes in at most {_MAX_ENTRIES} files")


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
    """Name the file in an `OSError` that does not: errors of writing to an open file have no name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a temporary file beside the path, and rename it: the file at the path is always whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")  # two processes may make the same file at once
    with name_in_errors(path):
        try:
            write(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Tell whether a file is the temporary one that `write_atomic` leaves when its process is killed."""
    return re.fullmatch(r"\..+\.[0-9a-f]{32}\.partial", path.name) is not None and path.is_file() and not path.is_symlink()


def write_atomic_bytes(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Do the same with a `write` that takes an open file: numpy would add an ending to a name."""

    def write_open(partial: Path) -> None:
        with partial.open("wb") as file:
            write(file)

    write_atomic(path, write_open)


def read_jsonl(path: str | Path, *, of_steps: bool = False) -> list[dict[str, Any]]:
    """Return the whole rows of a file of JSON lines, none where there is no file; print how many were dropped, and why.

    A whole row is an object whose checksum, if it has one, is right: rows of the first releases have none. of_steps: a row must
    also have numbers by name with a step among them, and the steps must ascend.
    """
    rows: list[tuple[int, dict[str, Any]]] = []
    dropped: dict[int, str] = {}
    for number, line in enumerate(_read_lines(path), 1):
        try:
            if line.strip():
                rows.append((number, parse_row(line, of_steps=of_steps)))
        except (ValueError, RecursionError) as error:
            dropped[number] = str(error) if type(error) is ValueError else "not JSON"
    if of_steps:
        ascending = _longest_ascent([row["step"] for _, row in rows])
        dropped |= {number: "its step is out of order" for index, (number, _) in enumerate(rows) if index not in ascending}
    if dropped:
        named = [f"line {number} ({dropped[number]})" for number in sorted(dropped)[:_NAMED]]
        more = f" and {len(dropped) - _NAMED} more" if len(dropped) > _NAMED else ""
        num = f"{len(dropped)} damaged row{'s' * (len(dropped) > 1)}"
        print(f"{path}: dropped {num}: {', '.join(named)}{more}", file=sys.stderr, flush=True)
    return [row for number, row in rows if number not in dropped]


def parse_row(line: bytes, *, of_steps: bool = False, sealed: bool = False) -> dict[str, Any]:
    """Parse a line of `format_row`; sealed: it must have a checksum. Raises `ValueError`, or `RecursionError`."""
    row = json.loads(line.decode())
    if not isinstance(row, dict):
        raise ValueError("not an object")
    checksum = row.pop(_CHECKSUM, None)
    if (sealed or checksum is not None) and checksum != _checksum(row):
        raise ValueError("its checksum is wrong")
    if of_steps:
        bad = [name for name, entry in row.items() if not _is_number(entry)]
        if bad or type(row.get("step")) is not int or row["step"] < 0:
            raise ValueError(f"{bad[0]} is not a number" if bad else "it has no step")
    return row


def _is_number(entry: Any) -> bool:
    return type(entry) is float or (type(entry) is int and abs(entry) < 2**63)  # not True; no int that is too large for a float


def _longest_ascent(steps: Sequence[int]) -> set[int]:
    """Return the indices of a longest strictly ascending subsequence: one wrong step costs one row, wherever it is."""
    ends: list[int] = []  # of the ascents of each length, the index of the least end
    before: list[int | None] = []
    for index, step in enumerate(steps):
        length = bisect_left(ends, step, key=lambda end: steps[end])
        before.append(ends[length - 1] if length else None)
        ends[length:] = [index, *ends[length + 1 :]]
    ascent, last = set[int](), ends[-1] if ends else None
    while last is not None:
        ascent.add(last)
        last = before[last]
    return ascent


def _checksum(row: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(row).encode()):08x}"


def format_row(row: Mapping[str, Any]) -> str:
    """Format a row as a line that ends in its checksum."""
    row = json.loads(json.dumps({name: entry for name, entry in row.items() if name != _CHECKSUM}))  # as it will be read
    return json.dumps({**row, _CHECKSUM: _checksum(row)}) + "\n"


def _read_lines(path: str | Path) -> list[bytes]:
    try:
        descriptor = open_regular(path, at_most=_MAX_ROWS)
    except FileNotFoundError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        return file.read().split(b"\n")


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row, on a line of its own even where the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    with name_in_errors(path), os.fdopen(descriptor, "a+b") as file:
        file.seek(-min(1, file.tell()), 2)
        file.write((b"" if file.read(1) in (b"", b"\n") else b"\n") + format_row(row).encode())


class JsonlWriter:
    """Write a file of JSON lines with a step each; drop the rows after `start`, which a resumed run repeats, and damaged ones.

    start: 0 for a new run, which drops all; they may be those of a run of another config, killed before its first save.
    """

    def __init__(self, path: Path, *, start: int):
        self._path = path
        self._open([row for row in read_jsonl(path, of_steps=True) if row["step"] <= start != 0])

    def _open(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        write_atomic(self._path, lambda file: file.write_text("".join(map(format_row, rows))))
        self._file = os.fdopen(open_regular(self._path, os.O_WRONLY | os.O_APPEND), "a")

    def drop(self, step: int) -> None:
        """Drop the row of a step, which is to be written anew."""
        self.close()
        self._open([row for row in read_jsonl(self._path, of_steps=True) if row["step"] != step])

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row, and flush it to disk."""
        with name_in_errors(self._path):
            print(format_row(row), end="", file=self._file, flush=True)

    def close(self) -> None:
        """Close the file, even if its buffer does not fit on the disk."""
        with name_in_errors(self._path):
            self._file.close()


def sha256_of(*parts: Any) -> str:
    """Return the sha256 (hex) of pytrees of arrays, strings and numbers."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(parts):
        array = None if isinstance(leaf, str) else np.asarray(leaf)
        digest.update(leaf.encode() if array is None else f"{array.dtype}{array.shape}".encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
