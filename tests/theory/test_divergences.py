"""Divergences against closed forms: identities 1 and 4 on finite supports, by quadrature and from samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.theory.distributions import gaussian, ring
from gan_jax.theory.divergences import (
    MAX_JSD,
    cells,
    estimate,
    integrate,
    js_divergence,
    js_from_logs,
    kl_divergence,
    kl_from_logs,
    optimal_discriminator_logits,
    value_at_optimum,
    value_from_logs,
)

LOG_4 = np.log(4)


class UnitInterval(NamedTuple):
    """The uniform density on [low, low + 1]: its support ends, as a Gaussian's does not."""

    low: float

    def sample(self, rng, shape=()):
        return self.low + jax.random.uniform(rng, (*shape, 1))

    def log_prob(self, points):
        return jax.scipy.stats.uniform.logpdf(points[..., 0], self.low)


def random_vectors(support, concentration=0.3):
    """Fifty pairs of probability vectors `[2, 50, support]`, a third of the entries exactly 0."""
    rng = np.random.default_rng(support)
    vectors = rng.dirichlet(np.full(support, concentration), size=(2, 50)) * (rng.random((2, 50, support)) > 0.3)
    vectors[..., 0] += 1e-3
    return vectors / vectors.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("support", [2, 10, 1000])
def test_value_at_the_optimum_is_twice_the_jsd_less_log_4(support):
    """Identity 1: V by way of D* = p/(p + q), the JSD by way of the mixture."""
    p, q = random_vectors(support)
    np.testing.assert_allclose(value_at_optimum(p, q), 2 * js_divergence(p, q) - LOG_4, rtol=0, atol=1e-12)


def test_formulas_on_two_outcomes():
    p, q = [0.5, 0.5], [0.25, 0.75]
    kl = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert float(kl_divergence(p, q)) == pytest.approx(kl, rel=1e-12)
    by_hand = 0.5 * (0.5 * np.log(4 / 3) + 0.5 * np.log(4 / 5)) + 0.5 * (0.25 * np.log(2 / 3) + 0.75 * np.log(6 / 5))
    assert float(js_divergence(p, q)) == pytest.approx(by_hand, rel=1e-12)
    np.testing.assert_allclose(jax.nn.sigmoid(optimal_discriminator_logits(jnp.log(0.5), jnp.log(0.25))), 2 / 3, rtol=1e-6)


def test_jsd_is_symmetric_bounded_and_nought_only_on_the_diagonal():
    """Identity 4."""
    p, q = random_vectors(10)
    np.testing.assert_allclose(js_divergence(p, q), js_divergence(q, p), rtol=0, atol=1e-14)
    assert np.all(js_divergence(p, q) > 0)
    assert np.all(js_divergence(p, q) <= MAX_JSD)
    np.testing.assert_allclose(js_divergence(p, p), 0.0, atol=1e-15)
    assert np.any(kl_divergence(p, q) == np.inf)


def test_disjoint_supports_are_exact():
    p, q = [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]
    assert float(js_divergence(p, q)) == MAX_JSD
    assert float(value_at_optimum(p, q)) == 0.0
    assert float(kl_divergence(p, q)) == float(kl_divergence(q, p)) == np.inf


def test_no_discriminator_beats_the_optimal_one():
    """Identity 2."""
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(10), size=(2, 50))
    log_p, log_q = jnp.log(p), jnp.log(q)
    for scale in (0.03, 1.0, 10.0):
        logits = optimal_discriminator_logits(log_p, log_q) + scale * rng.normal(size=p.shape)
        assert np.all(value_from_logs(log_p, log_q, logits) < value_at_optimum(p, q))


def test_gradients_of_the_traceable_forms_are_finite_where_mass_is_missing():
    log_p, log_q = jnp.log(jnp.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]]))
    for formula in (kl_from_logs, js_from_logs):
        slopes = jax.grad(lambda logs, formula=formula: formula(log_p, jax.nn.log_softmax(logs)))(jnp.zeros(3))
        assert np.all(np.isfinite(slopes))
    assert float(js_from_logs(log_p, log_q)) == pytest.approx(float(js_divergence(np.exp(log_p), np.exp(log_q))), abs=1e-6)


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.7, 0.7], "p sums to 1.4"),
        ([1.5, -0.5], "p has a negative entry, -0.5"),
        ([np.nan, 1.0], "p must be a vector"),
        ([0.2, 0.3, 0.5], "p has 3 outcomes, q has 2"),
    ],
)
@pytest.mark.parametrize("formula", [kl_divergence, js_divergence, value_at_optimum])
def test_what_is_no_distribution_is_refused(formula, p, message):
    with pytest.raises(InputError, match=message):
        formula(p, [0.5, 0.5])


@pytest.mark.parametrize(("stddev", "dimensions"), [(1.0, 1), (0.01, 1), (0.01, 2)])
def test_quadrature_of_gaussians_is_the_closed_form(stddev, dimensions):
    """KL = |m1 − m2|²/(2 s²) for equal widths; identity 1; the box is 500 standard deviations wide."""
    p, q = gaussian(np.zeros(dimensions), stddev), gaussian(np.full(dimensions, 1.5 * stddev), stddev)
    box = np.full(dimensions, max(8 * stddev, 2.5))
    found = integrate(p.log_prob, q.log_prob, -box, box)
    assert found.kl == pytest.approx(dimensions * 1.5**2 / 2, abs=1e-4)
    assert found.reverse_kl == pytest.approx(dimensions * 1.5**2 / 2, abs=1e-4)
    assert found.value_at_optimum == pytest.approx(2 * found.js - LOG_4, abs=1e-10)


def test_quadrature_far_apart_keeps_kl_finite_and_of_uniform_densities_makes_it_infinite():
    p, q = gaussian(np.zeros(1), 1.0), gaussian(np.full(1, 60.0), 1.0)
    found = integrate(p.log_prob, q.log_prob, [-10.0], [70.0])
    assert found.kl == pytest.approx(1800.0, abs=1e-4)  # q underflows there, its logarithm does not
    assert found.js == pytest.approx(MAX_JSD, abs=1e-10)
    apart = UnitInterval(0.0), UnitInterval(2.0)
    found = integrate(*(density.log_prob for density in apart), [-1.0], [3.0])
    assert (found.kl, found.reverse_kl, found.value_at_optimum) == (np.inf, np.inf, 0.0)
    assert found.js == pytest.approx(MAX_JSD, abs=1e-5)


def test_quadrature_refuses_a_box_without_the_mass():
    p, q = gaussian(np.zeros(1), 1.0), gaussian(np.full(1, 5.0), 1.0)
    with pytest.raises(InputError, match=r"q has mass 0\.5"):
        integrate(p.log_prob, q.log_prob, [-5.0], [5.0])
    with pytest.raises(InputError, match="in 3 dimensions"):
        integrate(p.log_prob, q.log_prob, np.zeros(3), np.ones(3))
    with pytest.raises(InputError, match="low < high"):
        cells([0.0, 1.0], [1.0, 1.0], 4)


def test_samples_agree_with_quadrature_to_their_standard_error():
    p, q = ring(stddev=0.1), ring(radius=0.9, stddev=0.15)
    exact = integrate(p.log_prob, q.log_prob, [-2.0, -2.0], [2.0, 2.0])
    found, errors = estimate(p, q, jax.random.key(0), 20_000)
    for name in exact._fields:
        assert abs(getattr(found, name) - getattr(exact, name)) < 4 * getattr(errors, name)
        assert 0 < getattr(errors, name) < 0.05
    assert errors.value_at_optimum == pytest.approx(2 * errors.js, rel=1e-3)  # V is 2·JSD − log 4, sample by sample
    rough = estimate(p, q, jax.random.key(1), 200)[1]
    assert rough.js == pytest.approx(10 * errors.js, rel=0.3)


def test_samples_of_disjoint_densities():
    found, errors = estimate(UnitInterval(0.0), UnitInterval(2.0), jax.random.key(0), 100)
    assert (found.kl, found.reverse_kl, found.value_at_optimum) == (np.inf, np.inf, 0.0)
    assert found.js == pytest.approx(MAX_JSD, abs=1e-6)
    assert errors == (0.0, 0.0, 0.0, 0.0)
