"""Datasets by name, behind one interface: batches as functions of `(seed, step)`."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from gan_jax.data.batch import Batch, Dataset, to_float, to_uint8
from gan_jax.data.cache import Images, load_decoded
from gan_jax.data.datasets import RESIDENT_MIB, WHOLE_BATCH, DensityDataset, ImageDataset, StreamedDataset, from_arrays
from gan_jax.data.decoding import ImageSize, Transform, height_and_width
from gan_jax.data.digits import load_digits
from gan_jax.data.mnist import load_mnist
from gan_jax.data.packages import PACKAGES, packaged_source
from gan_jax.data.sources import folder_source, load_numpy, read_numpy
from gan_jax.data.stacked import CHANNELS, StackedDataset, stacked_from_arrays
from gan_jax.data.streaming import Fetched
from gan_jax.errors import InputError
from gan_jax.theory.distributions import GaussianMixture, grid, ring


class Named(NamedTuple):
    """Images with a name: `load(image_size, channels, split=, data_dir=)` -> uint8 `[N, H, W, C]`, labels int32 `[N]`."""

    load: Callable[..., Images]
    splits: tuple[str, ...]


IMAGES = {
    "mnist5k": Named(lambda image_size, channels, **_: load_digits(image_size, channels), ("train",)),
    "mnist": Named(load_mnist, ("train", "test")),
}
"""Name -> the images of that name, and their splits."""

DENSITIES: dict[str, Callable[[], GaussianMixture]] = {"ring": ring, "grid": grid}
"""Name -> density of points in the plane."""

SCHEMES = {"tfds": "NAME", "folder": "PATH", "numpy": "FILE", "stacked": "NAME"}
"""Scheme -> what follows it in the name of an image dataset, such as tfds:cifar10."""

DATASETS = (*IMAGES, *PACKAGES, *DENSITIES, *(f"{scheme}:{value}" for scheme, value in SCHEMES.items()))
"""What `config.data.name` can be."""


def is_image_dataset(name: str) -> bool:
    """Tell whether a name is that of an image dataset, without checking that it exists."""
    scheme, _, value = name.partition(":")
    if scheme == "stacked":
        return not is_stacked(value) and is_image_dataset(value)
    return name in IMAGES or name in PACKAGES or (scheme in SCHEMES and bool(value))


def may_have_labels(name: str) -> bool:
    """Tell whether a dataset of this name can have labels, without checking that it has them."""
    return name not in PACKAGES and not name.startswith("folder:")


def is_stacked(name: str) -> bool:
    """Tell whether a name is that of a dataset whose channels are images of another one, which comes after `stacked:`."""
    return name.startswith("stacked:")


def is_known(name: str) -> bool:
    """Tell whether a name opens only what is embedded, cached, of a system's package or registered with TFDS: no path."""
    scheme, _, value = name.partition(":")
    if scheme == "stacked":
        return is_known(value)
    if scheme == "tfds":
        from gan_jax.data.tfds import is_registered

        return is_registered(value)
    return name in IMAGES or name in PACKAGES or name in DENSITIES


def reads_folder(name: str) -> bool:
    """Tell whether a dataset of this name is looked for in `config.data.dir`."""
    base = name.removeprefix("stacked:")
    return base == "mnist" or base in PACKAGES or base.startswith("tfds:")


def has_splits(name: str) -> bool:
    """Tell whether the dataset of a name has training images and others, or one split only."""
    return len(IMAGES[name].splits) > 1 if name in IMAGES else name.startswith("tfds:")


def make_sample_shape(name: str, image_size: ImageSize, channels: int) -> tuple[int, ...]:
    """Return the shape of one example of a named dataset, known without loading it.

    Raises:
        InputError: stacks that have not three channels.
    """
    if is_stacked(name) and channels != CHANNELS:
        raise InputError(f"data.channels={channels} must be {CHANNELS} for {name}, which has an image in each channel")
    return (*height_and_width(image_size), channels) if is_image_dataset(name) else DENSITIES[name]().means.shape[1:]


def parse_split(split: str) -> tuple[str, Callable[[int], slice] | None]:
    """Return the whole split of a slice in TFDS's syntax, train[:500] or train[10%:20%], and which of n images it takes.

    That function raises `InputError` where there are not so many.
    """
    match = re.fullmatch(r"(\w+)\[(\d*)(%?):(\d*)(%?)\]", split)
    if not match:
        return split, None
    whole, first, of_first, last, of_last = match.groups()

    percent = of_first or of_last  # one unit for both

    def part(num: int) -> slice:
        numbers = [int(number) if number else None for number in (first, last)]
        places = [round(number * num / 100) if percent and number is not None else number for number in numbers]
        if max(place or 0 for place in places) > num:
            raise InputError(f"data.split={split}: {whole} has {num} images")
        return slice(*places)

    return whole, part


def load_images(name: str, transform: Transform, *, split: str = "train", data_dir: str = "") -> Images:
    """Load the images uint8 `[N, H, W, C]` of a dataset, which are decoded once and cached, and labels int32 `[N]` or None.

    split: as in `tfds_source`; mnist has its splits and slices of these (`parse_split`), other datasets one split.
    data_dir: as in `tfds_source`, `load_mnist` and `packaged_source`.

    Raises:
        InputError: the dataset does not exist, or has not what is asked of it.
    """
    scheme, _, value = name.partition(":")
    if is_stacked(name):
        raise InputError(f"{name} has no images of its own: it stacks those of {value}")
    if name in IMAGES:
        load, splits = IMAGES[name]
        whole, part = parse_split(split)
        in_order = name == "mnist5k"  # of the labels: the first 500 are zeros
        if (split if in_order else whole) not in splits or transform != Transform(transform.image_size, transform.channels):
            sliced = "" if in_order else "or a slice such as train[:500], "
            raise InputError(
                f"data.name={name} has digits, which are resized on black: data.split must be {' or '.join(splits)}, "
                f"{sliced}data.resize true, data.background black"
            )
        digits: tuple[Any, Any] = load(transform.image_size, transform.channels, split=whole, data_dir=data_dir)
        images, labels = (array if part is None else array[part(len(array))] for array in digits)
        return images, labels
    if scheme != "tfds" and split != "train":
        raise InputError(f"data.name={name} has one split only: data.split={split} must be train")
    if name in PACKAGES:
        return load_decoded(packaged_source(name, data_dir), transform)
    if scheme == "numpy":
        return load_numpy(value, transform)
    if scheme == "folder":
        return load_decoded(folder_source(value), transform)
    from gan_jax.data.tfds import tfds_source  # imported here: a heavy library that few datasets need

    return load_decoded(tfds_source(value, split, data_dir), transform)


def make_dataset(
    name: str,
    *,
    batch_size: int,
    image_size: ImageSize = 32,
    channels: int = 1,
    flip: bool = False,
    resize: bool = True,
    background: str = "black",
    split: str = "train",
    data_dir: str = "",
    resident_mib: int = RESIDENT_MIB,
    workers: int = 2,
    part: slice = WHOLE_BATCH,
) -> Dataset:
    """Make the named dataset.

    image_size to workers are for images alone: see `Transform`, `load_images` and `from_arrays`.

    Raises:
        InputError: no such dataset, or options that it cannot have.
    """
    if not is_image_dataset(name) and name not in DENSITIES:
        raise InputError(f"dataset {name} must be one of {', '.join(DATASETS)}")
    if name in DENSITIES:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be ≥ 1")
        return DensityDataset(DENSITIES[name](), batch_size, part)
    transform = Transform(image_size, channels, resize, background)
    resident: Any = {"batch_size": batch_size, "resident_mib": resident_mib, "part": part}
    if is_stacked(name):
        if flip:
            raise InputError(f"data.flip must be false for {name}: mirroring changes the digits")
        return _make_stacked(name, transform, split, data_dir, **resident)
    images, labels = load_images(name, transform, split=split, data_dir=data_dir)
    return from_arrays(images, labels, flip=flip, workers=workers, **resident)


def _make_stacked(name: str, transform: Transform, split: str, data_dir: str, **resident: Any) -> StackedDataset:
    """Make the stacks of a dataset; those of training images have its test images beside them, where it is one of `IMAGES`."""
    make_sample_shape(name, transform.image_size, transform.channels)  # refuses what is no stack
    base = name.partition(":")[2]
    load = partial(load_images, base, replace(transform, channels=1), data_dir=data_dir)
    test = load(split="test") if split == "train" and base in IMAGES and has_splits(base) else None
    return stacked_from_arrays(*load(split=split), **resident, test=test)


__all__ = [
    "DATASETS",
    "DENSITIES",
    "IMAGES",
    "PACKAGES",
    "SCHEMES",
    "Batch",
    "Dataset",
    "DensityDataset",
    "Fetched",
    "ImageDataset",
    "Images",
    "StackedDataset",
    "StreamedDataset",
    "Transform",
    "from_arrays",
    "has_splits",
    "height_and_width",
    "is_image_dataset",
    "is_known",
    "is_stacked",
    "load_images",
    "make_dataset",
    "make_sample_shape",
    "may_have_labels",
    "read_numpy",
    "reads_folder",
    "stacked_from_arrays",
    "to_float",
    "to_uint8",
]
