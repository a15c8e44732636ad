"""What objectives estimate: closed forms beside the package's own formulas, on finite supports, and certified maxima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.objectives import OBJECTIVES
from gan_jax.theory.divergences import js_from_logs
from gan_jax.theory.f_divergences import F_DIVERGENCES, pearson, triangular, variational_bound
from gan_jax.theory.optima import (
    OPTIMA,
    js_of_pairs,
    maximise_concave,
    relativistic_average_optimum,
    relativistic_average_value,
    sobolev_on_line,
    wasserstein_on_line,
    wasserstein_with_penalty,
)

LOG_2 = np.log(2)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def pair(seed=0, count=7):
    """Log probabilities of two distributions on one support."""
    return jnp.log(jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(count), size=2)))


def mean_over_pairs(formula, log_p, log_q, real_logits, fake_logits):
    """E of an objective's formula over independent real and fake points."""
    left, right = (entry.reshape(-1) for entry in jnp.broadcast_arrays(real_logits[:, None], fake_logits[None, :]))
    weights = jnp.exp(log_p)[:, None] * jnp.exp(log_q)[None, :]
    return jnp.sum(weights.reshape(-1) * formula(left, right))


@pytest.mark.parametrize("name", OPTIMA)
def test_no_logits_beat_the_optimum_and_its_value_is_the_formula(name):
    log_p, log_q = pair()
    optimum, objective = OPTIMA[name], OBJECTIVES[name]
    best = optimum.logits(log_p, log_q)
    value = float(mean_over_pairs(objective.disc, log_p, log_q, best, best))
    assert value == pytest.approx(float(optimum.value(log_p, log_q)), abs=1e-12)
    for scale in (1e-3, 0.1, 3.0):
        noise = scale * np.random.default_rng(1).normal(size=(20, len(best)))
        assert all(float(mean_over_pairs(objective.disc, log_p, log_q, best + row, best + row)) < value for row in noise)


@pytest.mark.parametrize("name", OPTIMA)
def test_value_is_the_objectives_equilibrium_where_the_densities_agree(name):
    log_p, _ = pair()
    assert float(OPTIMA[name].value(log_p, log_p)) == pytest.approx(OBJECTIVES[name].equilibrium[0], abs=1e-12)
    assert float(OPTIMA[name].value(*pair())) > OBJECTIVES[name].equilibrium[0] + 1e-3


@pytest.mark.parametrize("name", OPTIMA)
def test_the_generator_descends_the_divergence_that_is_said(name):
    """The variation in q of G's loss at the fixed D* is that of the divergence, up to a constant along the simplex."""
    log_p, log_q = pair(seed=3)
    optimum, best = OPTIMA[name], OPTIMA[name].logits(log_p, log_q)
    of_loss = jax.grad(lambda q: mean_over_pairs(OBJECTIVES[name].gen, log_p, jnp.log(q), best, best))(jnp.exp(log_q))
    of_divergence = jax.grad(lambda q: optimum.of_gen(log_p, jnp.log(q)))(jnp.exp(log_q))
    np.testing.assert_allclose(of_loss - jnp.mean(of_loss), of_divergence - jnp.mean(of_divergence), atol=1e-12)


def test_ranking_pairs_is_certified_without_the_closed_form():
    (log_p, log_q), disc = pair(seed=5, count=9), OBJECTIVES["relativistic"].disc
    found = maximise_concave(lambda to: mean_over_pairs(disc, log_p, log_q, to, to), np.zeros(9))
    assert found.gradient < 1e-8
    assert found.value == pytest.approx(float(OPTIMA["relativistic"].value(log_p, log_q)), abs=1e-10)
    optimal = np.asarray(log_p - log_q)
    np.testing.assert_allclose(found.place - found.place.mean(), optimal - optimal.mean(), atol=1e-6)


def test_pairs_are_told_apart_at_least_as_well_as_points():
    for seed in range(10):
        log_p, log_q = pair(seed)
        assert float(js_from_logs(log_p, log_q)) < float(js_of_pairs(log_p, log_q)) < LOG_2
    apart = jnp.log(jnp.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    assert float(js_of_pairs(*apart)) == pytest.approx(LOG_2, abs=1e-12)


def test_least_squares_with_the_codes_of_chi_squared():
    """Mao et al. 2017 theorem 1: with codes -1, 1, 0 G's loss is half Pearson's χ² of p + q and 2q: the triangular one."""
    log_p, log_q = pair()
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    best = (p - q) / (p + q)  # maximises -(l - 1)² p - (l + 1)² q
    loss = jnp.sum(p * best**2 + q * best**2) / 2
    assert float(2 * loss) == pytest.approx(float(triangular(log_p, log_q)), abs=1e-12)
    mixture = jnp.log((p + q) / 2)
    assert float(triangular(log_p, log_q)) == pytest.approx(float(2 * pearson(log_q, mixture)), abs=1e-12)


def test_relativistic_average_is_certified_and_not_continuous():
    log_p, log_q = pair()
    p, q = np.exp(log_p), np.exp(log_q)
    found = relativistic_average_optimum(p, q)
    assert found.gradient < 1e-8
    assert -2 * LOG_2 < found.value < 0
    assert relativistic_average_optimum(p, p).value == pytest.approx(-2 * LOG_2, abs=1e-12)
    noise = 0.1 * np.random.default_rng(1).normal(size=(20, len(p)))
    assert all(float(relativistic_average_value(log_p, log_q, found.place + row)) < found.value for row in noise)
    # One real point in a thousand that no fake is near: TV 0.001, and yet the value leaves -2 log 2 by log 2.
    rare = np.array([0.999, 0.001]), np.array([1 - 1e-12, 1e-12])
    assert relativistic_average_optimum(*rare).value > -LOG_2 - 0.05
    with pytest.raises(InputError, match="positive on the same support"):
        relativistic_average_optimum(np.array([0.5, 0.5]), np.array([1.0, 0.0]))


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_variational_bound_is_tight_at_its_witness_and_a_bound_elsewhere(name):
    divergence, (log_p, log_q) = F_DIVERGENCES[name], pair()
    ratio = jnp.exp(log_p - log_q)
    by_definition = float(jnp.sum(jnp.exp(log_q) * divergence.generator(ratio)))
    exact = float(divergence.from_logs(log_p, log_q))
    assert by_definition == pytest.approx(exact, abs=1e-12)
    assert float(divergence.from_logs(log_p, log_p)) == pytest.approx(0.0, abs=1e-12)
    assert float(variational_bound(divergence, log_p, log_q, divergence.witness(ratio))) == pytest.approx(exact, abs=1e-12)
    for row in np.random.default_rng(1).normal(size=(20, len(ratio))):
        elsewhere = divergence.witness(ratio * jnp.exp(0.5 * row))  # stays in the conjugate's domain
        assert float(variational_bound(divergence, log_p, log_q, elsewhere)) <= exact + 1e-12


def test_distances_on_a_line():
    points = jnp.array([0.0, 1.0, 3.0])
    p, q = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.25, 0.25, 0.5])
    assert float(wasserstein_on_line(p, q, points)) == pytest.approx(0.25 * 1 + 0.5 * 3)
    # Best slopes by a search over each cell's: the objective with its penalty is a sum over the cells.
    width, weight, inner = 0.5, 2.0, np.array([0.3, 0.7])
    apart, slopes = np.cumsum(np.asarray(q - p))[None, :-1], np.linspace(-4, 4, 80_001)[:, None]
    with_gp = apart * slopes - weight * inner[None] * (np.abs(slopes) - 1) ** 2
    with_r1_r2 = apart * slopes - weight / 2 * inner[None] * slopes**2
    for formula, goal in ((wasserstein_with_penalty, with_gp), (sobolev_on_line, with_r1_r2)):
        best = slopes[np.argmax(goal, axis=0), 0]
        assert float(formula(p, q, jnp.asarray(inner), width, weight)) == pytest.approx(
            width * np.sum(apart[0] * best), abs=1e-3
        )
