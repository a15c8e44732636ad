"""Batches as functions of `(seed, step)`: nothing random is stored, so that any step's batches can be made at any time.

A dataset fetches on the host and loads on the device. `fetch(seed, step, num_batches)` is a numpy pytree that says which
examples a step sees, or, where the data do not fit on the device, holds them; `load(arrays, fetched)` is traced into the
training step and makes the batches of it. How many batches a step sees is the recipe's: `GAN.batches_per_step`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.batch import Batch, to_float
from gan_jax.data.streaming import Fetched, Stream
from gan_jax.errors import InputError
from gan_jax.theory.distributions import GaussianMixture

RESIDENT_MIB = 4096
"""Image datasets up to this size live on the device unless told otherwise."""

# What a host stream is for, beside the seed: two purposes never share random numbers.
_SHUFFLE, _FLIP, _SAMPLE = range(3)

WHOLE_BATCH = slice(None)


class Dataset(Protocol):
    """What training needs of a dataset."""

    @property
    def batch_size(self) -> int:
        """B, of all processes together."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one example: (H, W, C) for images, (D,) for points."""

    @property
    def num_classes(self) -> int:
        """K of the labels 0 to K - 1, or 0 where there are none."""

    @property
    def arrays(self) -> Any:
        """What stays on the device between steps: the first argument of `load`."""

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        """Return, on the host, which examples a step of the run with this seed sees; every leaf is `[num_batches, B, ...]`.

        Of several processes, each fetches those alone that its own devices take.
        """

    def load(self, arrays: Any, fetched: Mapping[str, Any]) -> Batch:
        """Make the batches `[num_batches, B, ...]` of it, on the device; traceable."""

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        """Return the batches of one step: `load(arrays, fetch(seed, step, num_batches))`."""

    def close(self) -> None:
        """End what reads ahead, if anything does; a later fetch starts it again."""


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, _SHUFFLE, epoch)).permutation(size).astype(np.int32)


def epoch_indices(seed: int, start: int, count: int, size: int) -> np.ndarray:
    """Return entries `[start, start + count)` of the endless sequence of shuffled epochs, each a full permutation of `size`."""
    positions = np.arange(start, start + count)
    epochs, offsets = np.divmod(positions, size)
    return np.concatenate([_permutation(seed, int(epoch), size)[offsets[epochs == epoch]] for epoch in np.unique(epochs)])


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images that live on the device as uint8 and are indexed there, shuffled per epoch by `(seed, epoch)`.

    images: uint8 `[N, H, W, C]`. labels: int32 `[N]` from 0 on, or None. flip: mirror each image with probability 1/2.
    part: the examples of each batch that are fetched, all of them unless other processes fetch the others.
    """

    images: Any
    labels: Any
    batch_size: int
    flip: bool = False
    part: slice = field(default_factory=lambda: WHOLE_BATCH)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    @cached_property
    def num_classes(self) -> int:
        return 0 if self.labels is None else int(np.max(self.labels)) + 1

    @property
    def arrays(self) -> dict[str, Any]:
        return {"images": self.images} if self.labels is None else {"images": self.images, "labels": self.labels}

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        shape = (num_batches, self.batch_size)
        num = num_batches * self.batch_size
        fetched = {"index": epoch_indices(seed, step * num, num, len(self.images)).reshape(shape)}
        if self.flip:
            fetched["flip"] = np.random.default_rng((seed, _FLIP, step)).random(shape) < 0.5
        return {name: leaf[:, self.part] for name, leaf in fetched.items()}

    def load(self, arrays: Mapping[str, Any], fetched: Mapping[str, Any]) -> Batch:
        gathered = {name: jnp.take(array, fetched["index"], axis=0, mode="clip") for name, array in arrays.items()}
        return _make_batch(gathered | {name: leaf for name, leaf in fetched.items() if name == "flip"})

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        return jax.jit(self.load)(self.arrays, self.fetch(seed, step, num_batches))

    def close(self) -> None:
        pass


@dataclass(frozen=True, eq=False)
class StreamedDataset(ImageDataset):
    """The same images in the same order from the host: what it fetches are the images themselves, uint8.

    They are read ahead in `workers` processes (0: in a thread) from an array that is mapped into memory as a rule. Steps are
    dispatched ahead of the device, so that their images travel while it computes.
    """

    workers: int = 2

    @property
    def arrays(self) -> dict[str, Any]:
        return {}

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        return self._stream.read((seed, num_batches), step)

    @cached_property
    def _stream(self) -> Stream:
        return Stream(self._gather, self.workers)

    def _gather(self, order: tuple[int, int], step: int) -> Fetched:
        """Gather on the host what `ImageDataset` gathers on the device. order: seed and batches a step."""
        seed, num_batches = order
        fetched = super().fetch(seed, step, num_batches)
        index = fetched.pop("index")
        return fetched | {name: array[index] for name, array in super().arrays.items()}

    def __getstate__(self) -> dict[str, Any]:
        """For a worker: without the stream, and with the name of a mapped file in place of its bytes."""
        state = {name: entry for name, entry in vars(self).items() if name != "_stream"}
        if isinstance(self.images, np.memmap) and _is_whole_file(self.images):
            state["images"] = (self.images.filename, self.images.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["images"], tuple):
            filename, shape = state["images"]
            state["images"] = np.load(filename, mmap_mode="r").reshape(shape)
        vars(self).update(state)

    def load(self, arrays: Mapping[str, Any], fetched: Mapping[str, Any]) -> Batch:
        del arrays
        return _make_batch(fetched)

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        return jax.jit(_make_batch)(self._gather((seed, num_batches), step))  # here and now: the stream keeps its place

    def close(self) -> None:
        self._stream.close()


def _is_whole_file(array: np.memmap) -> bool:
    return array.flags.c_contiguous and Path(str(array.filename)).stat().st_size == array.offset + array.nbytes


def _make_batch(gathered: Mapping[str, Any]) -> Batch:
    images = to_float(gathered["images"])
    if "flip" in gathered:
        images = jnp.where(gathered["flip"][..., None, None, None], images[..., ::-1, :], images)
    return Batch(images, gathered.get("labels"))


@dataclass(frozen=True)
class DensityDataset:
    """Endless fresh samples of a mixture, labelled by its components.

    Each example has its own key, so that any split of a batch draws the same.
    """

    density: GaussianMixture
    batch_size: int
    part: slice = field(default_factory=lambda: WHOLE_BATCH)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.density.means.shape[1:]

    @property
    def num_classes(self) -> int:
        return len(self.density.means)

    @property
    def arrays(self) -> dict[str, Any]:
        return {}

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        stream = np.random.default_rng((seed, _SAMPLE, step))
        shape = (num_batches, self.batch_size, 2)  # two words make one threefry key
        return {"keys": stream.integers(0, 2**32, shape, dtype=np.uint32)[:, self.part]}

    def load(self, arrays: Any, fetched: Mapping[str, Any]) -> Batch:
        del arrays
        keys = jax.random.wrap_key_data(jnp.asarray(fetched["keys"]), impl="threefry2x32")
        return Batch(*jax.vmap(jax.vmap(self.density.sample_with_component))(keys))

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        return jax.jit(partial(self.load, self.arrays))(self.fetch(seed, step, num_batches))

    def close(self) -> None:
        pass


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    batch_size: int,
    flip: bool = False,
    resident_mib: int = RESIDENT_MIB,
    workers: int = 2,
    part: slice = WHOLE_BATCH,
) -> ImageDataset:
    """Make a dataset of your own images: uint8 `[N, H, W, C]`, or `[N, H, W]` for one channel.

    labels: any integers `[N]`, which become 0 to K - 1 in their order. resident_mib: up to so many MiB live on the device,
    more is streamed from the host; the batches are the same. part: see `parallel.process_slice`.
    """
    images = images if isinstance(images, np.memmap) else np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise InputError(
            f"images are {images.dtype} {list(images.shape)}: give uint8 [N, H, W, C] or [N, H, W], values 0 to 255"
        )
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and (len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer)):
        raise InputError(
            f"{len(labels)} {labels.dtype} labels for {len(images)} images: labels must be one integer for each image"
        )
    if not 1 <= batch_size <= len(images):
        raise InputError(f"batch_size={batch_size} must be 1 to {len(images)}, the number of images")
    images = images if images.ndim == 4 else images[..., None]
    labels = None if labels is None else np.unique(labels, return_inverse=True)[1].astype(np.int32)
    if images.nbytes > resident_mib * 2**20:
        return StreamedDataset(images, labels, batch_size, flip, part, workers)
    # Copied: on a CPU the device would otherwise share the caller's memory, or a file.
    images, labels = jax.device_put((np.array(images), labels))
    return ImageDataset(images, labels, batch_size, flip, part)
