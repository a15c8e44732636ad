"""Batches as functions of `(seed, step)`: nothing random is stored, so that any step's batches can be made at any time.

A dataset fetches on the host and loads on the device. `fetch(seed, step, num_batches)` is a numpy pytree that says which
examples a step sees, or, where the data do not fit on the device, holds them; `load(arrays, fetched)` is traced into the
training step and makes the batches. How many batches a step sees is up to the recipe: `GAN.batches_per_step`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.batch import Batch, BatchesByLoad, to_float
from gan_jax.data.streaming import Fetched, Stream
from gan_jax.errors import InputError
from gan_jax.theory.distributions import GaussianMixture

RESIDENT_MIB = 4096
"""Image datasets up to this size live on the device unless told otherwise."""

# The purposes of random numbers on the host: no two share any. A new one goes last, so that no bits move.
SHUFFLE, FLIP, SAMPLE, STACK = range(4)

WHOLE_BATCH = slice(None)


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, SHUFFLE, epoch)).permutation(size).astype(np.int32)


def epoch_indices(seed: int, start: int, count: int, size: int) -> np.ndarray:
    """Return entries `[start, start + count)` of the endless sequence of shuffled epochs, each a full permutation of `size`."""
    positions = np.arange(start, start + count)
    epochs, offsets = np.divmod(positions, size)
    return np.concatenate([_permutation(seed, int(epoch), size)[offsets[epochs == epoch]] for epoch in np.unique(epochs)])


@dataclass(frozen=True, eq=False)
class ImageDataset(BatchesByLoad):
    """Images that live on the device as uint8 and are indexed there, shuffled per epoch by `(seed, epoch)`.

    images: uint8 `[N, H, W, C]`. labels: int32 `[N]` from 0 to K - 1, or None. flip: mirror each image with probability 1/2.
    part: the examples of each batch that this process fetches.
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
            fetched["flip"] = np.random.default_rng((seed, FLIP, step)).random(shape) < 0.5
        return {name: leaf[:, self.part] for name, leaf in fetched.items()}

    def load(self, arrays: Mapping[str, Any], fetched: Mapping[str, Any]) -> Batch:
        gathered = {name: jnp.take(array, fetched["index"], axis=0, mode="clip") for name, array in arrays.items()}
        return _make_batch(gathered | {name: leaf for name, leaf in fetched.items() if name == "flip"})


@dataclass(frozen=True, eq=False)
class StreamedDataset(ImageDataset):
    """Images that live on the host, in the same order: `fetch` returns the images themselves, uint8.

    They are read ahead in `workers` processes (0: in a thread), as a rule from a memory-mapped file. Steps are dispatched ahead
    of the device, so that their images travel while it computes.
    """

    workers: int = 2

    @property
    def arrays(self) -> dict[str, Any]:
        return {}

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        return self._stream.read((seed, num_batches), step)

    @cached_property
    def _stream(self) -> Stream:
        return Stream(replace(self)._gather, self.workers)  # of a copy: the stream must not keep alive who holds it

    def _gather(self, order: tuple[int, int], step: int) -> Fetched:
        """Gather on the host what `ImageDataset` gathers on the device. order: (seed, num_batches)."""
        seed, num_batches = order
        fetched = super().fetch(seed, step, num_batches)
        index = fetched.pop("index")
        return fetched | {name: array[index] for name, array in super().arrays.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for a worker: without the stream, and with the name of a mapped file in place of its bytes."""
        state = {name: entry for name, entry in vars(self).items() if name != "_stream"}
        images = self.images
        if isinstance(images, np.memmap) and _is_rest_of_file(images):
            state["images"] = (images.filename, images.dtype, "r", images.offset, images.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["images"], tuple):
            state["images"] = np.memmap(*state["images"])
        vars(self).update(state)

    def load(self, arrays: Mapping[str, Any], fetched: Mapping[str, Any]) -> Batch:
        del arrays
        return _make_batch(fetched)

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        return jax.jit(_make_batch)(self._gather((seed, num_batches), step))  # not from the stream, which keeps its place

    def close(self) -> None:
        self._stream.close()


def _is_rest_of_file(array: np.memmap) -> bool:
    """Tell whether the file has what the array has, from the offset to its end."""
    size = Path(str(array.filename)).stat().st_size
    return array.mode != "c" and array.flags.c_contiguous and size == array.offset + array.nbytes


def _make_batch(gathered: Mapping[str, Any]) -> Batch:
    images = to_float(gathered["images"])
    if "flip" in gathered:
        images = jnp.where(gathered["flip"][..., None, None, None], images[..., ::-1, :], images)
    return Batch(images, gathered.get("labels"))


@dataclass(frozen=True)
class DensityDataset(BatchesByLoad):
    """Fresh samples of a mixture, labelled by its components.

    Each example has its own key, so that however a batch is split, it has the same samples.
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
        stream = np.random.default_rng((seed, SAMPLE, step))
        shape = (num_batches, self.batch_size, 2)  # two words make one threefry key
        return {"keys": stream.integers(0, 2**32, shape, dtype=np.uint32)[:, self.part]}

    def load(self, arrays: Any, fetched: Mapping[str, Any]) -> Batch:
        del arrays
        keys = jax.random.wrap_key_data(jnp.asarray(fetched["keys"]), impl="threefry2x32")
        return Batch(*jax.vmap(jax.vmap(self.density.sample_with_component))(keys))


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

    labels: any integers `[N]`, which become 0 to K - 1 in their order. resident_mib: images of up to so many MiB live on the
    device, more are streamed from the host by `workers` processes; the batches are the same. part: see `ImageDataset`.

    Raises:
        InputError: images that are not uint8, labels that do not fit them, or a batch_size that is not 1 to N.
    """
    images = images if isinstance(images, np.memmap) else np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise InputError(f"images are {images.dtype} {list(images.shape)} and must be uint8 [N, H, W, C] or [N, H, W]")
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and (labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer)):
        raise InputError(f"labels {labels.dtype} {list(labels.shape)} must be one integer for each of {len(images)} images")
    if not 1 <= batch_size <= len(images):
        raise InputError(f"batch_size={batch_size} must be 1 to {len(images)}, the number of images")
    images = images if images.ndim == 4 else images[..., None]
    labels = None if labels is None else np.unique(labels, return_inverse=True)[1].astype(np.int32)
    if images.nbytes > resident_mib * 2**20:
        return StreamedDataset(images, labels, batch_size, flip, part, workers)
    # Copied: on a CPU the device would otherwise share memory with the caller, or with a file.
    images, labels = jax.device_put((np.array(images), labels))
    return ImageDataset(images, labels, batch_size, flip, part)
