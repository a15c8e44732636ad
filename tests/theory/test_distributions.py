"""Densities: what `sample` draws is what `log_prob` says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.theory.distributions import GaussianMixture, gaussian, grid, ring


@pytest.mark.parametrize(("mixture", "extent"), [(ring(stddev=0.1), 2.0), (grid(stddev=0.3), 6.0)])
def test_density_integrates_to_one(mixture, extent):
    ticks = jnp.linspace(-extent, extent, 400)
    points = jnp.stack(jnp.meshgrid(ticks, ticks), axis=-1)
    cell = float(ticks[1] - ticks[0]) ** 2
    assert float(jnp.sum(jnp.exp(mixture.log_prob(points)))) * cell == pytest.approx(1.0, abs=1e-3)


def test_log_prob_is_that_of_a_gaussian_mixture():
    mixture = GaussianMixture(np.array([[0.0], [3.0]]), 0.5)
    x = 1.2
    normal = lambda mean: np.exp(-((x - mean) ** 2) / (2 * 0.5**2)) / (0.5 * np.sqrt(2 * np.pi))  # noqa: E731
    of_lists = GaussianMixture([[0.0], [3.0]], 0.5)
    assert of_lists.sample(jax.random.key(0), (3,)).tolist() == mixture.sample(jax.random.key(0), (3,)).tolist()
    assert float(mixture.log_prob(jnp.array([x]))) == pytest.approx(np.log((normal(0.0) + normal(3.0)) / 2), rel=1e-5)


@pytest.mark.parametrize("mixture", [ring(), grid()])
def test_samples_fall_on_all_modes_evenly_with_the_stated_spread(mixture):
    points = np.asarray(mixture.sample(jax.random.key(0), (20_000,)))
    distances = np.linalg.norm(points[:, None] - mixture.means, axis=-1)
    share = np.bincount(distances.argmin(axis=-1), minlength=len(mixture.means)) / len(points)
    np.testing.assert_allclose(share, 1 / len(mixture.means), rtol=0.15)
    offsets = points - mixture.means[distances.argmin(axis=-1)]
    assert np.std(offsets) == pytest.approx(mixture.stddev, rel=0.02)
    # Two dimensions, 3 sigma: 1 - exp(-9/2), the ceiling of any high-quality share.
    assert np.mean(distances.min(axis=-1) < 3 * mixture.stddev) == pytest.approx(0.9889, abs=0.003)


def test_places_of_the_modes():
    np.testing.assert_allclose(np.linalg.norm(ring().means, axis=-1), 1.0)
    assert len(ring().means) == 8
    assert sorted(map(tuple, grid().means)) == sorted((float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2))


def test_weights_and_widths_of_the_components():
    mixture = GaussianMixture(np.array([[0.0, 0.0], [5.0, 5.0]]), np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([0.25, 0.75]))
    points = np.asarray(mixture.sample(jax.random.key(0), (20_000,)))
    second = points[:, 0] > 2.5
    assert np.mean(second) == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(np.std(points[second], axis=0), [0.3, 0.4], rtol=0.03)
    at_mean = np.log(0.75) - np.log(2 * np.pi * 0.3 * 0.4)
    assert float(mixture.log_prob(jnp.array([5.0, 5.0]))) == pytest.approx(at_mean, abs=1e-5)


def test_one_gaussian():
    density = gaussian([1.0, 2.0], [0.5, 2.0])
    by_hand = -np.log(2 * np.pi * 0.5 * 2.0) - 0.5 * (2.0**2 + 0.5**2)
    assert float(density.log_prob(jnp.array([2.0, 3.0]))) == pytest.approx(by_hand, rel=1e-6)
