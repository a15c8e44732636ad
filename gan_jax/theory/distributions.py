"""Densities that can be sampled and evaluated: Gaussians, their mixtures (ring, grid), the uniform density."""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Density(Protocol):
    """A probability density on points of D coordinates."""

    def sample(self, rng: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw independent samples `[*shape, D]`."""

    def log_prob(self, points: jax.Array) -> jax.Array:
        """Log density in nats. points: `[..., D]` -> `[...]`."""


class GaussianMixture(NamedTuple):
    """Mixture of Gaussians with diagonal covariances. Its fields may be traced, so that it can be fitted by gradients.

    means: `[K, D]`. stddev: of the components, anything that broadcasts to `[K, D]`. weights: `[K]`, or None for equal ones.
    """

    means: Any
    stddev: Any
    weights: Any = None

    def sample(self, rng: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw independent samples `[*shape, D]`."""
        return self.sample_with_component(rng, shape)[0]

    def sample_with_component(self, rng: jax.Array, shape: tuple[int, ...] = ()) -> tuple[jax.Array, jax.Array]:
        """Draw independent samples `[*shape, D]`, and the component int32 `[*shape]` that each is of."""
        component_rng, noise = jax.random.split(rng)
        weights = None if self.weights is None else jnp.asarray(self.weights)
        component = jax.random.choice(component_rng, len(self.means), shape, p=weights)
        unit = jax.random.normal(noise, (*shape, np.shape(self.means)[-1]))
        means, stddevs = jnp.asarray(self.means, unit.dtype), jnp.broadcast_to(self.stddev, np.shape(self.means))
        return means[component] + jnp.asarray(stddevs, unit.dtype)[component] * unit, component

    def log_prob(self, points: jax.Array) -> jax.Array:
        """Log density in nats. points: `[..., D]` -> `[...]`."""
        means = jnp.asarray(self.means, points.dtype)
        stddevs = jnp.broadcast_to(jnp.asarray(self.stddev, points.dtype), means.shape)
        count, dimensions = means.shape
        weights = jnp.full(count, 1 / count, points.dtype) if self.weights is None else jnp.asarray(self.weights, points.dtype)
        heights = jnp.log(weights) - jnp.sum(jnp.log(stddevs), axis=-1) - dimensions / 2 * math.log(2 * math.pi)

        def of_one(point: jax.Array) -> jax.Array:
            distances = (point[None] - means) / stddevs
            return jax.nn.logsumexp(heights - 0.5 * jnp.sum(distances**2, axis=-1))

        return jnp.vectorize(of_one, signature="(d)->()")(points)


def gaussian(mean: Any, stddev: Any) -> GaussianMixture:
    """N(mean, diag(stddev²)). mean: `[D]`; stddev: anything that broadcasts to it."""
    means = jnp.asarray(mean)[None]
    return GaussianMixture(means, jnp.broadcast_to(jnp.asarray(stddev), means.shape))


def ring(modes: int = 8, radius: float = 1.0, stddev: float = 0.01) -> GaussianMixture:
    """Gaussians evenly spaced on a circle (PacGAN, Lin et al. 2018, section 4.1)."""
    angles = 2 * np.pi * np.arange(modes) / modes
    return GaussianMixture(radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1), stddev)


def grid(modes_per_side: int = 5, spacing: float = 2.0, stddev: float = 0.05) -> GaussianMixture:
    """Gaussians on a square lattice around the origin (PacGAN, Lin et al. 2018, section 4.1)."""
    ticks = spacing * (np.arange(modes_per_side) - (modes_per_side - 1) / 2)
    return GaussianMixture(np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2), stddev)
