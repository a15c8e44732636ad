"""Mode statistics: closed forms of a perfect sampler, of one that misses modes, of one that strays."""

import jax
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import mode_statistics
from gan_jax.theory.distributions import GaussianMixture, grid, ring
from gan_jax.theory.divergences import MAX_JSD


@pytest.mark.parametrize("density", [ring(), grid()])
def test_a_perfect_sampler_reaches_the_ceilings(density):
    samples = density.sample(jax.random.key(0), (20_000,))
    found = mode_statistics(samples, density.means, density.stddev)
    assert found.modes == len(density.means)
    assert found.high_quality == pytest.approx(1 - np.exp(-4.5), abs=0.003)
    assert found.reverse_kl == pytest.approx((len(density.means) - 1) / (2 * 20_000), rel=0.6)
    assert 0 < found.js < 1e-3


def test_half_of_the_modes_are_log_2_away_and_strays_do_not_count():
    density = ring()
    samples = np.repeat(density.means[:4], 10, axis=0)
    found = mode_statistics(samples, density.means, density.stddev)
    assert (found.modes, found.high_quality) == (4, 1.0)
    assert found.reverse_kl == pytest.approx(np.log(2))
    strayed = mode_statistics(np.concatenate([samples, samples + 0.05]), density.means, density.stddev)
    assert (strayed.modes, strayed.high_quality) == (4, 0.5)
    assert strayed.reverse_kl == pytest.approx(np.log(2))
    assert strayed.js > found.js


def test_weights_are_those_of_the_mixture_and_its_components_have_one_width():
    density = GaussianMixture(np.array([[-1.0, 0.0], [1.0, 0.0]]), np.full((2, 2), 0.1), np.array([0.9, 0.1]))
    samples = density.sample(jax.random.key(0), (20_000,))
    found = mode_statistics(samples, *density)
    assert max(found.js, found.reverse_kl) < 1e-3
    assert mode_statistics(samples, density.means, 0.1).reverse_kl == pytest.approx(0.368, abs=0.02)  # log 2 − H(0.9)
    with pytest.raises(InputError, match=r"stddev \[0.1, 0.2\]: mode statistics need one width"):
        mode_statistics(samples, density.means, [0.1, 0.2])


def test_points_at_the_edge_of_each_shell_and_none_inside():
    mean = np.zeros((1, 2))
    radii = np.array([0.99, 1.01, 1.99, 2.01, 2.99, 3.01])
    found = mode_statistics(np.stack([radii, 0 * radii], axis=-1), mean, 1.0)
    assert found.high_quality == pytest.approx(5 / 6)
    nowhere = mode_statistics(np.full((3, 2), 9.0), mean, 1.0)
    assert (nowhere.modes, nowhere.high_quality) == (0, 0.0)
    assert np.isnan(nowhere.reverse_kl)
    assert 0.6 < nowhere.js < MAX_JSD


@pytest.mark.parametrize("samples", [np.zeros((0, 2)), np.zeros(3), np.full((1, 2), np.nan)])
def test_bad_samples_are_refused(samples):
    with pytest.raises(InputError, match="must be"):
        mode_statistics(samples, np.zeros((1, 2)), 1.0)
