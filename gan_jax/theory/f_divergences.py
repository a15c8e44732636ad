"""f-divergences of known distributions, and the variational bound by which a discriminator estimates them (f-GAN).

D_f(p‖q) = E_q f(p/q) for a convex f with f(1) = 0. Since f(u) >= t u - f*(t) for every t, any function T gives
E_p T - E_q f*(T) <= D_f(p‖q), with equality at T* = f'(p/q) (Nguyen et al. 2010; Nowozin et al. 2016 eq. 4 and 5). All in nats,
in log space, of log probabilities `[..., K]`, traceable; where p and q are both 0, nothing is added.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.theory.divergences import MAX_JSD, js_from_logs, kl_from_logs, optimal_discriminator_logits

Formula = Callable[[jax.Array, jax.Array], jax.Array]


class FDivergence(NamedTuple):
    """One f, in the four forms that are needed.

    from_logs: D_f(p‖q) itself, of log probabilities `[..., K]` -> `[...]`. generator: f(u) of u = p/q > 0.
    witness: T* = f'(u), where the bound is tight. conjugate: f*(t) = sup_u (u t - f(u)), of the t that T* takes.
    """

    from_logs: Formula
    generator: Callable[[jax.Array], jax.Array]
    witness: Callable[[jax.Array], jax.Array]
    conjugate: Callable[[jax.Array], jax.Array]


def total_variation(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Sum of |p - q| over 2, in [0, 1]."""
    return jnp.sum(jnp.abs(jnp.exp(log_p) - jnp.exp(log_q)), axis=-1) / 2


def triangular(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Sum of (p - q)^2 / (p + q), in [0, 2] (Vincze and Le Cam): twice Pearson's chi^2 of q from (p + q)/2."""
    # (p - q)/(p + q) is tanh(logit of D* / 2).
    contrast = jnp.tanh(optimal_discriminator_logits(log_p, log_q) / 2)
    return jnp.sum((jnp.exp(log_p) + jnp.exp(log_q)) * contrast**2, axis=-1)


def squared_hellinger(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Sum of (sqrt p - sqrt q)^2, in [0, 2]."""
    return jnp.sum((jnp.exp(log_p / 2) - jnp.exp(log_q / 2)) ** 2, axis=-1)


def pearson(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Pearson's chi^2: the sum of (p - q)^2 / q; inf where q is 0 and p is not."""
    weights = jnp.where(jnp.isneginf(log_p), -jnp.inf, log_p + optimal_discriminator_logits(log_p, log_q))
    return jnp.sum(jnp.exp(weights), axis=-1) - jnp.sum(jnp.exp(log_p), axis=-1)


def _js_generator(u: jax.Array) -> jax.Array:
    return (u * jnp.log(u) - (1 + u) * (jnp.log1p(u) - MAX_JSD)) / 2


F_DIVERGENCES: dict[str, FDivergence] = {
    "KL(p‖q)": FDivergence(kl_from_logs, lambda u: u * jnp.log(u), lambda u: 1 + jnp.log(u), lambda t: jnp.exp(t - 1)),
    "KL(q‖p)": FDivergence(
        lambda log_p, log_q: kl_from_logs(log_q, log_p), lambda u: -jnp.log(u), lambda u: -1 / u, lambda t: -1 - jnp.log(-t)
    ),
    "Pearson χ²": FDivergence(pearson, lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1), lambda t: t + t**2 / 4),
    "squared Hellinger": FDivergence(
        squared_hellinger, lambda u: (jnp.sqrt(u) - 1) ** 2, lambda u: 1 - 1 / jnp.sqrt(u), lambda t: t / (1 - t)
    ),
    "JSD": FDivergence(
        js_from_logs,
        _js_generator,
        lambda u: (MAX_JSD + jnp.log(u) - jnp.log1p(u)) / 2,
        lambda t: -jnp.log(2 - jnp.exp(2 * t)) / 2,
    ),
    "TV": FDivergence(total_variation, lambda u: jnp.abs(u - 1) / 2, lambda u: jnp.sign(u - 1) / 2, lambda t: t),
    "triangular": FDivergence(
        triangular, lambda u: (u - 1) ** 2 / (u + 1), lambda u: 1 - 4 / (1 + u) ** 2, lambda t: 4 - t - 4 * jnp.sqrt(1 - t)
    ),
}
"""Name -> f-divergence. TV's conjugate is t only for |t| <= 1/2, and inf beyond."""


def variational_bound(divergence: FDivergence, log_p: jax.Array, log_q: jax.Array, outputs: jax.Array) -> jax.Array:
    """E_p T - E_q f*(T) of any T, its outputs `[..., K]` in the domain of f*: at most D_f(p‖q). Supports must be equal."""
    return jnp.sum(jnp.exp(log_p) * outputs - jnp.exp(log_q) * divergence.conjugate(outputs), axis=-1)
