"""Data sets by name, behind one interface: `dataset.batches(seed, step)`."""

from collections.abc import Callable

from gan_jax.data.datasets import Dataset, DensityDataset, Draw, ImageDataset, from_arrays
from gan_jax.data.digits import load_digits
from gan_jax.distributions import GaussianMixture, grid, ring
from gan_jax.errors import InputError

IMAGES = {"mnist5k": load_digits}
"""Name -> `load(image_size, channels)`, which gives uint8 images `[N, S, S, C]` and labels `[N]`."""

DENSITIES: dict[str, Callable[[], GaussianMixture]] = {"ring": ring, "grid": grid}
"""Name -> density of points in the plane."""

DATASETS = (*IMAGES, *DENSITIES)


def make_sample_shape(name: str, image_size: int, channels: int) -> tuple[int, ...]:
    """The shape of one example of a named data set, known without loading it."""
    return (image_size, image_size, channels) if name in IMAGES else DENSITIES[name]().means.shape[1:]


def make_dataset(name: str, *, batch_size: int, disc_steps: int, image_size: int, channels: int, flip: bool) -> Dataset:
    """The named data set; image_size, channels and flip concern images only."""
    if name not in DATASETS:
        raise InputError(f"data set {name}: give one of {', '.join(DATASETS)}")
    if name in DENSITIES:
        return DensityDataset(DENSITIES[name](), batch_size, disc_steps)
    images, labels = IMAGES[name](image_size, channels)
    return from_arrays(images, labels, batch_size=batch_size, disc_steps=disc_steps, flip=flip)


__all__ = [
    "DATASETS",
    "DENSITIES",
    "IMAGES",
    "Dataset",
    "DensityDataset",
    "Draw",
    "ImageDataset",
    "from_arrays",
    "make_dataset",
    "make_sample_shape",
]
