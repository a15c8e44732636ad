"""Modes and KL of stacked digits: closed forms of collapsed, perfect and hand-made samplers; real stacks beside theory."""

from dataclasses import replace

import numpy as np
import pytest
from small import random_images, small_gan, small_state
from stripes import RECIPE, striped

from gan_jax import make_networks
from gan_jax.data import stacked_from_arrays
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluator, stacks
from gan_jax.evaluation.features import make_classifier, make_stacked_classifier
from gan_jax.evaluation.metrics import perfect_stacks, stack_statistics

pytestmark = pytest.mark.usefixtures("own_cache")

ALL = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), axis=-1)
"""Each triple once, `[1000, 3]`."""


def certain(triples, confidence=1.0):
    """Probabilities `[N, 3, 10]` with that much for each digit of the triples, and the rest on the others."""
    return np.where(np.eye(10)[triples] > 0, confidence, (1 - confidence) / 9)


@pytest.mark.parametrize(
    ("triples", "modes", "kl", "twice"),
    [
        (ALL[[123] * 50], 1, np.log(1000), 1),  # collapsed
        (ALL, 1000, 0, 0),  # each mode once
        (np.repeat(ALL, 2, axis=0), 1000, 0, 1000),
        (ALL[::2], 500, np.log(2), 0),
        (ALL[[0, 1, 1, 1]], 2, np.log(1000) + 0.25 * np.log(0.25) + 0.75 * np.log(0.75), 1),
        (np.array([[1, 2, 3], [3, 2, 1], [2, 1, 3], [1, 2, 3]]), 3, np.log(1000) - 1.5 * np.log(2), 1),  # their order counts
    ],
)
def test_closed_forms(triples, modes, kl, twice):
    found = stack_statistics(certain(triples))
    assert found[:1] + found[2:] == (modes, twice, modes, 1.0)
    assert found.kl == pytest.approx(kl, abs=1e-12)


def test_a_mode_of_which_one_channel_is_doubtful_is_no_confident_mode():
    probabilities = certain(ALL[[5, 5, 7, 9]], 0.6)
    probabilities[0, 2] = probabilities[2, 1] = certain(np.array([4]), 0.5)
    found = stack_statistics(probabilities)
    assert (found.modes, found.modes_confident, found.confident) == (4, 2, 0.5)


def test_a_perfect_sampler_of_equally_frequent_digits():
    """Expected: KL (K³ − 1)/2n, modes K³ (1 − (1 − 1/K³)ⁿ); 20 draws are within four standard errors of them."""
    for num, tolerance in ((26_000, 0.0), (2000, None)):
        draws = perfect_stacks(np.arange(5000) % 10, num)
        modes, kl = (np.array([draw[name] for draw in draws]) for name in ("modes", "kl"))
        error = 4 / np.sqrt(len(draws))
        assert abs(modes.mean() - 1000 * (1 - 0.999**num)) <= error * modes.std(ddof=1) + 1e-6
        if tolerance is not None:
            assert abs(kl.mean() - 999 / (2 * num)) < error * kl.std(ddof=1) + 1e-4  # and the next order of the expansion
    assert len(draws) == 20


def test_a_perfect_sampler_of_mnist_has_the_kl_of_its_digits_too():
    """0.0236 ± 0.0011 at 26,000: 0.0043 of it because MNIST's digits are not equally frequent, which is exact."""
    counts = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    draws = perfect_stacks(np.repeat(np.arange(10), counts), 26_000)
    of_digits = 3 * np.sum(counts / 60_000 * np.log(counts / 6000))
    assert of_digits == pytest.approx(0.0043, abs=1e-4)
    mean = np.mean([draw["kl"] for draw in draws])
    assert mean == pytest.approx(999 / 52_000 + of_digits, abs=4 * 0.0011 / np.sqrt(20) + 1e-4)
    assert {draw["modes"] for draw in draws} == {1000}


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 3, 10)), np.ones((4, 10)) / 10, np.ones((4, 3, 10)), -np.ones((4, 3, 1)), np.full((4, 3, 2), np.nan)]
)
def test_what_are_no_probabilities_is_refused(bad):
    with pytest.raises(InputError, match="must be"):
        stack_statistics(bad)


# Of images


def stacked_stripes(num=400, **options):
    images, labels = striped(num)
    return stacked_from_arrays(images, labels, batch_size=8, **options)


@pytest.fixture
def _small_classifier(monkeypatch):
    monkeypatch.setattr(
        stacks, "make_stacked_classifier", lambda *data, **test: make_stacked_classifier(*data, **test, recipe=RECIPE)
    )


def test_the_classifier_of_stacks_is_that_of_their_channels():
    images, labels = striped(200)
    classifier, single = make_stacked_classifier(images, labels, recipe=RECIPE), make_classifier(images, labels, recipe=RECIPE)
    index = np.random.default_rng(0).integers(0, 200, (30, 3))
    features = classifier.extract(stacks.RealStacks(images, index)[0:30])
    assert features.shape == (30, classifier.dimensions)
    probabilities = classifier.probabilities(features)
    assert probabilities.shape == (30, 3, 2)
    for channel in range(3):
        expected = single.probabilities(single.extract(images[index[:, channel]]))
        np.testing.assert_allclose(probabilities[:, channel], expected, rtol=1e-5)
    np.testing.assert_array_equal(np.array([3, 7])[probabilities.argmax(axis=-1)], labels[index])


def test_with_test_images_all_others_are_learned_from():
    images, labels = striped(200)
    wrong = 10 - striped(50, seed=1)[1]
    classifier = make_classifier(images, labels, test=(striped(50, seed=1)[0], wrong), recipe=RECIPE)
    assert (classifier.accuracy, make_classifier(images, labels, recipe=RECIPE).digest != classifier.digest) == (0.0, True)
    again = make_classifier(images, labels, test=striped(50, seed=1), recipe=RECIPE)
    assert (again.accuracy, again.digest) == (1.0, classifier.digest)


@pytest.mark.usefixtures("_small_classifier")
def test_the_evaluator_of_a_run_selects_by_kl(capsys):
    gan = small_gan("mlp")
    networks = make_networks("mlp", (8, 8, 3), hidden=(16,))
    gan = replace(gan, networks=networks, sample_shape=(8, 8, 3))
    chosen = evaluator.make_evaluator(gan, stacked_stripes(), num=300)
    capsys.readouterr()
    numbers, baseline = chosen(small_state(gan)), chosen.real_baseline()
    assert chosen.selection_metric == "eval/kl"
    assert numbers.keys() == {f"eval/{name}" for name in ("modes", "kl", "modes_twice", "modes_confident", "confident")}
    assert baseline["eval/modes"] == 8
    assert 0 < baseline["eval/kl"] < numbers["eval/kl"]
    assert numbers == chosen(small_state(gan))
    assert chosen.labels is None
    conditional = replace(gan, networks=make_networks("mlp", (8, 8, 3), hidden=(16,), num_classes=8), num_classes=8)
    dataset = stacked_stripes()
    labels = evaluator.make_evaluator(conditional, dataset, num=4000).labels
    places = np.unravel_index(labels, (2, 2, 2))
    drawn, shares = np.bincount(labels, minlength=8) / 4000, np.bincount(np.asarray(dataset.labels)) / len(dataset.labels)
    np.testing.assert_allclose([np.mean(place) for place in places], shares[1], atol=0.03)
    assert len(set(drawn)) > 2  # not each class in turn, which beats a perfect sampler


@pytest.mark.usefixtures("_small_classifier")
@pytest.mark.parametrize("test", [None, striped(60, seed=5)])
def test_a_row_has_the_accuracy_and_the_perfect_sampler(test):
    dataset = stacked_stripes(test=test)
    judge = stacks.make_judge(dataset)
    assert len(judge.held_out) == (160 if test is None else 60)
    row = stacks.evaluate_stacks(judge, dataset, [judge.real_stacks(500, seed) for seed in (0, 1)], "real", "stripes")
    expected = {"samples": "real", "num": 500, "real": "stripes", "num_real": 400, "seeds": 2, "warnings": []}
    assert {name: row[name] for name in expected} == expected
    assert (row["classifier_accuracy"], row["num_held_out"]) == (1.0, len(judge.held_out))
    assert row["mean"]["modes"] == row["mean"]["modes_twice"] == row["mean"]["modes_confident"] == 8
    perfect = row["perfect_sampler"]
    assert (perfect["draws"], perfect["mean"].keys()) == (20, {"modes", "kl", "modes_twice"})
    assert row["mean"]["kl"] == pytest.approx(perfect["mean"]["kl"], abs=0.03)


@pytest.mark.usefixtures("_small_classifier")
def test_a_poor_classifier_and_images_of_another_shape_are_named():
    images, labels = striped(60, seed=5)
    dataset = stacked_stripes(test=(images, np.where(np.arange(60) < 30, labels, 10 - labels)))
    judge = stacks.make_judge(dataset)
    (warning,) = stacks.evaluate_stacks(judge, dataset, [judge.real_stacks(50, 0)], "real", "")["warnings"]
    assert warning == "the classifier is right on 50.0% of digits: 87.5% of samples may count in a wrong mode"
    with pytest.raises(InputError, match="other: must be 8 × 8 × 3 like the real stacks, not 8 × 8 × 1"):
        stacks.evaluate_stacks(judge, dataset, [random_images(9, 8)], "other", "")
