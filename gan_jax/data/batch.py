"""Batches, what training needs of a dataset, and the one place where uint8 becomes float32 in [-1, 1] and back."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from gan_jax.data.streaming import Fetched


class Batch(NamedTuple):
    """The examples of one update, or of several.

    images: float32 `[..., B, H, W, C]` in [-1, 1], or points `[..., B, D]`. labels: int32 `[..., B]` from 0 to K - 1, or None.
    """

    images: jax.Array
    labels: jax.Array | None = None


class Dataset(Protocol):
    """What training needs of a dataset."""

    @property
    def batch_size(self) -> int:
        """B, over all processes."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one example: (H, W, C) for images, (D,) for points."""

    @property
    def num_classes(self) -> int:
        """K of the labels 0 to K - 1, or 0 where there are none."""

    @property
    def arrays(self) -> Any:
        """The arrays that stay on the device between steps: the first argument of `load`."""

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        """Return, on the host, which examples a step of the run with this seed sees; every leaf is `[num_batches, B, ...]`.

        Of several processes, each fetches the part of B that its own devices take.
        """

    def load(self, arrays: Any, fetched: Mapping[str, Any]) -> Batch:
        """Make the batches `[num_batches, B, ...]` on the device; traceable."""

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        """Return the batches of one step: `load(arrays, fetch(seed, step, num_batches))`."""

    def close(self) -> None:
        """Stop reading ahead; a later fetch starts it again."""


class BatchesByLoad:
    """Make a dataset's batches by its `fetch` and `load`.

    `for batch in dataset` has those of steps 0, 1, 2, … of the run with seed 0, one each, for ever: to look at data, and for
    `disc_update` and `gen_update`. `train_step` takes `batches(seed, step, gan.batches_per_step)`.
    """

    @cached_property
    def _compiled_load(self: Any) -> Callable[[Any, Fetched], Batch]:
        return jax.jit(self.load)  # kept: a method is another function each time, and would be compiled each time

    def batches(self: Any, seed: int, step: int, num_batches: int = 1) -> Batch:
        """Return the batches of one step, compiled."""
        loaded: Batch = self._compiled_load(self.arrays, self.fetch(seed, step, num_batches))
        return loaded

    def close(self) -> None:
        """Do nothing: there is no reading ahead."""

    def __iter__(self: Any) -> Iterator[Batch]:
        for step in itertools.count():
            yield jax.tree.map(lambda leaf: leaf[0], self.batches(0, step))


def to_float(images: Any) -> Any:
    """Map uint8 to float32 in [-1, 1]; numpy arrays stay numpy, JAX arrays JAX."""
    return images.astype("float32") / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """Map [-1, 1] to the nearest of 256 levels; values outside are clipped."""
    return jnp.round((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)
