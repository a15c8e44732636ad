"""Metrics by the labels of samples: closed forms, and what cannot be compared by class."""

import warnings

import numpy as np
import pytest
from small import random_images

from gan_jax.errors import InputError
from gan_jax.evaluation import metrics
from gan_jax.evaluation.comparison import evaluate, make_reference
from gan_jax.evaluation.features import make_pixels
from gan_jax.evaluation.images import real_images

pytestmark = pytest.mark.usefixtures("own_cache")


def labelled_features(num=300, dimensions=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, num)
    return rng.standard_normal((num, dimensions)) + 10 * labels[:, None], labels


def test_accuracy_is_the_share_of_samples_that_are_taken_for_their_label():
    probabilities = np.eye(3)[[0, 1, 2, 2]] * 0.5 + 1 / 6
    assert metrics.label_accuracy(probabilities, [0, 1, 2, 1]) == 0.75
    assert metrics.label_accuracy(probabilities, [1, 2, 0, 0]) == 0


def test_a_shift_of_each_class_is_its_squared_distance():
    """Equal covariances leave |μ₁ − μ₂|², here (class + 1)²: the mean over four classes is 7.5."""
    real, labels = labelled_features()
    shift = np.zeros_like(real)
    shift[:, 1] = labels + 1
    np.testing.assert_allclose(metrics.class_frechet_distances(real, real + shift, labels, labels), [1, 4, 9, 16], rtol=1e-9)
    order = np.random.default_rng(1).permutation(len(real))
    numbers = metrics.METRICS["class_frechet"].compute(real, (real + shift)[order], labels, labels[order])
    assert numbers == {
        "class_frechet": pytest.approx(7.5),
        **{f"class_frechet/{k}": pytest.approx((k + 1) ** 2) for k in range(4)},
    }


def test_the_numbers_of_each_class_are_those_of_its_images_alone():
    (real, real_labels), (fake, fake_labels) = labelled_features(), labelled_features(200, seed=1)
    parts = [(real[real_labels == label], fake[fake_labels == label]) for label in range(4)]
    distances = [metrics.frechet_distance(*map(metrics.moments, part)) for part in parts]
    coverages = [metrics.precision_recall(*part).coverage for part in parts]
    assert len(set(coverages)) > 1
    for name, expected in (("class_frechet", distances), ("class_coverage", coverages)):
        numbers = metrics.METRICS[name].compute(real, fake, real_labels, fake_labels)
        assert list(numbers.values()) == pytest.approx([np.mean(expected), *expected], rel=1e-12)


def test_swapped_labels_are_seen_by_class_alone():
    real, labels = labelled_features(classes=2)
    sides = [metrics.Statistics(len(real), metrics.moments(real), real, None, each) for each in (labels, 1 - labels)]
    chosen = metrics.find_metrics(
        ["frechet", "prdc", "class_frechet", "class_coverage"], "pixels", classes=False, labelled=True
    )
    right, swapped = (metrics.compute_metrics(chosen, sides[0], side, "pixels") for side in sides)
    by_label = {name for name in right if "class_" in name}
    assert {name: right[name] for name in right.keys() - by_label} == {name: swapped[name] for name in right.keys() - by_label}
    assert (right["pixels_class_frechet"], right["class_coverage"]) == (pytest.approx(0, abs=1e-9), 1)
    assert swapped["pixels_class_frechet"] > 250  # the means are 10√3 apart
    assert swapped["class_coverage"] == 0
    assert set(metrics.compute_metrics(chosen[1:], *sides, "inception")) >= {"class_fid", "class_fid/0", "class_fid/1"}


def test_a_singular_covariance_of_a_class_is_one_warning_of_the_row():
    images, labels = random_images(60, 8), np.arange(60) % 3
    real = real_images(images, labels=labels)
    row = evaluate(make_reference(["class_frechet"], make_pixels((8, 8, 1)), real, "", num_classes=3), [real], "same")
    assert row["warnings"] == [
        "class_frechet: 20 images of a class, of 64 dimensions, have a singular covariance; the distance is far too large; "
        "evaluate more images of each class"
    ]
    with warnings.catch_warnings(action="error"):  # enough images: none
        metrics.class_frechet_distances(*[labelled_features()[0]] * 2, *[labelled_features()[1]] * 2)


def test_classes_and_labels_that_cannot_be_compared_are_one_line():
    images = random_images(30)
    few = real_images(images, labels=np.repeat([0, 1], [25, 5]))
    enough = real_images(images, labels=np.arange(30) % 2)
    pixels = make_pixels((16, 16, 1))
    with pytest.raises(InputError, match="real: 5 images of class 1 are too few for class_coverage, which needs at least 6 of"):
        make_reference(["class_coverage"], pixels, few, "real", num_classes=2)
    with pytest.raises(InputError, match="real: 0 images of class 2 are too few"):
        make_reference(["class_frechet"], pixels, enough, "real", num_classes=3)
    reference = make_reference(["class_coverage"], pixels, enough, "real", num_classes=2)
    for bad, message in ((few, "bad: 5 images of class 1"), (images, "bad: must have labels for class_coverage")):
        with pytest.raises(InputError, match=message):
            evaluate(reference, [enough, bad], "bad")
    features = np.eye(8)
    for labels, message in (
        (np.arange(8) % 2, "real has 4 rows of class 0: must have at least 6"),
        (np.zeros(7, int), r"labels int64 \[7\]: must be an integer ≥ 0 for each of 8 rows"),
        (np.full(8, -1), "must be an integer ≥ 0"),
        (np.zeros(8), "labels float64"),
    ):
        with pytest.raises(InputError, match=message):
            metrics.class_coverages(features, features, labels, labels)
    with pytest.raises(InputError, match="label 8: must be one of the 8 classes"):
        metrics.label_accuracy(features, np.arange(1, 9))
