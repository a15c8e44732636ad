"""Multilayer perceptrons, for points `[B, D]` and for small images alike; labels join their input as one-hot vectors."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.errors import InputError
from gan_jax.networks.layers import at_least_float32


def _with_labels(inputs: jax.Array, labels: jax.Array | None, num_classes: int) -> jax.Array:
    """`[B, D]` -> `[B, D + num_classes]`."""
    if not num_classes:
        return inputs
    return jnp.concatenate([inputs, jax.nn.one_hot(labels, num_classes, dtype=inputs.dtype)], axis=-1)


class Generator(nn.Module):
    """Latents `[B, Z]`, labels `[B]` or None -> samples `[B, *sample_shape]`, float32; images end in tanh, points do not."""

    sample_shape: tuple[int, ...]
    hidden: tuple[int, ...] = (128, 128)
    dtype: Any = jnp.float32
    num_classes: int = 0

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        del train  # no batch norm
        x = _with_labels(latents, labels, self.num_classes)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
        x = at_least_float32(nn.Dense(math.prod(self.sample_shape), dtype=self.dtype)(x))
        x = x.reshape(-1, *self.sample_shape)
        return jnp.tanh(x) if len(self.sample_shape) == 3 else x


class Discriminator(nn.Module):
    """Samples `[B, *sample_shape]`, labels `[B]` or None -> logits `[B]`, float32."""

    hidden: tuple[int, ...] = (128, 128)
    dtype: Any = jnp.float32
    num_classes: int = 0

    @nn.compact
    def __call__(self, samples: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        del train  # no batch norm
        x = _with_labels(samples.reshape(samples.shape[0], -1), labels, self.num_classes)
        for width in self.hidden:
            x = nn.leaky_relu(nn.Dense(width, dtype=self.dtype)(x), negative_slope=0.2)
        x = at_least_float32(x)  # logits in bfloat16 would be too coarse for differences of them
        return nn.Dense(1, dtype=x.dtype)(x).reshape(-1)


def _check(hidden: tuple[int, ...]) -> tuple[int, ...]:
    if not all(isinstance(width, int) and width >= 1 for width in hidden):
        raise InputError(f"network mlp: hidden={hidden} must be integers ≥ 1, such as 128,128")
    return tuple(hidden)


def make_generator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", hidden: tuple[int, ...] = (128, 128)
) -> nn.Module:
    """Make the generator of samples of any shape; hidden: the widths of its layers."""
    return Generator(sample_shape, _check(hidden), dtype, num_classes)


def make_discriminator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", hidden: tuple[int, ...] = (128, 128)
) -> nn.Module:
    """Make the discriminator of samples of any shape; hidden: the widths of its layers."""
    del sample_shape
    return Discriminator(_check(hidden), dtype, num_classes)
