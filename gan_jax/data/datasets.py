"""Batches as functions of `(seed, step)`: nothing random is stored, so that any step can be drawn at any time.

A data set draws on the host and loads on the device. `draw(seed, step)` is a numpy pytree that says which examples a step
sees, or, where they do not fit on the device, holds them; `load(arrays, draw)` is traced into the training step and makes the
batch of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.streaming import Draw, Stream
from gan_jax.errors import InputError
from gan_jax.theory.distributions import GaussianMixture

Batch = dict[str, jax.Array]

RESIDENT_MIB = 4096
"""Image sets up to this size live on the device unless told otherwise."""

# What a host stream is for, beside the seed: two purposes never share random numbers.
_SHUFFLE, _FLIP, _SAMPLE = range(3)

ALL_ROWS = slice(None)


class Dataset(Protocol):
    """What training needs of a data set. A batch holds the examples of one step: `[k, B, …]` for k ascents of D."""

    @property
    def batch_size(self) -> int:
        """B, of all processes together."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one example: (H, W, C) for images, (D,) for points."""

    @property
    def arrays(self) -> Any:
        """What stays on the device between steps: the first argument of `load`."""

    def draw(self, seed: int, step: int) -> Draw:
        """Host side: which examples step number `step` of the run with this seed sees; every leaf is `[k, B, …]`.

        Of several processes, each draws those alone that its own devices take.
        """

    def load(self, arrays: Any, draw: Mapping[str, Any]) -> Batch:
        """Device side, traceable: `{"images": [k, B, …]}`, float32, in [-1, 1] for images, and "labels" where there are any."""

    def batches(self, seed: int, step: int) -> Batch:
        """The batch of one step: `load(arrays, draw(seed, step))`."""

    def close(self) -> None:
        """End what reads ahead, if anything does; a later draw starts it again."""


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, _SHUFFLE, epoch)).permutation(size).astype(np.int32)


def epoch_indices(seed: int, start: int, count: int, size: int) -> np.ndarray:
    """Entries `[start, start + count)` of the endless sequence of shuffled epochs, each a full permutation of `size`."""
    positions = np.arange(start, start + count)
    epochs, offsets = np.divmod(positions, size)
    return np.concatenate([_permutation(seed, int(epoch), size)[offsets[epochs == epoch]] for epoch in np.unique(epochs)])


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images that live on the device as uint8 and are indexed there, shuffled per epoch by `(seed, epoch)`.

    images: uint8 `[N, H, W, C]`. labels: int32 `[N]` or None. flip: mirror each image left to right with probability 1/2.
    rows: those of each batch that are drawn, all of them unless other processes draw the others.
    """

    images: Any
    labels: Any
    batch_size: int
    disc_steps: int = 1
    flip: bool = False
    rows: slice = field(default_factory=lambda: ALL_ROWS)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    @property
    def arrays(self) -> dict[str, Any]:
        return {"images": self.images} if self.labels is None else {"images": self.images, "labels": self.labels}

    def draw(self, seed: int, step: int) -> Draw:
        shape = (self.disc_steps, self.batch_size)
        count = self.disc_steps * self.batch_size
        draw = {"index": epoch_indices(seed, step * count, count, len(self.images)).reshape(shape)}
        if self.flip:
            draw["flip"] = np.random.default_rng((seed, _FLIP, step)).random(shape) < 0.5
        return {name: leaf[:, self.rows] for name, leaf in draw.items()}

    def load(self, arrays: Mapping[str, Any], draw: Mapping[str, Any]) -> Batch:
        taken = {name: jnp.take(array, draw["index"], axis=0, mode="clip") for name, array in arrays.items()}
        return _finish(taken, draw)

    def batches(self, seed: int, step: int) -> Batch:
        return jax.jit(self.load)(self.arrays, self.draw(seed, step))

    def close(self) -> None:
        pass


@dataclass(frozen=True, eq=False)
class StreamedDataset(ImageDataset):
    """The same images in the same order from the host: there a draw is the images themselves, uint8 `[k, B, H, W, C]`.

    Draws are read ahead in `workers` processes (0: in a thread) from an array that is mapped into memory as a rule. Steps are
    dispatched ahead of the device, so that their draws travel while it computes.
    """

    workers: int = 2

    @property
    def arrays(self) -> dict[str, Any]:
        return {}

    def draw(self, seed: int, step: int) -> Draw:
        return self._stream.take(seed, step)

    @cached_property
    def _stream(self) -> Stream:
        return Stream(self._gather, self.workers)

    def _gather(self, seed: int, step: int) -> Draw:
        """What `ImageDataset` takes on the device, taken here."""
        draw = super().draw(seed, step)
        index = draw.pop("index")
        return draw | {name: array[index] for name, array in super().arrays.items()}

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

    def load(self, arrays: Mapping[str, Any], draw: Mapping[str, Any]) -> Batch:
        del arrays
        return _finish({name: leaf for name, leaf in draw.items() if name != "flip"}, draw)

    def batches(self, seed: int, step: int) -> Batch:
        return jax.jit(self.load)({}, self._gather(seed, step))  # here and now: what is read ahead stays ahead

    def close(self) -> None:
        self._stream.close()


def _is_whole_file(array: np.memmap) -> bool:
    return array.flags.c_contiguous and Path(str(array.filename)).stat().st_size == array.offset + array.nbytes


def _finish(taken: Mapping[str, Any], draw: Mapping[str, Any]) -> Batch:
    """What was taken, with uint8 images as float32 in [-1, 1], some of them mirrored."""
    images = taken["images"].astype(jnp.float32) / 127.5 - 1.0
    if "flip" in draw:
        images = jnp.where(draw["flip"][..., None, None, None], images[..., ::-1, :], images)
    return {**taken, "images": images}


@dataclass(frozen=True)
class DensityDataset:
    """Endless fresh samples of a density; each example has its own key, so that any split of a batch draws the same."""

    density: GaussianMixture
    batch_size: int
    disc_steps: int = 1
    rows: slice = field(default_factory=lambda: ALL_ROWS)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.density.means.shape[1:]

    @property
    def arrays(self) -> Batch:
        return {}

    def draw(self, seed: int, step: int) -> Draw:
        stream = np.random.default_rng((seed, _SAMPLE, step))
        shape = (self.disc_steps, self.batch_size, 2)  # two words make one threefry key
        return {"keys": stream.integers(0, 2**32, shape, dtype=np.uint32)[:, self.rows]}

    def load(self, arrays: Batch, draw: Mapping[str, Any]) -> Batch:
        del arrays
        keys = jax.random.wrap_key_data(jnp.asarray(draw["keys"]), impl="threefry2x32")
        return {"images": jax.vmap(jax.vmap(self.density.sample))(keys)}

    def batches(self, seed: int, step: int) -> Batch:
        return jax.jit(partial(self.load, self.arrays))(self.draw(seed, step))

    def close(self) -> None:
        pass


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    batch_size: int,
    disc_steps: int = 1,
    flip: bool = False,
    resident_mib: int = RESIDENT_MIB,
    workers: int = 2,
    rows: slice = ALL_ROWS,
) -> ImageDataset:
    """A data set of your own images: uint8 `[N, H, W, C]`, or `[N, H, W]` for one channel.

    On the device up to `resident_mib` MiB, streamed from the host beyond; the batches are the same. rows: see `own_rows`.
    """
    images = images if isinstance(images, np.memmap) else np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise InputError(
            f"images are {images.dtype} {list(images.shape)}: give uint8 [N, H, W, C] or [N, H, W], values 0 to 255"
        )
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and (len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer)):
        raise InputError(f"{len(labels)} {labels.dtype} labels for {len(images)} images: give one whole number an image")
    if disc_steps < 1:
        raise InputError(f"disc_steps={disc_steps}: give at least 1, the ascents of D in a step")
    if not 1 <= batch_size <= len(images):
        raise InputError(f"batch_size={batch_size}: give 1 to {len(images)}, the number of images")
    images = images if images.ndim == 4 else images[..., None]
    labels = None if labels is None else labels.astype(np.int32)
    if images.nbytes > resident_mib * 2**20:
        return StreamedDataset(images, labels, batch_size, disc_steps, flip, rows, workers)
    # Copied: on a CPU the device would otherwise share the caller's memory, or a file.
    images, labels = jax.device_put((np.array(images), labels))
    return ImageDataset(images, labels, batch_size, disc_steps, flip, rows)
