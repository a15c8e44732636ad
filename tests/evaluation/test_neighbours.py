"""Metrics by distances of all pairs: precision and recall, Parzen windows, nearest neighbours, diversity; plain references."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KernelDensity

from gan_jax.evaluation import metrics
from gan_jax.evaluation.metrics import distances
from gan_jax.evaluation.neighbours import find_neighbours


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks each way, the last ones ragged."""
    monkeypatch.setattr(distances, "_ENTRIES", 2**11)


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


def test_the_closest_pairs_come_first_beside_the_distances_of_real_images():
    images = np.arange(10, dtype=np.uint8).repeat(4).reshape(10, 2, 2, 1) * 20
    samples = images[[7, 2, 5]] + np.array([3, 0, 1], np.uint8)[:, None, None, None]  # a copy, and two that are near
    found = find_neighbours(samples, images, held_out=images[:2] + 6, pairs=2)
    np.testing.assert_array_equal(found.samples, samples[[1, 2]])
    np.testing.assert_array_equal(found.images, images[[2, 5]])
    assert found.distances == pytest.approx({"least": 0, "median": 1, "real_least": 6, "real_median": 6})
