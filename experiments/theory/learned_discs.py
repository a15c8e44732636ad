"""Discriminators that the package's own `disc_update` learns, beside the best value that their objective can have."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import known
from gan_jax.data import Batch
from gan_jax.networks.mlp import Discriminator
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import constant
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import disc_update
from gan_jax.theory.distributions import GaussianMixture, gaussian
from gan_jax.theory.divergences import cells
from gan_jax.theory.optima import (
    OPTIMA,
    maximise_concave,
    relativistic_average_optimum,
    relativistic_average_value,
    sobolev_on_line,
    wasserstein_with_penalty,
)

# Multiples of 1/24, so that a batch of 24 has exactly these shares.
P, Q = np.array([6, 5, 4, 3, 3, 1, 1, 1]) / 24, np.array([1, 2, 3, 3, 4, 2, 3, 6]) / 24
DATA, SAMPLES = GaussianMixture(np.array([[-1.5], [1.0]]), np.array([[0.4], [0.7]]), np.array([0.4, 0.6])), gaussian([0.0], 1.0)
SUPPORT = [name for name in OBJECTIVES if name not in ("wasserstein", "non_saturating")]  # non-saturating has minimax's D
TANH = "wasserstein, R1 + R2, tanh"
DENSITIES = ("minimax", "least_squares", "hinge", "relativistic", "wasserstein, WGAN-GP", "wasserstein, R1 + R2", TANH)
_GP, _R12 = 10.0, 1.0
# The Wasserstein objective has no optimum without a bound on D's slope.
_R1_R2 = {"r1": _R12, "r2": _R12}
_PENALTIES = {"wasserstein, WGAN-GP": {"gradient_penalty": _GP}, "wasserstein, R1 + R2": _R1_R2, TANH: _R1_R2}


class Table(nn.Module):
    """A free logit for each of K outcomes, which come as one-hot vectors `[B, K]`."""

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        return samples @ self.param("logits", nn.initializers.zeros, samples.shape[-1:], samples.dtype)


class Smooth(nn.Module):
    """An MLP with tanh: unlike leaky ReLU's, the slope of its slope is not 0 nearly everywhere, which R1 and R2 descend by."""

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        for _ in range(2):
            samples = nn.tanh(nn.Dense(64)(samples))
        return nn.Dense(1)(samples).reshape(-1)


class Fixed(nn.Module):
    """The given samples, whatever the latents."""

    samples: Any

    @nn.compact
    def __call__(self, latents: jax.Array, labels: None, train: bool) -> jax.Array:
        return self.param("samples", lambda rng: jnp.asarray(self.samples))


def on_support(name: str, steps: int) -> dict[str, Any]:
    """Learn a table for P and Q: its value beside the closed form, and beside a certified maximum."""
    objective = OBJECTIVES[name]
    real, fake = (np.repeat(np.eye(len(P)), np.round(24 * shares).astype(int), axis=0) for shares in (P, Q))
    adam = optax.adam(optax.cosine_decay_schedule(0.3, steps))
    networks = Players(Fixed(np.tile(fake, (24, 1))), Table())  # beside every real one, every fake one
    gan = GAN(networks, Players(optax.identity(), adam), objective, sample_shape=(len(P),), latent_dim=1)
    batch = Batch(jnp.asarray(np.repeat(real, 24, axis=0)))

    def one_update(update: jax.Array, state: TrainState) -> TrainState:
        return disc_update(gan, state, batch, jax.random.key(0))[0]

    state = jax.jit(lambda: jax.lax.fori_loop(0, steps, one_update, create_state(gan, jax.random.key(0))))()
    logits = state.params.disc["logits"]
    log_p, log_q = jnp.log(P), jnp.log(Q)
    if name == "relativistic_average":
        certified = relativistic_average_optimum(P, Q)
        learned = float(relativistic_average_value(log_p, log_q, logits))
        return {"learned": learned, "optimum": certified.value, "gradient": certified.gradient}
    value = partial(known.mean_over_pairs, objective, jnp.asarray(P), jnp.asarray(Q))
    row: dict[str, Any] = {"learned": value(logits), "optimum": OPTIMA[name].value(log_p, log_q)}
    if name == "relativistic":
        certified = maximise_concave(value, np.zeros(len(P)))
        row |= {"gradient": certified.gradient, "certified_less_formula": certified.value - float(row["optimum"])}
    return row


def on_densities(name: str, steps: int, batch_size: int) -> dict[str, Any]:
    """Learn an MLP for DATA and SAMPLES: its value by quadrature beside the closed form."""
    objective = OBJECTIVES[name.partition(",")[0]]
    penalties = tuple((PENALTIES[penalty], constant(weight)) for penalty, weight in _PENALTIES.get(name, {}).items())
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, steps), b1=0.5)
    gen = known.AffineMixture(1, 1, nn.initializers.zeros)
    networks = Players(gen, Smooth() if name == TANH else Discriminator((64, 64)))
    gan = GAN(networks, Players(optax.identity(), adam), objective, sample_shape=(1,), latent_dim=2, penalties=penalties)

    def one_update(update: jax.Array, state: TrainState) -> TrainState:
        real_rng, fake_rng = jax.random.split(jax.random.fold_in(jax.random.key(1), update))
        return disc_update(gan, state, Batch(DATA.sample(real_rng, (batch_size,))), fake_rng)[0]

    state = jax.jit(lambda: jax.lax.fori_loop(0, steps, one_update, create_state(gan, jax.random.key(0))))()
    logits = np.asarray(known.logits(gan, state, jnp.asarray(line(600)[0], jnp.float32)), np.float64)
    with jax.enable_x64(True):
        points, p, q, width = line(600)
        learned = jnp.sum((p - q) * logits) if penalties else known.mean_over_pairs(objective, p, q, jnp.asarray(logits))
        return {
            "learned": learned,
            "optimum": value_on_line(name, p, q, width),
            "logits": logits[::4],
            "points": points[::4, 0],
        }


def line(count: int) -> tuple[np.ndarray, jax.Array, jax.Array, float]:
    """Return cells of a line `[count, 1]`, the masses of DATA and SAMPLES in them, and their width."""
    points, log_width = cells([-6.0], [6.0], count)
    masses = [jnp.exp(density.log_prob(jnp.asarray(points)) + log_width) for density in (DATA, SAMPLES)]
    p, q = (mass / jnp.sum(mass) for mass in masses)
    return points, p, q, float(np.exp(log_width))


def density_between(points: jax.Array) -> jax.Array:
    """Return the density `[N]` at points `[N, 1]` of u x + (1 − u) y, u ~ U(0, 1), where WGAN-GP's penalty is."""
    nodes, weights = np.polynomial.legendre.leggauss(200)

    def at(share: jax.Array) -> jax.Array:
        stddev = jnp.sqrt((share * jnp.asarray(DATA.stddev)) ** 2 + (1 - share) ** 2)
        return jnp.exp(GaussianMixture(share * jnp.asarray(DATA.means), stddev, DATA.weights).log_prob(points))

    return jnp.sum(jnp.asarray(weights)[:, None] / 2 * jax.vmap(at)(jnp.asarray(nodes + 1) / 2), axis=0)


def value_on_line(name: str, p: jax.Array, q: jax.Array, width: float) -> float:
    """Return the best value that the objective can have for DATA and SAMPLES, by quadrature."""
    borders = (line(len(p))[0][:-1] + width / 2).reshape(-1, 1)
    if name == "wasserstein, WGAN-GP":
        return float(wasserstein_with_penalty(p, q, density_between(jnp.asarray(borders)), width, _GP))
    if "R1" in name:
        both = sum((jnp.exp(each.log_prob(jnp.asarray(borders))) for each in (DATA, SAMPLES)), jnp.zeros(()))
        return float(sobolev_on_line(p, q, both, width, _R12))
    return float(OPTIMA[name].value(jnp.log(p), jnp.log(q)))
