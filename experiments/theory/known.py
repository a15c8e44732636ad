"""A generator whose density is known: mixtures of affine maps of a normal latent, so that every claim can be checked."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gan_jax.distributions import GaussianMixture
from gan_jax.divergences import cells
from gan_jax.networks.mlp import Discriminator
from gan_jax.objectives import OBJECTIVES
from gan_jax.state import GAN, Players


class AffineMixture(nn.Module):
    """G(z, u) = m_c + s_c z: component c is the one of K equal parts of N(0, 1) that the last latent u falls into.

    Latents `[B, D + 1]` -> samples `[B, D]`, of the density `density(params)`. init: of the means, `(rng, [K, D])`.
    """

    components: int
    dimensions: int
    init_means: nn.initializers.Initializer
    init_stddev: float = 1.0

    @nn.compact
    def __call__(self, latents: jax.Array, train: bool) -> jax.Array:
        del train
        shape = (self.components, self.dimensions)
        mixture = density(
            {
                "means": self.param("means", self.init_means, shape),
                "log_stddevs": self.param("log_stddevs", nn.initializers.constant(jnp.log(self.init_stddev)), shape),
            }
        )
        part = jnp.floor(jax.scipy.stats.norm.cdf(latents[:, -1]) * self.components).astype(jnp.int32)
        component = jnp.clip(part, 0, self.components - 1)
        return mixture.means[component] + mixture.stddev[component] * latents[:, :-1]


def density(params: Any) -> GaussianMixture:
    """What an `AffineMixture` with these parameters samples."""
    return GaussianMixture(params["means"], jnp.exp(params["log_stddevs"]))


def make_gan(
    gen: AffineMixture,
    *,
    objective: str = "minimax",
    hidden: tuple[int, ...] = (32, 32),
    gen_optimizer: optax.GradientTransformation,
    disc_optimizer: optax.GradientTransformation,
) -> GAN:
    """A GAN of a generator with a known density and an MLP."""
    return GAN(
        networks=Players(gen, Discriminator(hidden)),
        optimizers=Players(gen_optimizer, disc_optimizer),
        objective=OBJECTIVES[objective],
        sample_shape=(gen.dimensions,),
        latent_dim=gen.dimensions + 1,
    )


def line(low: float, high: float, count: int) -> tuple[jax.Array, float]:
    """Points `[count, 1]` for sums over the line, and the log width of their cells."""
    points, log_width = cells([low], [high], count)
    return jnp.asarray(points, jnp.float32), log_width
