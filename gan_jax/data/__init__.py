"""Data sets by name, behind one interface: `dataset.batches(seed, step)`."""

from collections.abc import Callable

from gan_jax.data.cache import Images, load_decoded
from gan_jax.data.datasets import ALL_ROWS, RESIDENT_MIB, Dataset, DensityDataset, ImageDataset, StreamedDataset, from_arrays
from gan_jax.data.decoding import Transform
from gan_jax.data.digits import load_digits
from gan_jax.data.sources import folder_source, load_numpy, read_numpy
from gan_jax.data.streaming import Draw
from gan_jax.errors import InputError
from gan_jax.theory.distributions import GaussianMixture, grid, ring

IMAGES = {"mnist5k": load_digits}
"""Name -> `load(image_size, channels)`, which gives uint8 images `[N, S, S, C]` and labels `[N]`."""

DENSITIES: dict[str, Callable[[], GaussianMixture]] = {"ring": ring, "grid": grid}
"""Name -> density of points in the plane."""

DATASETS = (*IMAGES, *DENSITIES)

KINDS = {"tfds": "NAME", "folder": "PATH", "numpy": "FILE"}
"""Sets of images that are named as kind:what, such as tfds:cifar10 -> what follows the colon."""


def is_image_set(name: str) -> bool:
    """Whether a name is that of images, without a look whether they are there."""
    kind, _, what = name.partition(":")
    return name in IMAGES or (kind in KINDS and bool(what))


def make_sample_shape(name: str, image_size: int, channels: int) -> tuple[int, ...]:
    """The shape of one example of a named data set, known without loading it."""
    return (image_size, image_size, channels) if is_image_set(name) else DENSITIES[name]().means.shape[1:]


def load_images(name: str, transform: Transform, *, split: str = "train", data_dir: str = "") -> Images:
    """uint8 images `[N, S, S, C]` and int32 labels `[N]`, or None, of a set of images; decoded once, then from the cache.

    split, data_dir: of TFDS, where '' stands for its own default.
    """
    kind, _, what = name.partition(":")
    if name in IMAGES:
        return IMAGES[name](transform.image_size, transform.channels)
    if kind == "numpy":
        return load_numpy(what, transform)
    if kind == "folder":
        return load_decoded(folder_source(what), transform)
    from gan_jax.data.tfds import tfds_source  # a heavy library, which few sets need

    return load_decoded(tfds_source(what, split, data_dir), transform)


def make_dataset(
    name: str,
    *,
    batch_size: int,
    disc_steps: int = 1,
    image_size: int = 32,
    channels: int = 1,
    flip: bool = False,
    resize: bool = True,
    background: str = "black",
    split: str = "train",
    data_dir: str = "",
    resident_mib: int = RESIDENT_MIB,
    workers: int = 2,
    rows: slice = ALL_ROWS,
) -> Dataset:
    """The named data set; image_size to workers concern images only. See `Transform`, `load_images`, `from_arrays`."""
    if not is_image_set(name) and name not in DENSITIES:
        names = [*DATASETS, *(f"{kind}:{what}" for kind, what in KINDS.items())]
        raise InputError(f"data set {name}: give one of {', '.join(names)}")
    if name in DENSITIES:
        return DensityDataset(DENSITIES[name](), batch_size, disc_steps, rows)
    images, labels = load_images(name, Transform(image_size, channels, resize, background), split=split, data_dir=data_dir)
    return from_arrays(
        images,
        labels,
        batch_size=batch_size,
        disc_steps=disc_steps,
        flip=flip,
        resident_mib=resident_mib,
        workers=workers,
        rows=rows,
    )


__all__ = [
    "DATASETS",
    "DENSITIES",
    "IMAGES",
    "KINDS",
    "Dataset",
    "DensityDataset",
    "Draw",
    "ImageDataset",
    "Images",
    "StreamedDataset",
    "Transform",
    "from_arrays",
    "is_image_set",
    "load_images",
    "make_dataset",
    "make_sample_shape",
    "read_numpy",
]
