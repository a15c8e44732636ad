"""Colour images that packages of Debian bring: the PNG images inside a file, whose own format need not be known.

`crossfire`: 32 × 32 pixel art of the game Crossfire, out of crossfire-client-images (2.6 MB; GPL). `emoji`: the bitmaps of the
font Noto Color Emoji, 136 × 128, out of fonts-noto-color-emoji (9.9 MB; SIL Open Font License 1.1). They are no part of this
package. Both have transparent pixels; data.background=white shows their black outlines.

Images that are the same to the byte count once: with a copy on either side of `hold_out`, images that were trained on would
pass for held-out ones, and a baseline would be too good. Near repeats are kept and so stay on both sides: frames of an
animation, skin tones, and a few files that differ and show the same.
"""

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_jax.data.cache import Item, Source
from gan_jax.errors import InputError
from gan_jax.files import expand, sha256_of

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_BYTES = 2**26  # the files have 3 and 11 MB: a larger one is another


class Package(NamedTuple):
    """A package of Debian, its file of images, and the width and height of those that count."""

    name: str
    file: Path
    size: tuple[int, int]


PACKAGES = {
    "crossfire": Package("crossfire-client-images", Path("/usr/share/games/crossfire-client/crossfire.base"), (32, 32)),
    "emoji": Package("fonts-noto-color-emoji", Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"), (136, 128)),
}
"""Name of a dataset -> the package that brings it."""


def packaged_source(name: str, data_dir: str) -> Source:
    """Return the encoded images of a package's file, in its order, those that are the same to the byte once.

    name: of `PACKAGES`. data_dir: the file, or its folder; '' for where the package puts it.

    Raises:
        InputError: the file is missing, damaged or another one.
    """
    package = PACKAGES[name]
    width, height = package.size
    path = expand(data_dir) if data_dir else package.file
    try:
        path = path / package.file.name if path.is_dir() else path
        sized = [image for image in find_pngs(_read(path)) if _size_of(image) == package.size]
        if not sized:
            raise ValueError(f"it has no PNG images of {width} × {height} pixels")
    except FileNotFoundError:
        remedy = f"apt-get install {package.name}, or set data.dir to {package.file.name} or its folder"
        raise InputError(f"data.name={name}: {path} is missing: {remedy}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        remedy = f"it must be {package.file.name} of Debian: apt-get install --reinstall {package.name}"
        raise InputError(f"data.name={name}: {path}: {reason}; {remedy}") from error
    images = list(dict.fromkeys(sized))
    if len(images) < len(sized):
        repeats = f"without {len(sized) - len(images)} that are the same to the byte as one of these"
        print(f"{name}: {len(images)} images, {repeats}", file=sys.stderr, flush=True)

    def read(chunk: range) -> list[Item]:
        return [Item(f"image {index}", images[index]) for index in chunk]

    fingerprint = sha256_of(np.frombuffer(b"".join(images), np.uint8))
    return Source(f"{name}:{path.resolve()}", fingerprint, len(images), read)


def find_pngs(content: bytes) -> Iterator[bytes]:
    """Yield the PNG images inside other bytes, each from its signature to its chunk IEND (ISO/IEC 15948, section 5).

    Raises:
        ValueError: one of them is cut off, or a chunk has not its checksum.
    """
    end = 0
    while (start := content.find(_SIGNATURE, end)) >= 0:
        end, kind = start + len(_SIGNATURE), b""
        while kind != b"IEND":  # a chunk: the length of its data, its kind, the data, a CRC of the last two
            chunk, kind = end + 4, content[end + 4 : end + 8]
            checksum = chunk + 4 + int.from_bytes(content[end:chunk], "big")
            end = checksum + 4
            if end > len(content):
                raise ValueError(f"the PNG image at byte {start} is cut off")
            if zlib.crc32(content[chunk:checksum]) != int.from_bytes(content[checksum:end], "big"):
                raise ValueError(f"the PNG image at byte {start} is damaged")
        yield content[start:end]


def _size_of(image: bytes) -> tuple[int, int]:
    """Return the width and height in a PNG's first chunk, IHDR, after its signature and 8 bytes."""
    return int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # reading a pipe would wait forever
        raise ValueError("not a file")
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES >> 20} MiB")
    return content
