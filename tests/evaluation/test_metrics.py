"""Measures of samples: closed forms, invariances, and plain references written from the formulas."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import KernelDensity

from gan_jax.errors import InputError
from gan_jax.evaluation import metrics
from gan_jax.evaluation.metrics import distances


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def correlated(num, dimensions, seed):
    return normal(num, dimensions, seed=seed) @ normal(dimensions, dimensions, seed=seed + 1) + normal(dimensions, seed=seed)


def frechet(real, fake):
    return metrics.frechet_distance(metrics.moments(real), metrics.moments(fake))


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks each way, the last ones ragged."""
    monkeypatch.setattr(distances, "_ENTRIES", 2**11)


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


def test_kernel_distance_is_a_function_of_the_seed_and_its_error_is_the_spread_over_seeds():
    real, fake = normal(200, 3), normal(300, 3, seed=1)
    found = [metrics.kernel_distance(real, fake, subsets=10, subset_size=20, seed=seed) for seed in range(60)]
    assert metrics.kernel_distance(real, fake, subsets=10, subset_size=20, seed=7) == found[7]
    means, errors = np.transpose(found)
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.3)


# Precision, recall, density, coverage


def plain_precision_recall(real, fake, k):
    """The formulas on matrices of direct distances, inequalities and self-neighbour as in the package prdc."""
    distance = lambda x, y: np.sqrt(np.sum((x[:, None].astype(np.float64) - y) ** 2, axis=-1))  # noqa: E731
    real_radii, fake_radii = (np.sort(distance(side, side), axis=1)[:, k] for side in (real, fake))
    across = distance(real, fake)
    in_real = across < real_radii[:, None]
    return metrics.PrecisionRecall(
        precision=in_real.any(axis=0).mean(),
        recall=(across < fake_radii).any(axis=1).mean(),
        density=in_real.sum(axis=0).mean() / k,
        coverage=(across.min(axis=1) < real_radii).mean(),
    )


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_recall_is_the_plain_reference(k, dtype):
    real = normal(230, 12).astype(dtype)
    fake = (0.8 * normal(170, 12, seed=1) + 0.4).astype(dtype)
    found = metrics.precision_recall(real, fake, neighbours=k)
    assert found == pytest.approx(plain_precision_recall(real, fake, k), rel=1e-15)
    assert 0 < min(found) < 1
    assert len({*found}) == 4


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("offset", [0, 1e5])
def test_precision_recall_where_distances_tie(offset):
    """On a lattice, with duplicates, and of a set of copies, most comparisons are of equal numbers."""
    lattice = np.random.default_rng(0).integers(0, 4, (150, 7)) / 8 + offset
    other = np.random.default_rng(1).integers(0, 4, (120, 7)) / 8 + offset
    assert metrics.precision_recall(lattice, other) == pytest.approx(plain_precision_recall(lattice, other, 5), rel=1e-15)
    features = normal(150, 33) + offset
    for fake in (features, features[::-1], features[:60]):
        assert metrics.precision_recall(features, fake) == pytest.approx(plain_precision_recall(features, fake, 5), rel=1e-15)
    assert metrics.precision_recall(features, features) == (1, 1, 1, 1)
    collapsed = metrics.precision_recall(features, np.repeat(features[:1], 20, axis=0))
    assert (collapsed.precision, collapsed.recall) == (1, 0)


def test_precision_recall_of_one_density():
    real, fake = normal(1500, 3), normal(1000, 3, seed=1)
    found = metrics.precision_recall(real, fake)
    order = np.arange(1, 6)
    assert found.coverage == pytest.approx(1 - np.prod((1500 - order) / (2500 - order)), abs=0.02)
    assert found.density == pytest.approx(1, abs=0.05)
    apart = metrics.precision_recall(real, fake + 100)
    assert apart == (0, 0, 0, 0)


def test_precision_sees_quality_and_recall_variety():
    real = normal(400, 4)
    narrow, wide = metrics.precision_recall(real, real / 4), metrics.precision_recall(real, real * 4)
    assert narrow.precision > 0.9 > 0.3 > narrow.recall
    assert wide.precision < 0.3


# Parzen windows


@pytest.mark.usefixtures("small_blocks")
def test_parzen_is_the_kernel_density_of_scikit_learn():
    samples, validation, test = (normal(num, 6, seed=seed) for seed, num in enumerate((90, 40, 50)))
    found = metrics.parzen_log_likelihood(samples, validation, test)
    estimators = [KernelDensity(bandwidth=bandwidth).fit(samples) for bandwidth in np.logspace(-1, 0, 10)]
    best = max(estimators, key=lambda estimator: estimator.score(validation))
    logs = best.score_samples(test)
    expected = (logs.mean(), logs.std(ddof=1) / np.sqrt(50), best.bandwidth)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found.bandwidth not in (0.1, 1.0)


def test_parzen_of_one_window():
    """Samples in one point: the log density of a Gaussian, where exp of it is 0 in float64."""
    far = np.full((2, 784), 5.0)
    found = metrics.parzen_log_likelihood(np.zeros((3, 784)), far, far, bandwidths=[0.1])
    assert found.log_likelihood == pytest.approx(784 * (-25 / 0.02 - 0.5 * np.log(2 * np.pi * 0.01)), rel=1e-12)
    assert found.standard_error == 0


# Neighbours and diversity


@pytest.mark.usefixtures("small_blocks")
def test_nearest_neighbours_are_those_of_all_pairs():
    samples, train = normal(70, 9).astype(np.float32), normal(210, 9, seed=1).astype(np.float32)
    samples[3] = train[200]
    found = metrics.nearest_neighbours(samples, train)
    pairs = pairwise_distances(samples.astype(np.float64), train.astype(np.float64))
    np.testing.assert_array_equal(found.indices, pairs.argmin(axis=1))
    np.testing.assert_allclose(found.distances, pairs.min(axis=1), rtol=1e-12)
    assert (found.indices[3], found.distances[3]) == (200, 0)


def test_neighbours_of_pixels_do_not_wrap_around():
    found = metrics.nearest_neighbours(np.zeros((1, 2), np.uint8), np.array([[3, 4], [255, 255]], np.uint8))
    assert (found.indices.tolist(), found.distances.tolist()) == ([0], [5.0])


@pytest.mark.usefixtures("small_blocks")
def test_mean_pairwise_distance_is_that_of_all_pairs():
    samples = normal(130, 7)
    pairs = pairwise_distances(samples)
    assert metrics.mean_pairwise_distance(samples) == pytest.approx(pairs.sum() / (130 * 129), rel=1e-12)
    assert metrics.mean_pairwise_distance(samples + 1e6) == pytest.approx(pairs.sum() / (130 * 129), rel=1e-9)
    assert metrics.mean_pairwise_distance(np.repeat(samples[:1], 9, axis=0)) == 0
    twice = np.repeat(samples[:2], 3, axis=0)  # 18 of 30 ordered pairs are of different points
    assert metrics.mean_pairwise_distance(twice) == pytest.approx(18 / 30 * pairs[0, 1], rel=1e-12)


# Errors

GOOD = normal(30, 3)
MEASURES = {
    "precision_recall": lambda features: metrics.precision_recall(GOOD, features),
    "kernel_distance": lambda features: metrics.kernel_distance(GOOD, features, subset_size=20),
    "parzen": lambda features: metrics.parzen_log_likelihood(GOOD, GOOD, features),
    "neighbours": lambda features: metrics.nearest_neighbours(GOOD, features),
    "frechet": lambda features: frechet(GOOD, features),
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "rows: give at least"),
        (np.zeros(30), r"\[30\]: give \[N, D\]"),
        (np.zeros((30, 1, 3)), r"\[30, 1, 3\]: give \[N, D\]"),
        (np.full((30, 3), np.nan), "nan or inf"),
        (np.where(np.arange(90) == 80, np.inf, 0.0).reshape(30, 3), "nan or inf"),
        (np.zeros((30, 4)), "give the same features"),
        (np.zeros((30, 3), complex), "dtype complex128"),
    ],
)
def test_bad_features_are_one_line(measure, bad, message):
    with pytest.raises(InputError, match=message) as caught:
        MEASURES[measure](bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.precision_recall(GOOD, GOOD[:5]),
        lambda: metrics.precision_recall(GOOD, GOOD, neighbours=0),
        lambda: metrics.kernel_distance(GOOD[:19], GOOD, subset_size=20),
        lambda: metrics.kernel_distance(GOOD, GOOD, subsets=1, subset_size=20),
        lambda: metrics.kernel_distance(GOOD, GOOD, subset_size=1),
        lambda: frechet(GOOD, GOOD[:1]),
        lambda: metrics.parzen_log_likelihood(GOOD, GOOD, GOOD[:1]),
        lambda: metrics.mean_pairwise_distance(GOOD[:1]),
        lambda: metrics.parzen_log_likelihood(GOOD, GOOD, GOOD, bandwidths=[0.1, 0.0]),
        lambda: metrics.parzen_log_likelihood(GOOD, GOOD, GOOD, bandwidths=[]),
    ],
)
def test_too_few_of_anything_is_one_line(call):
    with pytest.raises(InputError, match=r"give .*(at least|positive)"):
        call()


def test_moments_of_different_features_are_not_merged():
    with pytest.raises(InputError, match="of 3 and of 2 dimensions"):
        metrics.merge(metrics.moments(GOOD), metrics.moments(GOOD[:, :2]))
    with pytest.raises(InputError, match="nan or inf"):
        metrics.frechet_distance(metrics.moments(GOOD), metrics.Moments(30, np.full(3, np.nan), np.eye(3)))
