"""The 4 × 4 convolution of stride 2 and its two gradients in 9/16 of the multiplications (Winograd 1980; Lavin and Gray 2016).

Along one axis, two neighbouring outputs y0 y1 see three pairs of entries, d0 d1 d2, of which they share d1, and the kernel is
two pairs, g0 g1. Three products of pairs do the work of four:

    m0 = (d0 - d1) g0        m1 = d1 (g0 + g1)        m2 = (d2 - d1) g1
    y0 = d0 g0 + d1 g1 = m0 + m1                      y1 = d1 g0 + d2 g1 = m1 + m2

Along both axes that makes nine products, each of them one matrix product over all tiles of 2 × 2 outputs. The convolution is
linear in either argument, so its gradients are the same nine products between the transposes of these sums. Nothing is scaled:
in float32 the results differ from `lax` by rounding alone.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.networks.shift import shift


def applies(batch: int, image_size: tuple[int, int], stride: int, padding: int, kernel: tuple[int, ...]) -> bool:
    """Whether this module computes that convolution, and it is large enough for eighteen sums and nine products to pay."""
    whole_tiles = all(size % 4 == 0 for size in image_size)
    multiplications = batch * math.prod(image_size) // 4 * math.prod(kernel)
    return (stride, padding, *kernel[:2]) == (2, 1, 4, 4) and whole_tiles and min(kernel[2:]) >= 32 and multiplications >= 2**27


def conv(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images `[B, H, W, I]`, kernel `[4, 4, I, O]` -> features `[B, H / 2, W / 2, O]`. H, W: multiples of 4; padding 1."""
    rows = [
        _interleave([m0 + m1, m1 + m2], axis=2)
        for m0, m1, m2 in _by_threes([d @ g for d, g in zip(_of_images(images), _of_kernel(kernel), strict=True)])
    ]
    return _interleave([rows[0] + rows[1], rows[1] + rows[2]], axis=1)


def input_gradient(features: jax.Array, kernel: jax.Array) -> jax.Array:
    """Features `[B, H / 2, W / 2, O]`, kernel `[4, 4, I, O]` -> images `[B, H, W, I]`: `conv` transposed in its images."""
    products = [y @ g.T for y, g in zip(_of_features(features), _of_kernel(kernel), strict=True)]
    rows = []
    for products_of_row in _by_threes(products):
        quarters = [jnp.split(product, 4, axis=-1) for product in products_of_row]
        rows.append([_pairs_to_entries([(q[2 * row], q[2 * row + 1]) for q in quarters], axis=2) for row in (0, 1)])
    return _pairs_to_entries(rows, axis=1)


def weight_gradient(images: jax.Array, features: jax.Array) -> jax.Array:
    """Images `[B, H, W, I]`, features `[B, H / 2, W / 2, O]` -> kernel `[4, 4, I, O]`: `conv` transposed in its kernel."""
    tiles = (((0, 1, 2), (0, 1, 2)), ((), ()))
    shape = (2, 2, images.shape[-1], features.shape[-1])
    pairs = zip(_of_images(images), _of_features(features), strict=True)
    products = [lax.dot_general(d, y, tiles).reshape(shape) for d, y in pairs]
    rows = [jnp.concatenate([m0 + m1, m1 + m2], axis=1) for m0, m1, m2 in _by_threes(products)]
    return jnp.concatenate([rows[0] + rows[1], rows[1] + rows[2]], axis=0)


def _of_images(images: jax.Array) -> list[jax.Array]:
    """(d0 - d1, d1, d2 - d1) along both axes: nine arrays `[B, H / 4, W / 4, 4 I]`, four entries in each."""
    return [
        jnp.concatenate([*of_first_row, *of_second_row], axis=-1)
        for first_row, second_row in _entries_to_pairs(images, axis=1)
        for of_first_row, of_second_row in zip(
            _entries_to_pairs(first_row, axis=2), _entries_to_pairs(second_row, axis=2), strict=True
        )
    ]


def _of_kernel(kernel: jax.Array) -> list[jax.Array]:
    """(g0, g0 + g1, g1) along both axes: nine matrices `[4 I, O]`."""

    def along(axis: int, kernel: jax.Array) -> list[jax.Array]:
        g0, g1 = jnp.split(kernel, 2, axis)
        return [g0, g0 + g1, g1]

    return [both.reshape(-1, kernel.shape[-1]) for rows in along(0, kernel) for both in along(1, rows)]


def _of_features(features: jax.Array) -> list[jax.Array]:
    """(y0, y0 + y1, y1) along both axes, what each product owes to a tile's outputs: nine arrays `[B, H / 4, W / 4, O]`."""

    def along(axis: int, features: jax.Array) -> list[jax.Array]:
        y0, y1 = (lax.slice_in_dim(features, first, features.shape[axis], 2, axis) for first in (0, 1))
        return [y0, y0 + y1, y1]

    return [both for rows in along(1, features) for both in along(2, rows)]


def _entries_to_pairs(images: jax.Array, axis: int) -> list[tuple[jax.Array, jax.Array]]:
    """(d0 - d1, d1, d2 - d1) of each tile along an axis; tile t sees the entries 4t - 1 to 4t + 4."""
    a0, b0, a1, b1, a2, b2 = (
        shift(lax.slice_in_dim(images, offset % 4, images.shape[axis], 4, axis), -(offset // 4), axis)
        for offset in range(-1, 5)
    )
    return [(a0 - a1, b0 - b1), (a1, b1), (a2 - a1, b2 - b1)]


def _pairs_to_entries(pairs: Sequence[Sequence[jax.Array]], axis: int) -> jax.Array:
    """The transpose of `_entries_to_pairs`."""
    (a0, b0), (a1, b1), (a2, b2) = pairs
    return _interleave([b0 + shift(b2, 1, axis), a1 - a0 - a2, b1 - b0 - b2, a2 + shift(a0, -1, axis)], axis)


def _interleave(arrays: Sequence[jax.Array], axis: int) -> jax.Array:
    """Entry i of each array in turn, along an axis."""
    *before, size = arrays[0].shape[: axis + 1]
    return jnp.stack(arrays, axis + 1).reshape(*before, len(arrays) * size, *arrays[0].shape[axis + 1 :])


def _by_threes(nine: Sequence[jax.Array]) -> list[Sequence[jax.Array]]:
    return [nine[row : row + 3] for row in (0, 3, 6)]
