"""The one move that the hand-written convolutions and resamplings are made of."""

import jax
import jax.numpy as jnp
from jax import lax


def shift(x: jax.Array, by: int, axis: int) -> jax.Array:
    """Move the entries along an axis: entry n to n + by. Zeros come in from the border, what leaves at the other is lost."""
    config = [(by, -by, 0) if dimension == axis else (0, 0, 0) for dimension in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), config) if by else x
