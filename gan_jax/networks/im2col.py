"""The 3 × 3 convolution of stride 1 and its gradients as one matrix product per group, unfolded along one axis on each side.

y[h, w] is the sum over i and j in (-1, 0, 1) of x[h + i, w + j] k[i, j]. One product takes the three x[h, w + j] side by side
to the three terms of i, and three rows of terms add up to y. The usual im2col copies each entry nine times, this one three,
and where a group has few channels its matrices are three times as wide. XLA:CPU's own gradients of a grouped convolution are
up to 400 times slower.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.networks.shift import shift

_OFFSETS = (-1, 0, 1)
_ROWS, _COLUMNS = 2, 3  # axes of [G, B, H, W, C]


def applies(stride: int, padding: int, kernel: tuple[int, ...]) -> bool:
    """Whether this module computes that convolution."""
    return (stride, padding, *kernel[:2]) == (1, 1, 3, 3)


def conv(images: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """Images `[B, H, W, I]`, kernel `[3, 3, I / groups, O]` -> features `[B, H, W, O]`; padding 1."""
    columns = _unfold(_by_group(images, groups), _COLUMNS)
    by_group = kernel.reshape(*kernel.shape[:3], groups, -1)
    matrices = by_group.transpose(3, 1, 2, 0, 4).reshape(groups, columns.shape[-1], -1)
    terms = jnp.split(_matmul(columns, matrices), 3, axis=-1)
    above, level, below = (shift(term, -offset, _ROWS) for offset, term in zip(_OFFSETS, terms, strict=True))
    return _together(above + level + below)


def input_gradient(features: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """Features `[B, H, W, O]`, kernel `[3, 3, I / groups, O]` -> images `[B, H, W, I]`: `conv` transposed in its images."""
    return conv(features, transposed(kernel, groups), groups)


def weight_gradient(images: jax.Array, features: jax.Array, groups: int) -> jax.Array:
    """Images `[B, H, W, I]`, features `[B, H, W, O]` -> kernel `[3, 3, I / groups, O]`: `conv` transposed in its kernel."""
    columns = _flat(_unfold(_by_group(images, groups), _COLUMNS))
    rows = _flat(_unfold(_by_group(features, groups), _ROWS, sign=-1))
    products = lax.dot_general(columns, rows, (((1,), (1,)), ((0,), (0,))))
    kernel = products.reshape(groups, 3, images.shape[-1] // groups, 3, -1)
    return kernel.transpose(3, 1, 2, 0, 4).reshape(3, 3, images.shape[-1] // groups, features.shape[-1])


def transposed(kernel: jax.Array, groups: int) -> jax.Array:
    """`[h, w, I / groups, O]` -> `[h, w, O / groups, I]`: turned by 180°, inputs and outputs of each group exchanged."""
    by_group = kernel[::-1, ::-1].reshape(*kernel.shape[:3], groups, -1)
    return by_group.transpose(0, 1, 4, 3, 2).reshape(*kernel.shape[:2], kernel.shape[-1] // groups, -1)


def _by_group(images: jax.Array, groups: int) -> jax.Array:
    """`[B, H, W, C]` -> `[G, B, H, W, C / G]`."""
    return jnp.moveaxis(images.reshape(*images.shape[:3], groups, -1), 3, 0)


def _together(images: jax.Array) -> jax.Array:
    """`[G, B, H, W, C / G]` -> `[B, H, W, C]`."""
    return jnp.moveaxis(images, 0, 3).reshape(*images.shape[1:4], -1)


def _unfold(images: jax.Array, axis: int, *, sign: int = 1) -> jax.Array:
    """The entries before, at and after each one along an axis, side by side: `[..., C]` -> `[..., 3 C]`."""
    return jnp.concatenate([shift(images, -sign * offset, axis) for offset in _OFFSETS], axis=-1)


def _flat(images: jax.Array) -> jax.Array:
    """`[G, B, H, W, C]` -> `[G, B H W, C]`."""
    return images.reshape(len(images), math.prod(images.shape[1:4]), -1)


def _matmul(images: jax.Array, matrices: jax.Array) -> jax.Array:
    """`[G, B, H, W, I]`, `[G, I, O]` -> `[G, B, H, W, O]`."""
    return (_flat(images) @ matrices).reshape(*images.shape[:4], -1)
