"""The registry of metrics, statistics of classes, and what the formulas refuse."""

import warnings

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.evaluation import metrics
from gan_jax.evaluation.metrics import METRICS, Statistics, check_num, compute_metrics, find_metrics, needed
from gan_jax.evaluation.metrics.registry import metric as register


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# The registry


def test_each_metric_needs_a_statistic_and_says_what_it_is():
    of_images, by_label = ["classes", "diversity", "frechet", "kid", "prdc"], ["accuracy", "class_frechet", "class_coverage"]
    assert list(METRICS) == of_images + by_label
    assert [each.name for each in METRICS.values() if each.of_each_class is not None] == by_label
    assert {each.needs for each in METRICS.values()} <= set(Statistics._fields)
    assert all(each.summary.endswith(".") for each in METRICS.values())


def test_a_metric_is_one_decorated_function(monkeypatch):
    monkeypatch.setattr(metrics.registry, "METRICS", METRICS | {})

    @register("features", at_least=3, reserved="ffd")
    def gap(real, fake):
        """Gap of the means."""
        return {"gap": float(abs(real.mean() - fake.mean()))}

    (chosen,) = find_metrics(["gap"], "pixels", classes=False)
    real, fake = (Statistics(3, features=np.full((3, 2), number)) for number in (1.0, 3.0))
    assert compute_metrics([chosen], real, fake, "pixels") == {"pixels_gap": 2.0}
    assert compute_metrics([chosen], real, fake, "inception") == {"ffd": 2.0}
    with pytest.raises(InputError, match="samples: 2 images are too few for gap, which needs at least 3"):
        check_num([chosen], 2, "samples")


def test_metrics_at_their_least_number_of_images_can_be_computed():
    for each in METRICS.values():
        rows = np.eye(each.at_least)
        side = Statistics(len(rows), metrics.moments(rows[:, :1]), rows, rows, np.zeros(len(rows), int))
        with warnings.catch_warnings(action="ignore"):  # of a singular covariance
            assert all(np.isfinite(number) for number in compute_metrics([each], side, side, "pixels").values())


def test_only_inceptions_numbers_are_called_fid_and_kid():
    features = normal(30, 3)
    side = Statistics(30, metrics.moments(features), features)
    chosen = find_metrics(["frechet", "kid"], "inception", classes=False)
    assert set(compute_metrics(chosen, side, side, "inception")) == {"fid", "kid", "kid_standard_error"}
    others = {"classifier_frechet", "classifier_kid", "classifier_kid_standard_error"}
    assert set(compute_metrics(chosen, side, side, "classifier")) == others


def test_metrics_by_default_are_all_that_the_features_allow():
    assert find_metrics([], "classifier", classes=True, labelled=True) == tuple(METRICS.values())
    assert [each.name for each in find_metrics([], "classifier", classes=True)] == [
        "classes",
        "diversity",
        "frechet",
        "kid",
        "prdc",
    ]
    assert find_metrics(["class_coverage"], "pixels", classes=False, labelled=True) == (METRICS["class_coverage"],)
    allowed = find_metrics([], "pixels", classes=False)
    assert [each.name for each in allowed] == ["diversity", "frechet", "kid", "prdc"]
    assert needed(allowed, real=True) == {"moments", "features"}
    assert needed(find_metrics(["frechet", "classes", "diversity"], "classifier", classes=True), real=True) == {"moments"}
    assert needed(find_metrics(["classes"], "classifier", classes=True), real=False) == {"probabilities"}
    for name, message in (
        ("fid", "fid is frechet with features=inception$"),
        ("prcd", "did you mean prdc"),
        ("classes", "needs the classes of features=cl"),
        ("accuracy", "needs the classes of features=cl"),
        ("class_frechet", "needs the labels of a conditional run: config.num_classes > 0"),
    ):
        with pytest.raises(InputError, match=f"metrics={name}: .*{message}"):
            find_metrics([name], "pixels", classes=False)


# Classes


def test_class_statistics_of_confident_samples_of_all_classes_are_the_number_of_classes():
    statistics = metrics.class_statistics(np.tile(np.eye(5), (8, 1)))
    np.testing.assert_allclose(statistics.histogram, 0.2)
    assert statistics[1:] == (5, 1.0, pytest.approx(5))


def test_class_statistics_of_collapsed_and_of_undecided_samples_are_1():
    assert metrics.class_statistics(np.tile([0, 1.0, 0], (9, 1)))[1:] == (1, 1.0, pytest.approx(1))
    assert metrics.class_statistics(np.full((9, 4), 0.25))[2:] == (0.25, pytest.approx(1))


def test_the_inception_style_score_is_the_exponential_of_the_mutual_information():
    """Half the samples (3/4, 1/4), half the other way round: p(y) is even, I = log 2 − H(3/4)."""
    statistics = metrics.class_statistics(np.repeat([[0.75, 0.25], [0.25, 0.75]], 10, axis=0))
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert statistics.inception_style_score == pytest.approx(2 / np.exp(entropy), rel=1e-12)


def test_a_class_is_covered_from_a_tenth_of_its_even_share_on():
    def covered(strays):
        return metrics.class_statistics(np.eye(4)[[0] * (400 - strays) + [3] * strays]).covered

    assert (covered(9), covered(10)) == (1, 2)


@pytest.mark.parametrize("bad", [np.full((3, 2), 0.7), [[1.5, -0.5]], [[np.nan, 1.0]], np.zeros((0, 2)), np.ones(3)])
def test_rows_that_are_not_probabilities_are_refused(bad):
    with pytest.raises(InputError, match=r"must (be|have)"):
        metrics.class_statistics(bad)


# Errors

GOOD = normal(30, 3)
CALLS = {
    "precision_recall": lambda features: metrics.precision_recall(GOOD, features),
    "kernel_distance": lambda features: metrics.kernel_distance(GOOD, features, subset_size=20),
    "parzen": lambda features: metrics.parzen_log_likelihood(GOOD, GOOD, features),
    "neighbours": lambda features: metrics.nearest_neighbours(GOOD, features),
    "frechet": lambda features: metrics.frechet_distance(metrics.moments(GOOD), metrics.moments(features)),
}


@pytest.mark.parametrize("metric", CALLS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "rows: must have at least"),
        (np.zeros(30), r"\[30\]: must be \[N, D\]"),
        (np.zeros((30, 1, 3)), r"\[30, 1, 3\]: must be \[N, D\]"),
        (np.full((30, 3), np.nan), "nan or inf"),
        (np.where(np.arange(90) == 80, np.inf, 0.0).reshape(30, 3), "nan or inf"),
        (np.zeros((30, 4)), "must have the same features|must be of the same features"),
        (np.zeros((30, 3), complex), "dtype complex128"),
    ],
)
def test_bad_features_are_one_line(metric, bad, message):
    with pytest.raises(InputError, match=message) as caught:
        CALLS[metric](bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.precision_recall(GOOD, GOOD[:5]),
        lambda: metrics.precision_recall(GOOD, GOOD, neighbours=0),
        lambda: metrics.kernel_distance(GOOD[:19], GOOD, subset_size=20),
        lambda: metrics.kernel_distance(GOOD, GOOD, subsets=1, subset_size=20),
        lambda: metrics.kernel_distance(GOOD, GOOD, subset_size=1),
        lambda: metrics.frechet_distance(metrics.moments(GOOD), metrics.moments(GOOD[:1])),
        lambda: metrics.parzen_log_likelihood(GOOD, GOOD, GOOD[:1]),
        lambda: metrics.mean_pairwise_distance(GOOD[:1]),
        lambda: metrics.parzen_log_likelihood(GOOD, GOOD, GOOD, bandwidths=[0.1, 0.0]),
        lambda: metrics.parzen_log_likelihood(GOOD, GOOD, GOOD, bandwidths=[]),
    ],
)
def test_too_few_of_anything_is_one_line(call):
    with pytest.raises(InputError, match=r"must .*(at least|positive|≥ 1)"):
        call()


def test_moments_of_different_features_are_not_merged():
    with pytest.raises(InputError, match="of 3 and of 2 dimensions"):
        metrics.merge(metrics.moments(GOOD), metrics.moments(GOOD[:, :2]))
    with pytest.raises(InputError, match="nan or inf"):
        metrics.frechet_distance(metrics.moments(GOOD), metrics.Moments(30, np.full(3, np.nan), np.eye(3)))
