"""Resampling by 2 with the filter [1, 3, 3, 1] in each direction, zero beyond the border (R3GAN, Huang et al. 2024, §3).

Both are sums of shifted, weighted copies, one axis after the other: linear, and of ordinary speed at any order of gradient,
which a depthwise convolution is not on a CPU. Inside they are bilinear resizing, antialiased downwards; at the border that
divides by the weights that are left, and this does not. `<upsample(x), y> = 4 <x, downsample(y)>`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.networks.shift import shift


def downsample(images: jax.Array) -> jax.Array:
    """Halve the size of images: `[B, H, W, C]` -> `[B, H / 2, W / 2, C]`, H and W even."""
    return _halve(_halve(images, 1), 2)


def upsample(images: jax.Array) -> jax.Array:
    """Double the size of images: `[B, H, W, C]` -> `[B, 2 H, 2 W, C]`."""
    return _double(_double(images, 1), 2)


def _halve(x: jax.Array, axis: int) -> jax.Array:
    pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, parity, axis + 1, keepdims=False) for parity in (0, 1))
    return 0.375 * (even + odd) + 0.125 * (shift(odd, 1, axis) + shift(even, -1, axis))


def _double(x: jax.Array, axis: int) -> jax.Array:
    even, odd = (0.75 * x + 0.25 * shift(x, by, axis) for by in (1, -1))
    return jnp.stack([even, odd], axis + 1).reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
