"""Samples from a generator: running statistics in place of the batch's, so that one picture does not depend on the others."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax.errors import InputError
from gan_jax.state import GAN, TrainState, generator_variables
from gan_jax.steps import draw_latents

# Every call runs batches of this one shape: rounding depends on it, and a picture must not depend on how many are drawn.
_BATCH_SIZE = 64


@partial(jax.jit, static_argnums=0)
def _generate(network: nn.Module, variables: Any, latents: jax.Array) -> jax.Array:
    samples = network.apply(variables, latents, train=False)
    assert isinstance(samples, jax.Array)
    if samples.ndim == 4:
        return jnp.round((jnp.clip(samples, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)
    return samples


def generate(gan: GAN, variables: Any, latents: jax.Array) -> np.ndarray:
    """Latents `[N, Z]` -> images uint8 `[N, H, W, C]`, or points float32 `[N, D]`. variables: see `generator_variables`."""
    count = len(latents)
    if not count:
        raise InputError("no latents: give at least one")
    padded = jnp.pad(latents, ((0, -count % _BATCH_SIZE), (0, 0)))
    batches = padded.reshape(-1, _BATCH_SIZE, latents.shape[-1])
    return np.concatenate([np.asarray(_generate(gan.networks.gen, variables, batch)) for batch in batches])[:count]


def sample(gan: GAN, state: TrainState, rng: jax.Array, num: int, *, ema: bool | None = None) -> np.ndarray:
    """`num` samples, the same whatever else is drawn: sample i depends on `(rng, i)` alone.

    Images are uint8 `[num, H, W, C]`, points float32 `[num, D]`. ema: the averaged generator or the raw one; by default the
    average where there is one.
    """
    return generate(gan, generator_variables(state, ema=ema), draw_latents(rng, num, gan.latent_dim))


def slerp(start: jax.Array, end: jax.Array, fractions: jax.Array) -> jax.Array:
    """Spherical interpolation between two latents (White 2016): `[Z]`, `[Z]`, fractions `[T]` in [0, 1] -> `[T, Z]`.

    It keeps to the norms at which N(0, I) has its mass; parallel latents are interpolated linearly.
    """
    cosine = jnp.vdot(start, end) / jnp.maximum(jnp.linalg.norm(start) * jnp.linalg.norm(end), 1e-12)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    sine = jnp.sin(angle)
    divisor = jnp.where(sine < 1e-6, 1.0, sine)

    def weight(fraction: jax.Array) -> jax.Array:
        return jnp.where(sine < 1e-6, fraction, jnp.sin(fraction * angle) / divisor)

    return jnp.outer(weight(1 - fractions), start) + jnp.outer(weight(fractions), end)
