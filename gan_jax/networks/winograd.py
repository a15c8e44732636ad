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


def applies(batch: int, image_size: tuple[int, int], stride: int, padding: int, kernel: tuple[int, ...]) -> bool:
    """Whether this module computes that convolution, and it is large enough for eighteen sums and nine products to pay."""
    whole_tiles = all(size % 4 == 0 for size in image_size)
    multiplications = batch * math.prod(image_size) // 4 * math.prod(kernel)
    return (stride, padding, *kernel[:2]) == (2, 1, 4, 4) and whole_tiles and min(kernel[2:]) >= 32 and multiplications >= 2**27


def conv(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images `[B, H, W, I]`, kernel `[4, 4, I, O]` -> features `[B, H / 2, W / 2, O]`. H, W: multiples of 4; padding 1."""
    products = [d @ g for d, g in zip(_of_images(images), _of_kernel(kernel), strict=True)]
    rows = [_interleave(m0 + m1, m1 + m2, axis=2) for m0, m1, m2 in _by_threes(products)]
    return _interleave(rows[0] + rows[1], rows[1] + rows[2], axis=1)


def input_gradient(features: jax.Array, kernel: jax.Array) -> jax.Array:
    """Features `[B, H / 2, W / 2, O]`, kernel `[4, 4, I, O]` -> images `[B, H, W, I]`: `conv` transposed in its images."""
    batch, rows, columns, _ = features.shape
    products = [y @ g.T for y, g in zip(_of_features(features), _of_kernel(kernel), strict=True)]
    pairs = _to_pairs([_to_pairs(of_row, axis=2) for of_row in _by_threes(products)], axis=1)
    entries = pairs.reshape(batch, rows + 2, columns + 2, 2, -1).swapaxes(2, 3)
    padded = entries.reshape(batch, 2 * rows + 4, 2 * columns + 4, -1)
    return padded[:, 1 : 2 * rows + 1, 1 : 2 * columns + 1]


def weight_gradient(images: jax.Array, features: jax.Array) -> jax.Array:
    """Images `[B, H, W, I]`, features `[B, H / 2, W / 2, O]` -> kernel `[4, 4, I, O]`: `conv` transposed in its kernel."""
    tiles = (((0, 1, 2), (0, 1, 2)), ((), ()))
    shape = (2, 2, images.shape[-1], features.shape[-1])
    both = zip(_of_images(images), _of_features(features), strict=True)
    products = [lax.dot_general(d, y, tiles).reshape(shape) for d, y in both]
    rows = [jnp.concatenate([m0 + m1, m1 + m2], axis=1) for m0, m1, m2 in _by_threes(products)]
    return jnp.concatenate([rows[0] + rows[1], rows[1] + rows[2]], axis=0)


def _of_images(images: jax.Array) -> list[jax.Array]:
    """(d0 - d1, d1, d2 - d1) along both axes: nine arrays `[B, H / 4, W / 4, 4 I]`, of 2 × 2 entries each."""
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pairs = padded.reshape(batch, height // 2 + 1, 2, width // 2 + 1, 2 * channels)
    # The two rows of the entries are put side by side last: XLA:CPU makes a concatenation once, and would compute a difference
    # anew, one entry after another, in the transposition that the weight gradient needs.
    of_rows = [[both for d in _from_pairs(pairs[:, :, row], axis=1) for both in _from_pairs(d, axis=2)] for row in (0, 1)]
    return [jnp.concatenate(rows, axis=-1) for rows in zip(*of_rows, strict=True)]


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


def _from_pairs(pairs: jax.Array, axis: int) -> list[jax.Array]:
    """(d0 - d1, d1, d2 - d1) of each tile along an axis: tile t sees the pairs 2t, 2t + 1 and 2t + 2."""
    d0, d1, d2 = (lax.slice_in_dim(pairs, first, first + pairs.shape[axis] - 2, 2, axis) for first in (0, 1, 2))
    return [d0 - d1, d1, d2 - d1]


def _to_pairs(products: Sequence[jax.Array], axis: int) -> jax.Array:
    """The transpose of `_from_pairs`, and zeros behind it: one pair, so that there are two of each tile and two more."""

    def padded(of_pair: jax.Array, before: int, after: int) -> jax.Array:
        return jnp.pad(of_pair, [(before, after) if dimension == axis else (0, 0) for dimension in range(of_pair.ndim)])

    p0, p1, p2 = products
    return _interleave(padded(p0, 0, 1) + padded(p2, 1, 0), padded(p1 - p0 - p2, 0, 1), axis)


def _interleave(even: jax.Array, odd: jax.Array, axis: int) -> jax.Array:
    """Entry i of each array in turn, along an axis."""
    *before, size = even.shape[: axis + 1]
    return jnp.stack([even, odd], axis + 1).reshape(*before, 2 * size, *even.shape[axis + 1 :])


def _by_threes(nine: Sequence[jax.Array]) -> list[Sequence[jax.Array]]:
    return [nine[row : row + 3] for row in (0, 3, 6)]
