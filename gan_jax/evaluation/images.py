"""The images that are evaluated, real or generated: made or read as they are needed, so that any number of them fits."""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from gan_jax.sampling import sample
from gan_jax.state import GAN, TrainState

MAX_HELD_OUT = 2000


class ImageSource(Protocol):
    """Images in a fixed order: `source[start:stop]` is uint8 `[stop − start, H, W, C]`. An array is a source too."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class RealImages:
    """Images uint8 `[N, H, W, C]`, memory-mapped or not, in the order of indices."""

    images: Any
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        return np.asarray(self.images[self.indices[part]])


def real_images(images: Any, indices: np.ndarray | None = None, *, at_most: int | None = None) -> RealImages:
    """Select the images at these indices, by default all of them, shuffled, as datasets are often sorted; at_most that many."""
    indices = np.random.default_rng(0).permutation(len(images)) if indices is None else indices
    return RealImages(images, indices[:at_most])


@dataclass(frozen=True)
class GeneratedImages:
    """Samples with the running statistics of batch norm. Sample i depends on (seed, i) alone.

    ema: the averaged or the raw generator; None: the averaged one where there is one.
    """

    gan: GAN
    state: TrainState
    seed: int
    num: int
    ema: bool | None = None

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, part: slice, /) -> np.ndarray:
        start, stop, _ = part.indices(self.num)
        return sample(self.gan, self.state, jax.random.key(self.seed), stop - start, first=start, ema=self.ema)


def hold_out(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices (learned, held out) of num images: the last two fifths of a fixed shuffle, at most 2,000, are held out."""
    order = np.random.default_rng(0).permutation(num)
    held_out = min(MAX_HELD_OUT, 2 * num // 5)
    return order[: num - held_out], order[num - held_out :]
