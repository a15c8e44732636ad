"""Samples from a generator, with running statistics in place of the batch's, so that no image depends on the others."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax.data.batch import to_uint8
from gan_jax.errors import InputError
from gan_jax.networks.conv import UNKNOWN_BATCH
from gan_jax.state import GAN, TrainState, generator_variables
from gan_jax.steps import example_keys, sample_latents

BATCH_SIZE = UNKNOWN_BATCH
"""The batch size of every call: rounding depends on it, and a sample must not depend on how many others are drawn."""


@partial(jax.jit, static_argnums=(0, 1))
def generate_batch(
    network: nn.Module, is_image: bool, variables: Any, latents: jax.Array, labels: jax.Array | None
) -> jax.Array:
    """Map latents `[B, Z]` to images uint8 `[B, H, W, C]`, or to points float32 `[B, D]`: the compiled part of `generate`."""
    samples = network.apply(variables, latents, labels, train=False)
    assert isinstance(samples, jax.Array)
    return to_uint8(samples) if is_image else samples


def default_labels(gan: GAN, num: int, *, first: int = 0) -> np.ndarray | None:
    """Return the labels int32 `[num]` of the samples from `first` on, each class in turn; None when unconditional."""
    return np.arange(first, first + num, dtype=np.int32) % gan.num_classes if gan.num_classes else None


def generate(gan: GAN, variables: Any, latents: jax.Array, labels: Any = None) -> np.ndarray:
    """Map latents `[N, Z]` to images uint8 `[N, H, W, C]`, or to points float32 `[N, D]`.

    variables: see `generator_variables`. labels: int `[N]`, by default those of `default_labels`.

    Raises:
        InputError: no latents, or labels that the recipe does not have.
    """
    num = len(latents)
    if not num:
        raise InputError("no latents: give at least one")
    labels = default_labels(gan, num) if labels is None else np.asarray(labels)
    _check_labels(gan, labels, num)
    labels = None if labels is None else labels.astype(np.int32)
    padding = -num % BATCH_SIZE
    inputs = jnp.pad(latents, ((0, padding), (0, 0))), None if labels is None else np.pad(labels, (0, padding))
    batches = jax.tree.map(lambda leaf: leaf.reshape(-1, BATCH_SIZE, *leaf.shape[1:]), inputs)
    outputs = []
    for index in range(len(batches[0])):
        batch = jax.tree.map(lambda leaf, index=index: leaf[index], batches)
        outputs.append(np.asarray(generate_batch(gan.networks.gen, gan.is_image, variables, *batch)))
    return np.concatenate(outputs)[:num]


def _check_labels(gan: GAN, labels: np.ndarray | None, num: int) -> None:
    if labels is None:
        return
    if not gan.num_classes:
        raise InputError("labels: this generator is unconditional; train one with config.num_classes > 0")
    if labels.shape != (num,):
        raise InputError(f"labels {list(labels.shape)} for {num} samples: give one label for each")
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels {labels.dtype}: labels must be integers from 0 to {gan.num_classes - 1}")
    if labels.min() < 0 or labels.max() >= gan.num_classes:
        outside = labels[(labels < 0) | (labels >= gan.num_classes)][0]
        raise InputError(f"label {outside}: labels must be 0 to {gan.num_classes - 1}")


def sample(
    gan: GAN, state: TrainState, rng: jax.Array, num: int, *, labels: Any = None, first: int = 0, ema: bool | None = None
) -> np.ndarray:
    """Draw the samples `first` to `first + num`; sample i depends on `(rng, i)`, its label and the weights alone.

    Images are uint8 `[num, H, W, C]`, points float32 `[num, D]`. labels: int `[num]`, by default each class in turn. ema:
    whether to use the averaged generator or the raw one; by default the average where there is one.

    Raises:
        InputError: no samples, labels that the recipe does not have, or ema of a state that keeps no average.
    """
    latents = sample_latents(example_keys(rng, "latents", num, first=first), gan.latent_dim)
    labels = default_labels(gan, num, first=first) if labels is None else labels
    return generate(gan, generator_variables(state, ema=ema), latents, labels)


class Grid(NamedTuple):
    """Hold the samples of one picture by row, their labels int `[N]` or None, and the columns, None if any number will do."""

    samples: np.ndarray
    labels: np.ndarray | None
    columns: int | None


def sample_grid(gan: GAN, state: TrainState, rng: jax.Array, num: int, *, labels: Any = None, ema: bool | None = None) -> Grid:
    """Draw the samples of a picture, whose places `grid_labels` describes.

    A sample depends on rng, its column, its label and the weights alone; without columns the samples are those of `sample`.
    ema: as for `sample`.

    Raises:
        InputError: no samples or labels, or labels that the recipe does not have.
    """
    columns = grid_labels(gan, num, labels)[1]
    latents = sample_latents(example_keys(rng, "latents", columns or num), gan.latent_dim)
    return generate_grid(gan, generator_variables(state, ema=ema), latents, num, labels=labels)


def generate_grid(gan: GAN, variables: Any, latents: jax.Array, num: int, *, labels: Any = None) -> Grid:
    """Map latents `[L, Z]`, one for each column or, without columns, for each place, to the samples of a picture.

    variables: see `generator_variables`. num, labels: see `grid_labels`.

    Raises:
        InputError: no samples or labels, or labels that the recipe does not have.
    """
    of_samples, columns = grid_labels(gan, num, labels)
    rows = len(of_samples) // columns if of_samples is not None and columns else 1
    return Grid(generate(gan, variables, jnp.tile(latents, (rows, 1)), of_samples), of_samples, columns)


def grid_labels(gan: GAN, num: int, labels: Any = None) -> tuple[np.ndarray | None, int | None]:
    """Return the labels int `[N]` of the places of a picture, or None, and its columns, None if any number will do.

    A conditional recipe for images has a class in each row and a latent in each column. labels: those of the rows, by default
    every class, but at most num / 2 of them, so that each has two latents; if there are more labels than num, the first num.
    There are as many whole columns as num allows, at least one, so there may be fewer places than num. Other recipes have num
    places, with the labels in turn.

    Raises:
        InputError: no places or labels.
    """
    rows = np.arange(gan.num_classes) if labels is None else np.asarray(labels)
    if num < 1 or (labels is not None and not len(rows)):
        raise InputError(f"{num} samples: give at least 1" if num < 1 else "labels: give at least 1")
    if not (gan.is_image and gan.num_classes):
        return (default_labels(gan, num) if labels is None else np.resize(rows, num)), None
    rows = rows[: max(1, num // 2)] if labels is None else rows[:num]
    return np.repeat(rows, num // len(rows)), num // len(rows)


def slerp(start: jax.Array, end: jax.Array, fractions: jax.Array) -> jax.Array:
    """Interpolate spherically between two latents (White 2016): `[Z]`, `[Z]`, fractions `[T]` in [0, 1] -> `[T, Z]`.

    It keeps to the norms where N(0, I) has its mass; parallel latents are interpolated linearly.
    """
    norms = jnp.linalg.norm(start) * jnp.linalg.norm(end)
    cosine = jnp.vdot(start, end, precision="highest") / jnp.maximum(norms, 1e-12)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    sine = jnp.sin(angle)
    divisor = jnp.where(sine < 1e-6, 1.0, sine)

    def weight(fraction: jax.Array) -> jax.Array:
        return jnp.where(sine < 1e-6, fraction, jnp.sin(fraction * angle) / divisor)

    return jnp.outer(weight(1 - fractions), start) + jnp.outer(weight(fractions), end)


def truncate(latents: jax.Array, threshold: float) -> jax.Array:
    """Map latents ~ N(0, I), of any shape, to N(0, 1) truncated to [-threshold, threshold], entry by entry (Brock et al. 2019).

    Entries that are drawn again until they are inside have this distribution. The map is monotone and continuous, so that the
    sample of a latent stays similar, but nearer to a typical one. Norms shrink with the threshold.
    """
    # By the lower tail of each sign, whose digits float32 keeps.
    inner = jax.scipy.special.ndtr(-jnp.asarray(threshold, latents.dtype))
    tail = inner + (1 - 2 * inner) * jax.scipy.special.ndtr(-jnp.abs(latents))
    return jnp.sign(latents) * jnp.minimum(-jax.scipy.special.ndtri(tail), threshold)
