"""Multilayer perceptrons, for points `[B, D]` and for small images alike."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class Generator(nn.Module):
    """Latents `[B, Z]` -> samples `[B, *sample_shape]`, float32; images (rank 3) end in tanh, points are unbounded."""

    sample_shape: tuple[int, ...]
    hidden: tuple[int, ...] = (128, 128)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latents: jax.Array, train: bool) -> jax.Array:
        del train  # no batch norm
        x = latents
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
        x = nn.Dense(math.prod(self.sample_shape), dtype=self.dtype)(x).astype(jnp.float32)
        x = x.reshape(-1, *self.sample_shape)
        return jnp.tanh(x) if len(self.sample_shape) == 3 else x


class Discriminator(nn.Module):
    """Samples `[B, *sample_shape]` -> logits `[B]`, float32."""

    hidden: tuple[int, ...] = (128, 128)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, samples: jax.Array, train: bool) -> jax.Array:
        del train  # no batch norm
        x = samples.reshape(samples.shape[0], -1)
        for width in self.hidden:
            x = nn.leaky_relu(nn.Dense(width, dtype=self.dtype)(x), negative_slope=0.2)
        return nn.Dense(1, dtype=self.dtype)(x).reshape(-1).astype(jnp.float32)
