"""The images that are evaluated, real or generated: made or read as they are needed, so that any number of them fits."""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from gan_jax.data import DensityDataset, StackedDataset
from gan_jax.data.stacked import CHANNELS
from gan_jax.sampling import sample
from gan_jax.state import GAN, TrainState

MAX_HELD_OUT = 2000


class ImageSource(Protocol):
    """Images in a fixed order: `source[start:stop]` is uint8 `[stop − start, H, W, C]`. An array is a source too.

    Where they have labels, they are the attribute `labels`, int `[N]` from 0 to K - 1: see `labels_of`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class RealImages:
    """Images uint8 `[N, H, W, C]`, memory-mapped or not, in the order of indices, and their labels in that order, or None."""

    images: Any
    indices: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        return np.asarray(self.images[self.indices[part]])


def real_images(
    images: Any, indices: np.ndarray | None = None, *, labels: np.ndarray | None = None, at_most: int | None = None
) -> RealImages:
    """Select the images at these indices, by default all of them, shuffled, as datasets are often sorted; at_most that many.

    labels: of all images, int `[N]` from 0 to K - 1.
    """
    indices = np.random.default_rng(0).permutation(len(images)) if indices is None else indices
    indices = indices[:at_most]
    return RealImages(images, indices, None if labels is None else labels[indices])


def labels_of(images: ImageSource) -> np.ndarray | None:
    """Return the labels int `[N]` of a source, None where it has none, as an array of images."""
    labels: np.ndarray | None = getattr(images, "labels", None)
    return labels


def draw_labels(labels: np.ndarray, num: int, *, seed: int) -> np.ndarray:
    """Draw labels int `[num]` with the frequencies of a dataset's, `[N]`: one shuffle of them after another, always the same.

    Label i depends on (seed, i) and the dataset alone. Samples with these labels are as many of each class as the data are, so
    that metrics which see no labels compare like with like.
    """
    return np.resize(np.random.default_rng(seed).permutation(labels), num)


def draw_modes(dataset: DensityDataset | StackedDataset, num: int, *, seed: int) -> np.ndarray:
    """Draw labels int `[num]` as the dataset draws those of its examples, independently, always the same for a seed.

    Where modes are counted, as many of each would beat a perfect sampler.
    """
    rng = np.random.default_rng(seed)
    if isinstance(dataset, DensityDataset):
        given = dataset.density.weights
        weights = None if given is None else np.asarray(given, np.float64)  # float32 ones do not sum to 1 closely enough
        return rng.choice(dataset.num_classes, num, p=None if weights is None else weights / weights.sum())
    digits = np.asarray(dataset.labels)[rng.integers(0, len(dataset.images), (num, CHANNELS))]
    return np.ravel_multi_index(tuple(digits.T), (dataset.classes_per_channel,) * CHANNELS)


@dataclass(frozen=True)
class GeneratedImages:
    """Samples with the running statistics of batch norm. Sample i depends on (seed, i), and its label, alone.

    ema: the averaged or the raw generator; None: the averaged one where there is one. labels: int `[num]` of a conditional
    generator, as of `draw_labels`.
    """

    gan: GAN
    state: TrainState
    seed: int
    num: int
    ema: bool | None = None
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, part: slice, /) -> np.ndarray:
        start, stop, _ = part.indices(self.num)
        labels = None if self.labels is None else self.labels[part]
        rng = jax.random.key(self.seed)
        return sample(self.gan, self.state, rng, stop - start, labels=labels, first=start, ema=self.ema)


def hold_out(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices (learned, held out) of num images: the last two fifths of a fixed shuffle, at most 2,000, are held out."""
    order = np.random.default_rng(0).permutation(num)
    held_out = min(MAX_HELD_OUT, 2 * num // 5)
    return order[: num - held_out], order[num - held_out :]
