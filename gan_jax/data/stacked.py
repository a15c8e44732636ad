"""Stacked MNIST: three digits as the three channels of an image, 1,000 modes that can be counted (Metz et al. 2017)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.data.batch import Batch, to_float
from gan_jax.data.cache import Images
from gan_jax.data.datasets import RESIDENT_MIB, STACK, WHOLE_BATCH, ImageDataset, StreamedDataset, from_arrays
from gan_jax.data.streaming import Fetched
from gan_jax.errors import InputError

CHANNELS = 3


@dataclass(frozen=True, eq=False)
class StackedDataset(ImageDataset):
    """Stacks of three grey images, drawn on the fly from those that live on the device.

    images: uint8 `[N, H, W, 1]`. labels: int32 `[N]` from 0 to K - 1; those of stacks are K²a + Kb + c, a of the first channel.
    test: images and labels of the same kind that are not among these, or None.

    A stack is a function of (seed, step, its place in the batches). Its channels are independent, and drawn with replacement:
    there are no epochs, and hardly ever the same stack twice.
    """

    test: Images | None = None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (*self.images.shape[1:3], CHANNELS)

    @cached_property
    def classes_per_channel(self) -> int:
        """K."""
        return int(np.asarray(self.labels).max()) + 1  # by numpy: `load` is traced

    @cached_property
    def num_classes(self) -> int:
        return int(self.classes_per_channel**CHANNELS)

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        shape = (num_batches, self.batch_size, CHANNELS)
        index = np.random.default_rng((seed, STACK, step)).integers(0, len(self.images), shape, dtype=np.int32)
        return {"index": index[:, self.part]}

    def load(self, arrays: Mapping[str, Any], fetched: Mapping[str, Any]) -> Batch:
        images, labels = (jnp.take(arrays[name], fetched["index"], axis=0, mode="clip") for name in ("images", "labels"))
        places = self.classes_per_channel ** jnp.arange(CHANNELS - 1, -1, -1)
        return Batch(to_float(jnp.moveaxis(images[..., 0], -3, -1)), labels @ places)


def stacked_from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    batch_size: int,
    resident_mib: int = RESIDENT_MIB,
    part: slice = WHOLE_BATCH,
    test: Images | None = None,
) -> StackedDataset:
    """Make the dataset of stacks of grey images uint8 `[N, H, W, 1]`; see `from_arrays` and `StackedDataset`.

    test: has no other labels than these.

    Raises:
        InputError: what `from_arrays` refuses; images in colour, without labels, or too many for the device.
    """
    dataset = from_arrays(images, labels, batch_size=batch_size, resident_mib=resident_mib, part=part)
    if dataset.images.shape[-1] != 1 or labels is None:
        raise InputError(f"stacked: images {list(dataset.images.shape)} must be [N, H, W, 1], and have labels")
    if isinstance(dataset, StreamedDataset):
        raise InputError(
            f"data.resident_mib={resident_mib} must be ≥ {-(-dataset.images.nbytes // 2**20)}: stacks are made on the device"
        )
    if test is not None:
        test = test[0], np.searchsorted(np.unique(labels), np.asarray(test[1])).astype(np.int32)
    return StackedDataset(dataset.images, dataset.labels, batch_size, part=part, test=test)
