"""What each objective's discriminator estimates, and what the generator then descends: closed forms, in nats.

D's side. Where an objective is E_p a(l) + E_q b(l), D* maximises p a(l) + q b(l) point by point: its value is the f-divergence
of f(u) = max_l (u a(l) + b(l)). A relativistic pair is judged by l(x) - l(y), and yet has a closed form: real x before fake y
comes from p(x)q(y), the other order from q(x)p(y), so that ranking pairs is minimax on pairs. The Bayes rule there has the
logit log p/q(x) - log p/q(y), which *is* a difference: D* is minimax's, and the value JSD(p⊗q‖q⊗p) - log 2.

G's side. With D* held fixed, G descends E_q g(l*(u)). That is the gradient of the f-divergence with f'' = -(d/du) g(l*(u)) / u,
because the variation of E_q f(p/q) in q is f - u f', whose slope is -u f''.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError
from gan_jax.theory.divergences import MAX_JSD, js_from_logs, kl_from_logs, optimal_discriminator_logits
from gan_jax.theory.f_divergences import Formula, total_variation, triangular


class Optimum(NamedTuple):
    """The optimal play of one objective as functions of log p and log q, `[..., K]` each.

    logits: D*, `[..., K]`, one of them where several are optimal. value: the mean of the objective's `disc` at D*, `[...]`.
    of_gen: the divergence whose gradient G's own loss has at D*, `[...]`, up to a constant.
    """

    logits: Formula
    value: Formula
    of_gen: Formula


def js_of_pairs(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """JSD(p⊗q‖q⊗p), in [JSD(p‖q), log 2]: how well a real and a fake point, side by side, can be told apart."""
    first = log_p[..., :, None] + log_q[..., None, :]
    flat = (*first.shape[:-2], -1)
    return js_from_logs(first.reshape(flat), jnp.swapaxes(first, -1, -2).reshape(flat))


def _kl_to_mixture(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    return kl_from_logs(log_p, jnp.logaddexp(log_p, log_q) - MAX_JSD)


def _reverse_kl(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    return kl_from_logs(log_q, log_p)


def _minimax_value(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    return 2 * js_from_logs(log_p, log_q) - 2 * MAX_JSD


OPTIMA: dict[str, Optimum] = {
    "minimax": Optimum(optimal_discriminator_logits, _minimax_value, lambda log_p, log_q: 2 * js_from_logs(log_p, log_q)),
    # Arjovsky and Bottou 2017, theorem 2.5.
    "non_saturating": Optimum(
        optimal_discriminator_logits,
        _minimax_value,
        lambda log_p, log_q: _reverse_kl(log_p, log_q) - 2 * js_from_logs(log_p, log_q),
    ),
    "least_squares": Optimum(
        lambda log_p, log_q: jax.nn.sigmoid(optimal_discriminator_logits(log_p, log_q)),
        lambda log_p, log_q: triangular(log_p, log_q) / 8 - 1 / 4,
        lambda log_p, log_q: _kl_to_mixture(log_p, log_q) - triangular(log_p, log_q) / 8,
    ),
    "hinge": Optimum(
        lambda log_p, log_q: jnp.sign(optimal_discriminator_logits(log_p, log_q)),
        lambda log_p, log_q: 2 * total_variation(log_p, log_q) - 2,
        lambda log_p, log_q: 2 * total_variation(log_p, log_q),
    ),
    "relativistic": Optimum(
        optimal_discriminator_logits,
        lambda log_p, log_q: js_of_pairs(log_p, log_q) - MAX_JSD,
        lambda log_p, log_q: _reverse_kl(log_p, log_q) - js_of_pairs(log_p, log_q),
    ),
}
"""Name of an objective -> its optimum. Wasserstein's depends on distances, relativistic average's is no formula: see below."""


class Certified(NamedTuple):
    """A maximum of a concave function: the place, the value there, and the largest entry of the gradient there."""

    place: np.ndarray
    value: float
    gradient: float


def maximise_concave(function: Callable[[jax.Array], jax.Array], start: Any, *, tolerance: float = 1e-10) -> Certified:
    """Climb a smooth concave function of `[K]` by damped Newton steps in float64; the gradient certifies the result.

    Raises:
        InputError: the gradient stays above the tolerance, as where the supremum lies at infinity.
    """
    with jax.enable_x64(True):
        evaluate = jax.jit(lambda place: (function(place), jax.grad(function)(place), jax.hessian(function)(place)))
        place = jnp.asarray(start, jnp.float64)
        for _ in range(200):
            value, slope, curvature = evaluate(place)
            largest = float(jnp.max(jnp.abs(slope)))
            if largest < tolerance:
                return Certified(np.asarray(place), float(value), largest)
            # Directions without curvature, such as a common shift of all logits, have no slope either.
            step = -np.linalg.lstsq(np.asarray(curvature), np.asarray(slope), rcond=1e-13)[0]
            share = 1.0
            while share > 1e-9 and not evaluate(place + share * step)[0] >= value - 1e-15:
                share /= 2
            place = place + share * step
    raise InputError(f"no maximum in 200 steps: the gradient is still {largest:g}, and must fall below {tolerance:g}")


def relativistic_average_value(log_p: jax.Array, log_q: jax.Array, logits: jax.Array) -> jax.Array:
    """The mean of relativistic average's `disc` of any D, its logits `[K]`; concave in them, and blind to a common shift."""
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    real = jax.nn.log_sigmoid(logits - jnp.sum(q * logits))
    fake = jax.nn.log_sigmoid(jnp.sum(p * logits) - logits)
    return jnp.sum(p * real + q * fake)


def relativistic_average_optimum(p: Any, q: Any) -> Certified:
    """Return D* of relativistic average on a finite support, p and q `[K]` positive everywhere.

    Its value lies in [-2 log 2, 0], and is -2 log 2 where p = q alone: the slope at l = 0 is p - q. It is no continuous
    function of p and q: where real points of any small mass have no fake ones near, their logits can rise without bound, hence
    E_p l too, so that all fakes are told from it for nothing. It is then at least -log 2 - O(mass).

    Raises:
        InputError: an outcome has no mass, where the supremum lies at infinity.
    """
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    if not np.all(np.minimum(p, q) > 0):
        raise InputError("p and q must be positive on the same support: elsewhere the best logits are infinite")
    with jax.enable_x64(True):
        log_p, log_q = jnp.log(jnp.asarray(p)), jnp.log(jnp.asarray(q))
        return maximise_concave(lambda logits: relativistic_average_value(log_p, log_q, logits), np.zeros(len(log_p)))


def _difference_of_cdfs(p: jax.Array, q: jax.Array) -> jax.Array:
    """F_q - F_p between neighbours `[..., K - 1]`."""
    return jnp.cumsum(q - p, axis=-1)[..., :-1]


def wasserstein_on_line(p: jax.Array, q: jax.Array, points: jax.Array) -> jax.Array:
    """W1 of probabilities `[..., K]` at ascending points `[K]`: the integral of |F_p - F_q| (Vallender 1974).

    What the Wasserstein objective's D of slope at most 1 estimates: D' = sign(F_q - F_p) is optimal.
    """
    return jnp.sum(jnp.abs(_difference_of_cdfs(p, q)) * jnp.diff(points), axis=-1)


def wasserstein_with_penalty(p: jax.Array, q: jax.Array, between: jax.Array, width: float, weight: float) -> jax.Array:
    """E_p D - E_q D of the D that WGAN-GP's penalty of this weight leaves optimal: W1 + ∫ (F_p - F_q)^2 / (2 weight r).

    p, q: masses of the cells of a line `[K]`; between: the density r of the penalty's points at the cells' inner borders
    `[K - 1]`. D maximises ∫ (F_q - F_p) D' - weight r (|D'| - 1)^2 point by point in D', whose |D'| is then above 1.
    """
    apart = _difference_of_cdfs(p, q)
    return width * jnp.sum(jnp.abs(apart) + apart**2 / (2 * weight * between), axis=-1)


def sobolev_on_line(p: jax.Array, q: jax.Array, at_borders: jax.Array, width: float, weight: float) -> jax.Array:
    """E_p D - E_q D under R1 and R2 of one weight: ∫ (F_p - F_q)^2 / (weight (p + q)), a Sobolev distance (Mroueh et al. 2018).

    at_borders: the density p + q at the cells' inner borders `[K - 1]`. Here D' = (F_q - F_p) / (weight (p + q)).
    """
    return width * jnp.sum(_difference_of_cdfs(p, q) ** 2 / (weight * at_borders), axis=-1)
