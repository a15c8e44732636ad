"""KL, JSD and the optimal discriminator of known distributions, in log space, in nats.

`p` is the data, `q` the generator. Three ways, one set of formulas: on finite supports (probability vectors), of densities
by quadrature (cells of a box are a finite support), and from samples of densities, with the standard error.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError
from gan_jax.theory.distributions import Density

LogProb = Callable[[jax.Array], jax.Array]

MAX_JSD = math.log(2.0)
"""The JSD of distributions with disjoint supports, where V(D*, G) = 0."""

_CELLS_PER_SIDE = {1: (2**12, 2**18), 2: (2**6, 2**11)}  # dimensions -> of the first round, of the last
_CHUNK = 2**16  # points whose densities are in memory at once


class Divergences(NamedTuple):
    """KL(p‖q), KL(q‖p), JSD(p‖q) and V(D*, G), all of one pair. `estimate` gives a second tuple, of standard errors."""

    kl: Any
    reverse_kl: Any
    js: Any
    value_at_optimum: Any


def optimal_discriminator_logits(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """The logit of D* = p/(p + q): log p − log q (notes 000 eq. 14). Where both are 0 any D is optimal: 0 is returned."""
    outside = jnp.isneginf(log_p) & jnp.isneginf(log_q)
    return jnp.where(outside, 0.0, log_p) - jnp.where(outside, 0.0, log_q)


def _log_mixture(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """log (p + q)/2; the argument of both KLs in the JSD (notes 000 eq. 17; notes 002 section 1.5 misprint it)."""
    return jnp.logaddexp(log_p, log_q) - MAX_JSD


def _mean_under(log_p: jax.Array, numbers: jax.Array) -> jax.Array:
    """E_p over the last axis, where 0 · inf = 0."""
    p = jnp.exp(log_p)
    return jnp.sum(p * jnp.where(p > 0, numbers, 0.0), axis=-1)


def kl_from_logs(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p‖q) of log probabilities `[..., K]`, unchecked and traceable; inf where q is 0 and p is not."""
    return _mean_under(log_p, optimal_discriminator_logits(log_p, log_q))


def js_from_logs(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """JSD(p‖q) of log probabilities `[..., K]`, unchecked and traceable."""
    log_m = _log_mixture(log_p, log_q)
    return (kl_from_logs(log_p, log_m) + kl_from_logs(log_q, log_m)) / 2


def value_from_logs(log_p: jax.Array, log_q: jax.Array, logits: jax.Array) -> jax.Array:
    """V(D, G) = E_p log D + E_q log(1 − D) of any D, its logits `[..., K]`; unchecked and traceable (notes 000 eq. 6)."""
    return _mean_under(log_p, jax.nn.log_sigmoid(logits)) + _mean_under(log_q, jax.nn.log_sigmoid(-logits))


@jax.jit
def _all_from_logs(log_p: jax.Array, log_q: jax.Array) -> Divergences:
    return Divergences(
        kl=kl_from_logs(log_p, log_q),
        reverse_kl=kl_from_logs(log_q, log_p),
        js=js_from_logs(log_p, log_q),
        value_at_optimum=value_from_logs(log_p, log_q, optimal_discriminator_logits(log_p, log_q)),
    )


def _log_probabilities(name: str, vector: Any) -> np.ndarray:
    vector = np.asarray(vector, np.float64)
    if vector.ndim == 0 or not np.all(np.isfinite(vector)):
        raise InputError(f"{name} must be a vector of finite probabilities")
    if np.any(vector < 0):
        raise InputError(f"{name} has a negative entry, {vector.min():g}, and must be probabilities")
    total = vector.sum(axis=-1)
    if not np.allclose(total, 1.0, rtol=0.0, atol=1e-5):  # float32 vectors are welcome
        worst = np.ravel(total)[np.abs(np.ravel(total) - 1).argmax()]
        raise InputError(f"{name} sums to {worst:g}: divide it by its sum")
    with np.errstate(divide="ignore"):
        return np.log(vector)


def _on_support(p: Any, q: Any, formula: Callable[[jax.Array, jax.Array], Any]) -> Any:
    log_p, log_q = _log_probabilities("p", p), _log_probabilities("q", q)
    if log_p.shape[-1] != log_q.shape[-1]:
        raise InputError(f"p has {log_p.shape[-1]} outcomes, q has {log_q.shape[-1]}: both must have the same support")
    with jax.enable_x64(True):
        return jax.device_get(formula(*map(jnp.asarray, np.broadcast_arrays(log_p, log_q))))


def kl_divergence(p: Any, q: Any) -> np.ndarray:
    """KL(p‖q) of probability vectors `[..., K]` -> float64 `[...]`; inf where p has mass and q has none.

    Raises:
        InputError: an entry is negative, or a vector does not sum to 1. Traced arrays: see `kl_from_logs`.
    """
    return np.asarray(_on_support(p, q, kl_from_logs))


def js_divergence(p: Any, q: Any) -> np.ndarray:
    """JSD(p‖q), in [0, log 2], of probability vectors `[..., K]` -> float64 `[...]`; errors as `kl_divergence`."""
    return np.asarray(_on_support(p, q, js_from_logs))


def value_at_optimum(p: Any, q: Any) -> np.ndarray:
    """V(D*, G), by way of D*, of probability vectors `[..., K]` -> float64 `[...]`; 2·JSD − log 4 (notes 000 eq. 21)."""
    return np.asarray(_on_support(p, q, lambda *logs: _all_from_logs(*logs).value_at_optimum))


def cells(low: Any, high: Any, count: int) -> tuple[np.ndarray, float]:
    """The box from low `[D]` to high `[D]` in `count` cells a side: midpoints float64 `[count**D, D]`, log volume of one.

    Raises:
        InputError: corners of different shapes, or without low < high in a coordinate.
    """
    low, high = np.atleast_1d(np.asarray(low, np.float64)), np.atleast_1d(np.asarray(high, np.float64))
    if low.shape != high.shape or not np.all(low < high):
        raise InputError(f"the box from {low} to {high}: its corners must have low < high in every coordinate")
    width = (high - low) / count
    axes = [start + step * (np.arange(count) + 0.5) for start, step in zip(low, width, strict=True)]
    midpoints = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(low))
    return midpoints, float(np.sum(np.log(width)))


def integrate(log_p: LogProb, log_q: LogProb, low: Any, high: Any, *, tolerance: float = 1e-5) -> Divergences:
    """Divergences of two densities in 1-D or 2-D by the midpoint rule, float64, on cells that are halved until nothing moves.

    low, high: `[D]`, a box that holds the mass of both. tolerance: of the masses and of each result between two rounds; the
    rule converges faster than any power of the cell's side on smooth densities, such as Gaussians of any width.

    Raises:
        InputError: the box does not hold the mass (1 to within 1e-4) of a density, or the cells become too many.
    """
    evaluate = jax.jit(lambda points: jnp.stack([log_p(points), log_q(points)]))
    dimensions = np.atleast_1d(low).shape[0]
    if dimensions not in _CELLS_PER_SIDE:
        raise InputError(f"quadrature in {dimensions} dimensions: there must be 1 or 2; `estimate` has no such limit")
    count, last = _CELLS_PER_SIDE[dimensions]
    previous: np.ndarray | None = None
    with jax.enable_x64(True):
        while count <= last:
            points, log_volume = cells(low, high, count)
            chunks = np.array_split(points, -(-len(points) // _CHUNK))
            logs = jnp.asarray(np.concatenate([evaluate(jnp.asarray(chunk)) for chunk in chunks], axis=-1) + log_volume)
            masses = np.exp(jax.nn.logsumexp(logs, axis=-1))
            results = np.array([*masses, *_all_from_logs(*logs)], np.float64)
            same = previous is not None and np.allclose(results, previous, rtol=tolerance, atol=tolerance)
            if same and np.all(np.abs(masses - 1) < 1e-4):
                return Divergences(*(float(number) for number in results[2:]))
            previous, count = results, 2 * count
    for name, mass in zip("pq", masses, strict=True):
        if not abs(mass - 1) < 1e-4:
            raise InputError(f"{name} has mass {mass:.6g} on the box from {low} to {high}: the box must hold it")
    raise InputError(f"no convergence to {tolerance:g} in {last} cells a side: choose a smaller box or a larger tolerance")


def estimate(p: Density, q: Density, rng: jax.Array, num: int) -> tuple[Divergences, Divergences]:
    """Monte Carlo: the divergences from `num` samples of each density, and their standard errors.

    An infinite KL is certain (p was seen where q is 0): its error is 0.
    """
    on_p, on_q = (density.sample(key, (num,)) for density, key in zip((p, q), jax.random.split(rng), strict=True))
    log_p, log_q = ((p.log_prob(points), q.log_prob(points)) for points in (on_p, on_q))

    def mean(*terms: tuple[float, jax.Array]) -> tuple[float, float]:
        total = sum(weight * float(np.mean(np.asarray(term, np.float64))) for weight, term in terms)
        if not math.isfinite(total):
            return total, 0.0
        variances = (weight**2 * float(np.var(np.asarray(term, np.float64), ddof=1)) for weight, term in terms)
        return total, math.sqrt(sum(variances) / num)

    logits_on_p, logits_on_q = optimal_discriminator_logits(*log_p), optimal_discriminator_logits(*log_q)
    results = Divergences(
        kl=mean((1.0, logits_on_p)),
        reverse_kl=mean((1.0, -logits_on_q)),
        js=mean((0.5, log_p[0] - _log_mixture(*log_p)), (0.5, log_q[1] - _log_mixture(*log_q))),
        value_at_optimum=mean((1.0, jax.nn.log_sigmoid(logits_on_p)), (1.0, jax.nn.log_sigmoid(-logits_on_q))),
    )
    return Divergences(*(number for number, _ in results)), Divergences(*(error for _, error in results))
