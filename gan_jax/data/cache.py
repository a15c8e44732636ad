"""Decode images once, to a uint8 `.npy` in the user's cache folder, which later runs map into memory."""

import errno
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import UnidentifiedImageError
from tqdm import tqdm

from gan_jax.cached import cache_dir, file_checksum, tell_damaged
from gan_jax.data.decoding import Decoded, Encoded, Transform, decode, pad
from gan_jax.errors import InputError
from gan_jax.files import format_row, parse_row, sha256_of, write_atomic_bytes

_FORMAT = 3  # a change here rebuilds every cache
_CHUNK = 1024  # images that are read before they are written
_VERIFIED = 2**33  # bytes: verifying a larger file at every start, at 0.4 s for 1 GB and more from a disk, would be felt
_SHOWN = 5  # files named on the console; the record beside the cache names all
# Of a file that may be whole: skipped, it would be missing from the cache for as long as it stays the same.
_UNREADABLE = {errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE}

Images = tuple[np.ndarray, np.ndarray | None]
"""Images uint8 `[N, H, W, C]`, and labels int32 `[N]` or None."""


class Item(NamedTuple):
    """An encoded image, its name in messages, and its label."""

    name: str
    image: Encoded
    label: int | None = None


class Source(NamedTuple):
    """Encoded images in a fixed order. fingerprint: JSON that changes whenever they do. read: return the items of a range."""

    name: str
    fingerprint: Any
    total: int
    read: Callable[[range], Sequence[Item]]


class _Record(NamedTuple):
    """The JSON beside the images, with a checksum of its own.

    fingerprint: of their source and transform. written: size, time and checksum of the `.npy`. skipped: `[name, reason]` of
    each item. transparent: images that are not all opaque; the first formats have no such count.
    """

    fingerprint: str
    written: list[int]
    labels: list[int] | None
    skipped: list[list[str]]
    transparent: int = 0


def _digest(content: Any) -> str:
    return sha256_of(json.dumps(content, sort_keys=True))


def load_decoded(source: Source, transform: Transform) -> Images:
    """Load the decoded images of a source, memory-mapped; a cache that is missing, stale or damaged is built first.

    Items that cannot be decoded are named, counted and skipped; a file that the system does not let us read is refused.

    Raises:
        InputError: the source has no channels of that number, a file or all images cannot be read, the cache not written.
    """
    if transform.channels not in (1, 3):
        raise InputError(f"data.channels={transform.channels} must be 1 or 3 for {source.name}, whose images are decoded")
    slug = re.sub(r"[^A-Za-z0-9]+", "-", source.name).strip("-")[-40:]
    path = cache_dir() / "images" / f"{slug}-{_digest([source.name, transform.describe()])[:16]}.npy"
    fingerprint = _digest([_FORMAT, source.fingerprint, transform.describe()])
    record = _valid_record(path, fingerprint)
    if record is None:
        try:
            with _building(path) as waited:
                record = (_valid_record(path, fingerprint) if waited else None) or _build(source, transform, path, fingerprint)
        except OSError as error:
            raise InputError(
                f"{path}: {error.strerror or error}; point XDG_CACHE_HOME to a folder with room for the decoded images"
            ) from error
    if record.skipped:
        named = ", ".join(f"{name} ({reason})" for name, reason in record.skipped[:_SHOWN])
        more = f" and {len(record.skipped) - _SHOWN} more, all in {path.with_suffix('.json')}"
        text = f"{source.name}: skipped {len(record.skipped)} of {source.total}: {named}"
        text += more if len(record.skipped) > _SHOWN else ""
        print(text.encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)
    if record.transparent:
        of = source.total - len(record.skipped)
        text = f"{source.name}: {record.transparent} of {of} images have transparency, drawn over data.background"
        print(f"{text}={transform.background}".encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)
    if len(record.skipped) == source.total:
        raise InputError(f"{source.name}: none of its {source.total} images can be read")
    labels = None if record.labels is None else np.array(record.labels, np.int32)
    return np.load(path, mmap_mode="r"), labels


def _valid_record(path: Path, fingerprint: str) -> _Record | None:
    """Return the record of a cache that is whole and of these images, or None, after a line where it is damaged.

    A later write shows in its size or time, a flipped bit in its checksum, which is verified up to `_VERIFIED` bytes.
    """
    described = path.with_suffix(".json")
    try:
        record = _Record(**parse_row(described.read_bytes(), sealed=True))
        if record.fingerprint != fingerprint:
            return None
        size, time, checksum = record.written
        status = path.stat()
        if [status.st_size, status.st_mtime_ns] != [size, time]:
            raise ValueError("it was changed after it was written")
        if size <= _VERIFIED and file_checksum(path) != checksum:
            raise ValueError("its checksum is wrong")
    except FileNotFoundError as error:
        if path.exists() or described.exists():
            tell_damaged(path, error)
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        tell_damaged(path, error)
        return None
    return record


@contextmanager
def _building(path: Path) -> Iterator[bool]:
    """Let one process at a time build a cache, as those of a run begin together; yield whether another one was waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, waited = path.with_suffix(".lock"), False
    with lock.open("w") as file:
        with suppress(ImportError, OSError):  # without such locks, in Windows or some file systems, each builds its own
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield waited
        finally:
            with suppress(OSError):
                lock.unlink()


def _build(source: Source, transform: Transform, path: Path, fingerprint: str) -> _Record:
    records = []

    def write(file: IO[bytes]) -> None:
        labels, skipped, transparent = _decode_all(source, transform, file)
        file.flush()
        os.fsync(file.fileno())
        status = os.fstat(file.fileno())  # of this file, even where another process has replaced it
        written = [status.st_size, status.st_mtime_ns, file_checksum(Path(file.name))]
        known = None if None in labels else [label for label in labels if label is not None]
        records.append(_Record(fingerprint, written, known, skipped, transparent))

    write_atomic_bytes(path, write)
    write_atomic_bytes(path.with_suffix(".json"), lambda file: file.write(format_row(records[0]._asdict()).encode()))
    return records[0]


def _decode_all(source: Source, transform: Transform, file: IO[bytes]) -> tuple[list[int | None], list[list[str]], int]:
    """Write the images that can be decoded, as `.npy`.

    Returns their labels, `[name, reason]` of the others, and how many of those that were written are not all opaque.
    Written, not memory-mapped: on a full disk a write is an error, a mapped page is a crash.
    """

    def attempt(item: Item) -> Decoded | str:
        try:
            return decode(item.image, transform)
        except UnidentifiedImageError:
            return "not an image"
        except OSError as error:
            if error.errno in _UNREADABLE:
                raise InputError(f"{source.name}: {item.name}: {error.strerror}; every file must be readable") from error
            return error.strerror or str(error)
        except Exception as error:  # decoders raise anything on damaged bytes
            return str(error) or type(error).__name__

    labels: list[int | None] = []
    skipped: list[list[str]] = []
    transparent = 0
    first: tuple[str, tuple[int, ...]] | None = None
    _write_header(file, 0, transform)
    chunks = [range(start, min(start + _CHUNK, source.total)) for start in range(0, source.total, _CHUNK)]
    bar = tqdm(total=source.total, desc=f"decoding {source.name}, once", unit="image", disable=None)
    with bar, ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, and of large images, which `decode` refuses
        for chunk in chunks:
            items = source.read(chunk)
            for item, decoded in zip(items, pool.map(attempt, items), strict=True):
                if isinstance(decoded, str):
                    skipped.append([item.name, decoded])
                    continue
                pixels = decoded.pixels
                transparent += decoded.transparent
                first = first or (item.name, pixels.shape)
                _check_size(source, item.name, pixels, transform, first)
                file.write(pad(pixels, transform).tobytes())
                labels.append(item.label)
            bar.update(len(chunk))
    file.seek(0)
    _write_header(file, len(labels), transform)
    return labels, skipped, transparent


def _check_size(
    source: Source, name: str, pixels: np.ndarray, transform: Transform, first: tuple[str, tuple[int, ...]]
) -> None:
    """Raise `InputError` where images differ in size, or are larger than the config's, without a resize."""
    height, width = pixels.shape[:2]
    if pixels.shape != first[1]:
        sizes = f"{first[0]} is {first[1][1]} × {first[1][0]}, {name} is {width} × {height}"
        raise InputError(f"{source.name}: {sizes}: data.resize must be true")
    if height > transform.image_shape[0] or width > transform.image_shape[1]:
        size = f"{name} is {width} × {height}, data.image_size={transform.image_size}"
        raise InputError(f"{source.name}: {size}: data.resize must be true")


def _write_header(file: IO[bytes], count: int, transform: Transform) -> None:
    """Write the header of the `.npy`; NumPy leaves room in it for any count, so that it can be rewritten at the end."""
    shape = (count, *transform.image_shape)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
