"""Two games whose expectations are exact sums, played by the package's own updates, and their spectral radius by formula.

Dirac's: data at 0, G(z) = θ, D linear. And a Gaussian one: data N(0, 1), G(z) = μ + s z, D of x and x².
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from gan_jax.data import Batch
from gan_jax.networks.layers import SpectralNorm
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import disc_update, gen_update, train_step
from gan_jax.theory import games

# Regulariser -> weights of the penalties in units of γ, and the noise on data and samples in units of σ.
REGULARISERS = {
    "none": ({}, 0.0),
    "R1": ({"r1": 1.0}, 0.0),
    "R2": ({"r2": 1.0}, 0.0),
    "R1 + R2": ({"r1": 1.0, "r2": 1.0}, 0.0),
    "noise": ({}, 1.0),
    "WGAN-GP": ({"gradient_penalty": 1.0}, 0.0),
    "DRAGAN": ({"dragan": 1.0}, 0.0),
    "lazy R1 + R2": ({"r1": 1.0, "r2": 1.0}, 0.0),
    "spectral norm": ({}, 0.0),
}
PLAYS = ("simultaneous", "alternating", "k = 5", "extra-gradient", "Adam (0, .99)", "Adam (.5, .999)")
KINKED = ("WGAN-GP", "DRAGAN")  # (|ψ| − 1)² has no slope at ψ = 0
LAZY = 8


def nodes(game: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (z, sign of the noise) of all equally likely pairs of a real and a fake point, `[2, B]` each.

    z by the three-point Gauss–Hermite rule, exact for polynomials up to degree 5; the noise is ±σ.
    """
    ticks = [0.0] if game == "dirac" else [-np.sqrt(3), 0, 0, 0, 0, np.sqrt(3)]
    points = np.array([(z, sign) for z in ticks for sign in (-1, 1)])
    pairs = np.stack([np.repeat(points, len(points), axis=0), np.tile(points, (len(points), 1))])
    return pairs[..., 0], pairs[..., 1]


class Affine(nn.Module):
    """G(z) = θ_0 + (1 + θ_1) z + noise, for the given z and noise `[B]`, whatever the latents; θ is 0 at the equilibrium."""

    size: int
    z: Any
    noise: Any

    @nn.compact
    def __call__(self, latents: jax.Array, labels: None, train: bool) -> jax.Array:
        theta = self.param("theta", nn.initializers.zeros, (self.size,))
        return (theta[0] + (1 + theta[-1] * (self.size > 1)) * self.z + self.noise)[:, None]


class Features(nn.Module):
    """l(x) = offset + ψ_0 x + ψ_1 (x² − 1)/√2, of which the first `size` features; spectral: ψ over its norm instead."""

    size: int
    offset: float
    spectral: bool = False

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        features = jnp.concatenate([samples, (samples**2 - 1) / jnp.sqrt(2.0)], axis=-1)[:, : self.size]
        weight = nn.Dense(1, use_bias=False, name="psi", kernel_init=nn.initializers.ones)
        return self.offset + (SpectralNorm(weight)(features, train) if self.spectral else weight(features)).reshape(-1)


def make_gan(objective: str, game: str, weights: Mapping[str, Any], noise: Any, *, regulariser: str = "none") -> GAN:
    """Make the recipe, without optimisers; weights and noise may be traced."""
    (_, z), (_, signs) = nodes(game)
    size = 1 + (game == "gaussian")
    disc = Features(size, games.SLOPES[objective].offset, regulariser == "spectral norm")
    penalties = tuple((PENALTIES[name], lambda step, weight=weight: weight) for name, weight in weights.items())
    idle = optax.identity()
    return GAN(
        networks=Players(Affine(size, jnp.asarray(z), noise * jnp.asarray(signs)), disc),
        optimizers=Players(idle, idle),
        objective=OBJECTIVES[objective],
        sample_shape=(1,),
        latent_dim=1,
        penalties=penalties,
        penalty_every=LAZY if regulariser.startswith("lazy") else 1,
    )


def make_step(gan: GAN, game: str, play: str, noise: Any, rate: float, adam_rate: float) -> Callable[[TrainState], TrainState]:
    """Make one step of a way to play, of the package's own updates."""
    b1, b2 = (0.0, 0.99) if "(0" in play else (0.5, 0.999)
    # eps_root makes √v differentiable at v = 0, far below Adam's own 1e-8.
    one = optax.adam(adam_rate, b1, b2, eps_root=1e-30) if play.startswith("Adam") else optax.sgd(rate)
    gan = replace(gan, optimizers=Players(one, one), disc_steps=5 if play == "k = 5" else 1)
    (z, _), (signs, _) = nodes(game)
    real, key = (jnp.asarray(z) + noise * jnp.asarray(signs))[:, None], jax.random.key(0)
    batches = Batch(jnp.broadcast_to(real, (gan.batches_per_step, *real.shape)))

    def simultaneous(state: TrainState) -> TrainState:
        gen, disc = gen_update(gan, state, Batch(real), key)[0], disc_update(gan, state, Batch(real), key)[0]
        return disc.replace(params=Players(gen.params.gen, disc.params.disc), step=state.step + 1)

    def extra_gradient(state: TrainState) -> TrainState:
        ahead = simultaneous(state)
        beyond = simultaneous(ahead.replace(step=state.step))
        params = jax.tree.map(lambda here, there, last: here + last - there, state.params, ahead.params, beyond.params)
        return beyond.replace(params=params)

    special = {"simultaneous": simultaneous, "extra-gradient": extra_gradient}
    return special.get(play, lambda state: train_step(gan, state, batches, key)[0])


def start(gan: GAN, play: str, theta: float, psi: float) -> TrainState:
    """Return the state with all of θ and of ψ at one number, in float64."""
    optimizer = optax.adam(1.0) if play.startswith("Adam") else optax.sgd(1.0)
    state = create_state(replace(gan, optimizers=Players(optimizer, optimizer)), jax.random.key(0))
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state)
    at = Players(*(jnp.full_like(leaf, place) for leaf, place in zip(jax.tree.leaves(state.params), (theta, psi), strict=True)))
    return state.replace(params=jax.tree.unflatten(jax.tree.structure(state.params), at))


def jacobian(step: Callable[[TrainState], TrainState], state: TrainState) -> jax.Array:
    """Return the Jacobian of a step at a state, of all its numbers, those of the optimisers included, `[N, N]`."""
    # Adam's corrections of the first steps are over.
    settled = jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf + LAZY * 10**6, state)
    flat, unravel = ravel_pytree(settled)
    return jax.jacfwd(lambda numbers: ravel_pytree(step(unravel(numbers)))[0])(flat)


def trajectory(step: Callable[[TrainState], TrainState], state: TrainState, steps: int) -> jax.Array:
    """Play so many steps: θ and ψ `[steps, P]` before each."""

    def one(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
        return step(state), ravel_pytree(state.params)[0]

    return jax.lax.scan(one, state, length=steps)[1]


def closed_form(objective: str, game: str, regulariser: str, play: str, settings: Mapping[str, Any]) -> float | None:
    """Return the spectral radius by formula, the largest over the modes of the game; None where there is none."""
    rate, adam_rate, gamma, sigma = (settings[name] for name in ("rate", "adam_rate", "gamma", "sigma"))
    if regulariser in (*KINKED, "spectral norm") or (regulariser.startswith("lazy") and play not in ("alternating", "k = 5")):
        return None
    weights, noise = REGULARISERS[regulariser]
    weight, noisy = gamma * sum(weights.values()), (sigma * noise) ** 2
    # Of x: the slope's square is 1. Of (x² − 1)/√2: 2 E x², and its variance, with E x⁴ = 3 + 6σ² + σ⁴.
    second = ((3 + 6 * noisy + noisy**2) - 2 * (1 + noisy) + 1) / 2
    if objective in ("relativistic", "relativistic_average"):
        second -= noisy**2 / 2  # these see the variance, the others the second moment
    modes = [(1.0, noisy + (game == "gaussian"), weight)]
    if game == "gaussian":
        modes.append((np.sqrt(2), second, 2 * weight))
    radii = []
    for coupling, variance, penalty in modes:
        plain = games.make_mode(objective, coupling=coupling, variance=variance)
        mode = plain._replace(damping=plain.damping + penalty)
        if regulariser.startswith("lazy"):
            disc_steps = 5 if play == "k = 5" else 1
            radii.append(games.spectral_radius(games.lazy(plain, penalty, rate, LAZY, disc_steps), LAZY))
            continue
        by_play = {
            "simultaneous": lambda mode=mode: games.simultaneous(mode, rate),
            "alternating": lambda mode=mode: games.alternating(mode, rate),
            "k = 5": lambda mode=mode: games.alternating(mode, rate, 5),
            "extra-gradient": lambda mode=mode: games.extra_gradient(mode, rate),
            "Adam (0, .99)": lambda mode=mode: games.adam(mode, adam_rate, 0.0),
            "Adam (.5, .999)": lambda mode=mode: games.adam(mode, adam_rate, 0.5),
        }
        radii.append(games.spectral_radius(by_play[play]()))
    return max(radii)
