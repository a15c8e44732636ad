"""Densities that can be sampled and evaluated: the 2-D mixtures on which mode coverage is measured."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class GaussianMixture(NamedTuple):
    """Equal-weight mixture of isotropic Gaussians. means: `[K, D]`; stddev: the standard deviation of each component."""

    means: np.ndarray
    stddev: float

    def sample(self, rng: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Independent draws `[*shape, D]`."""
        component, noise = jax.random.split(rng)
        index = jax.random.randint(component, shape, 0, len(self.means))
        offsets = self.stddev * jax.random.normal(noise, (*shape, self.means.shape[-1]))
        return jnp.asarray(self.means, offsets.dtype)[index] + offsets

    def log_prob(self, points: jax.Array) -> jax.Array:
        """Log density in nats. points: `[..., D]` -> `[...]`."""
        normaliser = math.log(len(self.means)) + self.means.shape[-1] * math.log(self.stddev * math.sqrt(2 * math.pi))

        def of_one(point: jax.Array) -> jax.Array:
            distances = (point[None] - jnp.asarray(self.means, point.dtype)) / self.stddev
            return jax.nn.logsumexp(-0.5 * jnp.sum(distances**2, axis=-1)) - normaliser

        return jnp.vectorize(of_one, signature="(d)->()")(points)


def ring(modes: int = 8, radius: float = 1.0, stddev: float = 0.01) -> GaussianMixture:
    """Gaussians evenly spaced on a circle (PacGAN, Lin et al. 2018, section 4.1)."""
    angles = 2 * np.pi * np.arange(modes) / modes
    return GaussianMixture(radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1), stddev)


def grid(modes_per_side: int = 5, spacing: float = 2.0, stddev: float = 0.05) -> GaussianMixture:
    """Gaussians on a square lattice around the origin (PacGAN, Lin et al. 2018, section 4.1)."""
    ticks = spacing * (np.arange(modes_per_side) - (modes_per_side - 1) / 2)
    return GaussianMixture(np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2), stddev)
