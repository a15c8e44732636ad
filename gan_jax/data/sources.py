"""Your own images: a folder of files, or an array in a file."""

import os
import stat
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np

from gan_jax.data.cache import Images, Item, Source, load_decoded
from gan_jax.data.decoding import Transform
from gan_jax.errors import InputError, shorten
from gan_jax.files import expand
from gan_jax.memory import check_fits

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


def folder_source(path: str) -> Source:
    """Return the image files under a folder, in the order of their names."""
    folder = expand(path)
    files = _image_files(folder)
    if not files:
        raise InputError(f"folder:{path} has no images: their names must end in {', '.join(SUFFIXES)}")

    def read(chunk: range) -> list[Item]:
        return [Item(files[index][0], folder / files[index][0]) for index in chunk]

    return Source(f"folder:{folder.resolve()}", files, len(files), read)


def _image_files(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of each file, at all levels; a folder is read once, however many links lead to it."""

    def refuse(error: OSError) -> None:
        raise InputError(f"folder:{folder}: {error.filename}: {error.strerror}; PATH must be a folder of images") from error

    entered, files = set(), []
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        for file in (Path(parent, name) for name in names if name.lower().endswith(SUFFIXES)):
            name = file.relative_to(folder).as_posix()
            try:
                status = file.stat()
            except OSError:  # a broken link: decoding names it
                files.append((name, 0, 0))
                continue
            if stat.S_ISREG(status.st_mode):  # reading a pipe would wait forever
                files.append((name, status.st_size, status.st_mtime_ns))
    return sorted(files)


def load_numpy(path: str, transform: Transform) -> Images:
    """Load images uint8 `[N, H, W]` or `[N, H, W, C]` of a `.npy`, or of a `.npz` as `images`, with its `labels` if any.

    An array of the shape that is asked for may have any number of channels; others are transformed and cached.
    """
    images, labels = read_numpy(path)
    if images.shape[1:] == transform.image_shape:
        return images, labels
    if images.shape[-1] not in (1, 3, 4):
        raise InputError(f"numpy:{path}: images are {list(images.shape[1:])}: data.image_size and data.channels must match")

    def read(chunk: range) -> list[Item]:
        return [Item(f"image {index}", images[index], None if labels is None else int(labels[index])) for index in chunk]

    file = expand(path)
    status = file.stat()
    name = f"numpy:{file.resolve()}"
    return load_decoded(Source(name, [status.st_size, status.st_mtime_ns], len(images), read), transform)


def read_numpy(path: str) -> Images:
    """Read images uint8 `[N, H, W, C]` of a `.npz` or of a `.npy`, which is memory-mapped, and labels int32 `[N]` or None.

    Raises:
        InputError: no such file, or it holds something else.
    """
    images, labels = _read_numpy(expand(path))
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise InputError(f"numpy:{path}: images {images.dtype} {list(images.shape)} must be uint8 [N, H, W, C] or [N, H, W]")
    return images if images.ndim == 4 else images[..., None], _check_labels(path, labels, len(images))


def _check_labels(path: str, labels: np.ndarray | None, num: int) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.shape != (num,) or labels.dtype.kind not in "iu":
        must = f"must be one integer for each of {num} images"
        raise InputError(f"numpy:{path}: labels {labels.dtype} {list(labels.shape)} {must}")
    outside = labels[(labels < -(2**31)) | (labels >= 2**31)]
    if len(outside):
        raise InputError(f"numpy:{path}: label {outside[0]} must be an integer of 32 bits")
    return labels.astype(np.int32)


def _read_numpy(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe would wait forever
            raise InputError(f"numpy:{file}: FILE must be a regular .npy or .npz file")
        if not is_zipfile(file):
            return np.lib.format.open_memmap(file, mode="r"), None
        with ZipFile(file) as archive:
            check_fits(sum(member.file_size for member in archive.infolist()), f"numpy:{file}, unpacked,")
        with np.load(file) as content:
            names = content.files
            key = "images" if "images" in names else names[0]
            if key != "images" and len(names) > 1:
                raise InputError(f"numpy:{file}: arrays {', '.join(names)}: the name of the images must be `images`")
            return _array(content, key), _array(content, "labels") if "labels" in names else None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"numpy:{file}: {error.strerror or error}; FILE must be a .npy or .npz file") from error
    except Exception as error:  # damaged bytes can raise anything
        text = shorten(error) or type(error).__name__
        raise InputError(f"numpy:{file}: FILE must be a .npy or .npz file of uint8 ({text})") from error


def _array(content: Any, name: str) -> np.ndarray:
    array = content[name]
    if not isinstance(array, np.ndarray):  # numpy returns what is no array as it is
        raise ValueError(f"{name} is not an array")
    return array
