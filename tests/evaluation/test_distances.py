"""Fréchet and kernel distance: closed forms, invariances, and plain references written from the formulas."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics.pairwise import polynomial_kernel

from gan_jax.evaluation import metrics


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def correlated(num, dimensions, seed):
    return normal(num, dimensions, seed=seed) @ normal(dimensions, dimensions, seed=seed + 1) + normal(dimensions, seed=seed)


def frechet(real, fake):
    return metrics.frechet_distance(metrics.moments(real), metrics.moments(fake))


# Fréchet distance


def test_moments_stream_in_any_order():
    features = correlated(300, 5, seed=0) + 1e4
    whole = metrics.moments(features)
    assert whole.num == 300
    np.testing.assert_allclose(whole.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(whole.scatter / 299, np.cov(features.T), rtol=1e-9)
    a, b, c = (metrics.moments(part) for part in np.split(features, [1, 120]))
    for merged in (
        metrics.merge(metrics.merge(a, b), c),
        metrics.merge(a, metrics.merge(b, c)),
        metrics.merge(c, metrics.merge(b, a)),
    ):
        assert merged.num == 300
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-14)
        np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9)


def test_moments_of_many_rows_in_float32_are_of_float64():
    features = (normal(9000, 3) + 1000).astype(np.float32)
    np.testing.assert_allclose(metrics.moments(features).scatter / 8999, np.cov(features.T.astype(np.float64)), rtol=1e-9)


def test_frechet_of_diagonal_gaussians():
    """|μ₁ − μ₂|² + Σ(σ₁ − σ₂)²."""
    means, stddevs = normal(2, 6), np.exp(normal(2, 6, seed=1))
    left, right = (metrics.Moments(100, mean, np.diag(99 * stddev**2)) for mean, stddev in zip(means, stddevs, strict=True))
    expected = np.sum((means[0] - means[1]) ** 2 + (stddevs[0] - stddevs[1]) ** 2)
    assert metrics.frechet_distance(left, right) == pytest.approx(expected, rel=1e-12)
    assert metrics.frechet_distance(left, left) == pytest.approx(0, abs=1e-12)


def test_frechet_is_the_formula_with_the_matrix_square_root():
    real, fake = correlated(500, 40, seed=2), correlated(400, 40, seed=4)
    covariances = np.cov(real.T), np.cov(fake.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet(real, fake) == pytest.approx(expected, rel=1e-9)


def test_frechet_does_not_change_with_order_or_frame():
    real, fake = correlated(200, 8, seed=2), correlated(150, 8, seed=4)
    rotation, _ = np.linalg.qr(normal(8, 8))
    expected = frechet(real, fake)
    assert frechet(fake, real) == pytest.approx(expected, rel=1e-10)
    assert frechet(real[::-1], fake) == pytest.approx(expected, rel=1e-10)
    assert frechet(real @ rotation + 50, fake @ rotation + 50) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_equal_moments_is_zero_and_not_below():
    for seed in range(10):
        real = correlated(100, 6, seed=seed)
        assert 0 <= frechet(real, real) < 1e-10


def test_frechet_of_fewer_samples_than_dimensions_warns_and_holds():
    """Rank-deficient: rows in three of 60 dimensions, turned into all, against rows in all of them, and against themselves."""
    rotation, _ = np.linalg.qr(normal(60, 60, seed=2))
    in_three, in_all = normal(20, 60) * (np.arange(60) < 3), normal(500, 60, seed=1)
    flat, full = in_three @ rotation, in_all @ rotation
    with pytest.warns(UserWarning, match="real: 20 samples of 60 dimensions"):
        found = frechet(flat, full)
    with pytest.warns(UserWarning, match="singular"):
        assert frechet(full, flat) == pytest.approx(found, rel=1e-10)
    with pytest.warns(UserWarning, match="singular"):
        assert frechet(flat, flat) == pytest.approx(0, abs=1e-12)
    covariances = np.cov(in_three[:, :3].T), np.cov(in_all.T)  # Σ₁ is 0 elsewhere: only the 3 × 3 blocks overlap
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1][:3, :3]).real
    expected = np.sum((flat.mean(axis=0) - full.mean(axis=0)) ** 2) + sum(map(np.trace, covariances)) - 2 * np.trace(root)
    assert found == pytest.approx(expected, rel=1e-9)


def test_frechet_of_a_collapsed_generator_is_the_spread_of_the_data():
    real = normal(50, 4)
    expected = np.sum((real.mean(axis=0) - 3) ** 2) + np.trace(np.cov(real.T))
    assert frechet(real, np.full((50, 4), 3.0)) == pytest.approx(expected, rel=1e-12)


# Kernel distance


def test_kernel_distance_of_whole_sets_is_the_double_loop():
    real, fake = normal(12, 5), 1.5 * normal(12, 5, seed=1) + 0.3
    kernel = lambda x, y: (x @ y / 5 + 1) ** 3  # noqa: E731
    within = [kernel(side[i], side[j]) for side in (real, fake) for i, j in itertools.permutations(range(12), 2)]
    across = [kernel(x, y) for x, y in itertools.product(real, fake)]
    found = metrics.kernel_distance(real, fake, subsets=2, subset_size=12)
    assert found.mean == pytest.approx(sum(within) / (12 * 11) - 2 * np.mean(across), abs=1e-10)
    assert found.standard_error == pytest.approx(0, abs=1e-12)


def test_kernel_distance_of_float32_features_is_of_float64():
    """Beside scikit-learn's kernel, at features' usual scale."""
    real, fake = (np.abs(normal(300, 256, seed=seed)).astype(np.float32) for seed in (0, 1))
    found = metrics.kernel_distance(real, fake, subsets=2, subset_size=300)
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    options = {"degree": 3, "gamma": 1 / 256, "coef0": 1}
    within = [polynomial_kernel(side, **options) for side in (real, fake)]
    expected = (
        sum(kernel[~np.eye(300, dtype=bool)].mean() for kernel in within) - 2 * polynomial_kernel(real, fake, **options).mean()
    )
    assert found.mean == pytest.approx(expected, abs=1e-8)


def test_kernel_distance_is_that_of_three_moments():
    """In one dimension the kernel is 1 + 3xy + 3x²y² + x³y³: N(0, 1) and N(m, 1) are 3m² + 3m⁴ + (m³ + 3m)² apart."""
    real, fake, m = normal(100_000, 1), normal(100_000, 1, seed=1) + 0.5, 0.5
    found = metrics.kernel_distance(real, fake, subsets=200, subset_size=300)
    assert found.mean == pytest.approx(3 * m**2 + 3 * m**4 + (m**3 + 3 * m) ** 2, abs=4 * found.standard_error)
    same = metrics.kernel_distance(real, normal(100_000, 1, seed=2), subsets=200, subset_size=300)
    assert abs(same.mean) < 4 * same.standard_error


def test_kernel_distance_takes_the_subsets_of_torch_fidelity():
    """By its seed, 2020: rows of fake, its input 1, then rows of real, for each subset in turn."""
    real, fake = normal(50, 3), normal(40, 3, seed=1)
    rng, each = np.random.RandomState(2020), []
    for _ in range(4):
        of_fake, of_real = (side[rng.choice(len(side), 10, replace=False)] for side in (fake, real))
        each.append(metrics.kernel_distance(of_real, of_fake, subsets=2, subset_size=10).mean)
    found = metrics.kernel_distance(real, fake, subsets=4, subset_size=10)
    assert found == pytest.approx((np.mean(each), np.std(each, ddof=1) / 2), rel=1e-9)


def test_kernel_distance_is_a_function_of_the_seed_and_its_error_is_the_spread_over_seeds():
    real, fake = normal(200, 3), normal(300, 3, seed=1)
    found = [metrics.kernel_distance(real, fake, subsets=10, subset_size=20, seed=seed) for seed in range(60)]
    assert metrics.kernel_distance(real, fake, subsets=10, subset_size=20, seed=7) == found[7]
    means, errors = np.transpose(found)
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.3)
