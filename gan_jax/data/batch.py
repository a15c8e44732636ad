"""What a step sees of the data, and the one place where bytes become numbers in [-1, 1] and back."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Batch(NamedTuple):
    """Examples of one or of many updates.

    images: float32 `[..., B, H, W, C]` in [-1, 1], or points `[..., B, D]`. labels: int32 `[..., B]` from 0 on, or None.
    """

    images: jax.Array
    labels: jax.Array | None = None


def to_float(images: Any) -> Any:
    """Map uint8 to float32 in [-1, 1], of numpy or JAX as it comes."""
    return images.astype("float32") / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """Map [-1, 1] to the nearest of 256 levels; what lies outside is clipped."""
    return jnp.round((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)
