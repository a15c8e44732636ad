"""Fits of a mixture of Gaussians to samples: by EM, by gradient ascent of the likelihood, by GANs whose G is that mixture."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture as EMMixture

import known
from gan_jax.data import Batch
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import cosine
from gan_jax.state import GAN, TrainState
from gan_jax.steps import train_step
from gan_jax.theory.distributions import GaussianMixture
from one_gaussian import minimise


def fit_by_em(points: np.ndarray, components: int, seed: int) -> GaussianMixture:
    """Fit by scikit-learn's EM from k-means, with diagonal covariances."""
    fitted = EMMixture(components, covariance_type="diag", random_state=seed).fit(np.asarray(points, np.float64))
    return GaussianMixture(fitted.means_, np.sqrt(fitted.covariances_), fitted.weights_)


def fit_by_gradients(points: jax.Array, start: Any, steps: int) -> GaussianMixture:
    """Fit by Adam on the mean log-likelihood of all points, with equal weights."""
    adam = optax.adam(optax.cosine_decay_schedule(2e-2, steps))
    return known.density(minimise(lambda params: -jnp.mean(known.density(params).log_prob(points)), start, adam, steps))


def make_gan_of_2014(gen: known.AffineMixture, steps: int, disc_updates: int) -> GAN:
    """Make the non-saturating GAN with k = 2 and Adam (.5, .999); D's rate is 0 after so many of its 2 · steps updates."""
    return known.make_gan(
        gen,
        optax.adam(optax.cosine_decay_schedule(5e-3, steps), b1=0.5),
        optax.adam(optax.cosine_decay_schedule(2e-3, disc_updates), b1=0.5),
        objective="non_saturating",
        disc_steps=2,
        hidden=(64, 64),
    )


def make_regularised_gan(gen: known.AffineMixture, steps: int) -> GAN:
    """Make the GAN of relativistic pairs with R1 + R2, whose weight falls from 0.1 to 0.01, and Adam (0, .99)."""
    adam = optax.adam(optax.cosine_decay_schedule(2e-3, steps), b1=0.0, b2=0.99)
    penalties = tuple((PENALTIES[name], cosine(0.1, 0.01, steps)) for name in ("r1", "r2"))
    return known.make_gan(gen, adam, adam, objective="relativistic", hidden=(64, 64), penalties=penalties)


REGULARISED = "RpGAN + R1 + R2"
GANS: dict[str, Callable[[known.AffineMixture, int], GAN]] = {
    "GAN of 2014, D stopped half way": lambda gen, steps: make_gan_of_2014(gen, steps, steps),
    "GAN of 2014": lambda gen, steps: make_gan_of_2014(gen, steps, 2 * steps),
    REGULARISED: make_regularised_gan,
}


def fit_by_gan(gan: GAN, steps: int, state: TrainState, samples: jax.Array, rng: jax.Array) -> GaussianMixture:
    """Train on batches of 256 of the samples `[N, D]`; return the density of the last generator."""

    def one_step(step: jax.Array, state: TrainState) -> TrainState:
        shape = (gan.batches_per_step, 256)
        index = jax.random.randint(jax.random.fold_in(rng, step), shape, 0, len(samples))
        return train_step(gan, state, Batch(samples[index]), rng)[0]

    return known.density(jax.lax.fori_loop(0, steps, one_step, state).params.gen)


def start_at_clusters(state: TrainState, samples: jax.Array) -> TrainState:
    """Move the means of G `[S, K, D]` to the centres that k-means finds in the samples `[S, N, D]`: where EM starts too."""
    count = state.params.gen["means"].shape[1]
    centres = [
        KMeans(count, n_init=1, random_state=seed).fit(np.asarray(points, np.float64)).cluster_centers_
        for seed, points in enumerate(samples)
    ]
    gen = state.params.gen | {"means": jnp.asarray(np.stack(centres), jnp.float32)}
    return state.replace(params=state.params._replace(gen=gen))
