"""Rows of results: what they depend on and what they say; the evaluator of a run."""

import json
import re
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import random_images, small_gan, small_state
from stripes import RECIPE, striped

from gan_jax import from_arrays, make_dataset
from gan_jax.data import DensityDataset
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluator as evaluator_module
from gan_jax.evaluation import format_metrics, make_evaluator, metrics, results
from gan_jax.evaluation.comparison import evaluate, make_reference
from gan_jax.evaluation.features import make_classifier, make_pixels
from gan_jax.evaluation.images import real_images
from gan_jax.evaluation.results import append_row, find_row, mean_and_error, over_seeds, plus_minus, provenance
from gan_jax.files import read_jsonl, sha256_of
from gan_jax.theory.distributions import ring

pytestmark = pytest.mark.usefixtures("own_cache")


# Rows


def test_a_row_says_what_it_depends_on_and_has_the_metrics_own_numbers():
    images, labels = striped(400)
    classifier = make_classifier(images, labels, recipe=RECIPE)
    parts = images[:200], images[200:]
    reference = make_reference([], classifier, parts[0], "stripes")
    row = json.loads(json.dumps(evaluate(reference, [parts[1], parts[1]], "others")))
    features = [classifier.extract(part) for part in parts]
    mean = row["mean"]
    moments = [metrics.moments(side) for side in features]
    assert mean["classifier_frechet"] == pytest.approx(metrics.frechet_distance(*moments), rel=1e-6)
    assert mean["classifier_kid"] == pytest.approx(metrics.kernel_distance(*features, subset_size=100).mean, rel=1e-6, abs=1e-9)
    prdc = metrics.precision_recall(*features)._asdict()
    assert {name: mean[name] for name in prdc} == prdc
    assert mean["diversity"] == pytest.approx(metrics.mean_pairwise_distance(features[1]), rel=1e-9)
    statistics = metrics.class_statistics(classifier.probabilities(features[1]))
    assert mean["inception_style_score"] == pytest.approx(statistics.inception_style_score)
    assert [mean["class_share/0"], mean["class_share/1"]] == list(statistics.histogram)
    assert {*row["standard_error"].values()} == {0.0}
    assert row["by_seed"] == [mean, mean]
    assert {key: row[key] for key in row.keys() - {"mean", "standard_error", "by_seed"}} == {
        "samples": "others",
        "num": 200,
        "real": "stripes",
        "num_real": 200,
        "seeds": 2,
        "warnings": [],
        **classifier.describe(),
    }
    assert classifier.describe().keys() == {"features", "weights_sha256", "preparation", "classifier_accuracy"}


def test_few_samples_of_many_dimensions_are_in_the_warnings():
    images = random_images(20, 8)
    row = evaluate(make_reference(["frechet"], make_pixels((8, 8, 1)), images, ""), [images], "same")
    assert row["mean"] == {"pixels_frechet": pytest.approx(0, abs=1e-9)}
    assert len(row["warnings"]) == 2
    assert all("20 samples of 64 dimensions" in warning for warning in row["warnings"])


def test_a_generator_that_makes_one_image_is_evaluated_too():
    reference = make_reference(["frechet", "prdc"], make_pixels((16, 16, 1)), random_images(9), "")
    mean = evaluate(reference, [np.zeros((9, 16, 16, 1), np.uint8)], "black")["mean"]
    assert mean["pixels_frechet"] > 100
    assert mean["coverage"] == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (random_images(5), "bad: 5 images are too few for prdc, which needs at least 6"),
        (random_images(9, channels=3), "bad: must have 1 channels like the real images, not 3"),
        (random_images(9, 8), "bad: must be 16 × 16 like the real images, not 8 × 8"),
    ],
)
def test_images_that_cannot_be_compared_are_one_line(bad, message):
    reference = make_reference(["frechet", "prdc"], make_pixels((16, 16, 1)), real_images(random_images(9)), "")
    with pytest.raises(InputError, match=message) as caught:
        evaluate(reference, [random_images(9), bad], "bad")
    assert "\n" not in str(caught.value)


def test_rows_have_provenance_and_are_found_by_their_fields(tmp_path):
    path = tmp_path / "rows.jsonl"
    for row in ({"seed": 0, "n": 1}, {"seed": 1, "n": 2}, {"seed": 0, "n": 3}):
        append_row(path, row)
    assert find_row(path, {"seed": 0}) == {"seed": 0, "n": 3, **provenance()} == read_jsonl(path)[2]
    assert {"commit", "hardware", "versions"} < provenance().keys()
    assert find_row(path, {"seed": 0, "width": 4}) is None
    assert find_row(tmp_path / "none.jsonl", {}) is None


def test_rows_have_the_commit_of_the_code_and_not_of_a_repository_around_it(tmp_path, monkeypatch):
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    module = tmp_path / "results.py"
    module.touch()
    monkeypatch.setattr(results, "__file__", str(module))
    assert provenance()["commit"] == "unknown"
    rows = tmp_path / "experiments/results/rows.jsonl"
    rows.parent.mkdir(parents=True)
    rows.touch()
    subprocess.run([*git, "add", module, rows], check=True)
    assert provenance()["commit"].endswith("-dirty")
    subprocess.run([*git, "commit", "-q", "-m", "package"], check=True)
    rows.write_text("{}")  # a row that is added by the code of a commit leaves the code as it is
    assert re.fullmatch("[0-9a-f]{12}", provenance()["commit"])


def test_means_over_seeds_and_how_they_are_printed():
    assert mean_and_error([1.0, 2.0, 3.0]) == pytest.approx((2, 1 / np.sqrt(3)))
    assert np.isnan(mean_and_error([1.0])[1])
    assert (plus_minus([1.0, 2.0, 3.0]), plus_minus([4.0])) == ("2.0 ± 0.6", "4")
    assert (plus_minus([999.9]), plus_minus([1200.0, 1300.0])) == ("1000", "1250 ± 50")
    assert (plus_minus([0.8999, 0.9005]), plus_minus([10.3, 10.5])) == ("0.9002 ± 0.0003", "10.4 ± 0.1")
    assert (plus_minus([0.7, 0.7]), plus_minus([0.1] * 3), plus_minus([1000.0] * 2)) == ("0.7 ± 0", "0.1 ± 0", "1000 ± 0")
    row = over_seeds([{"fid": 1.0, "class_share/0": 0.5}, {"fid": 3.0, "class_share/0": 0.5}])
    assert (row["seeds"], row["mean"]["fid"], row["standard_error"]["fid"]) == (2, 2, pytest.approx(1))
    assert format_metrics(row["mean"], row["standard_error"]) == "fid 2 ± 1"
    assert over_seeds([{"a": 0.12345, "b": 3}]).keys() == {"seeds", "mean"}
    assert format_metrics({"a": 0.123456, "b": 3}) == "a 0.1235, b 3"


def test_digests_see_shape_dtype_and_order():
    parts = [np.zeros(4, np.int32), np.zeros((2, 2), np.int32), np.zeros(4, np.float32), np.zeros(5, np.int32), "0", 0]
    assert len({sha256_of(part) for part in parts}) == len(parts)
    assert sha256_of("a", 1) == sha256_of("a", 1) != sha256_of(1, "a")


# The evaluator of a run


EXPECTED = {
    "labelled": {"classifier_frechet", "classes_covered", "confidence", "inception_style_score"},
    "unlabelled": {"pixels_kid", "pixels_kid_standard_error"},
    "density": {"modes", "high_quality", "js"},
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_selection_metric_is_lower_for_real_examples_than_for_an_untrained_generator(kind, monkeypatch, capsys):
    monkeypatch.setattr(evaluator_module, "make_classifier", lambda *data: make_classifier(*data, recipe=RECIPE))
    images, labels = striped(400, 16)
    gan = small_gan("mlp" if kind == "density" else "dcgan")
    dataset = make_dataset("ring", batch_size=8)
    if kind != "density":
        dataset = from_arrays(images, labels if kind == "labelled" else None, batch_size=8)
    evaluator = make_evaluator(gan, dataset, num=150)
    capsys.readouterr()
    numbers, baseline = evaluator(small_state(gan)), evaluator.real_baseline()
    assert capsys.readouterr().out == ""
    assert numbers.keys() == baseline.keys() == {f"eval/{name}" for name in EXPECTED[kind]}
    assert all(type(number) is float and np.isfinite(number) for number in numbers.values())
    assert numbers == evaluator(small_state(gan))
    assert evaluator.selection_metric in evaluator_module.SELECTION_METRICS
    assert baseline[evaluator.selection_metric] < numbers[evaluator.selection_metric]
    assert len(evaluator.real) == 150


def test_the_baseline_is_of_held_out_images(monkeypatch):
    """A flaw in the images that are learned from is in the comparison, one in those held out is in the baseline."""
    images = random_images(100)
    _, held_out = evaluator_module.hold_out(100)
    images[held_out] = 0
    evaluator = make_evaluator(small_gan(), from_arrays(images, batch_size=8), num=30)
    assert not evaluator.real[0:30].any()
    assert evaluator.real_baseline()["eval/pixels_kid"] > 0.1


def test_the_averaged_generator_is_evaluated_where_there_is_one():
    gan = small_gan(ema_decay=0.9)
    evaluator = make_evaluator(gan, from_arrays(striped(400, 16)[0], batch_size=8), num=100)
    plain = small_state(gan).replace(ema=None)
    loud = jax.tree.map(lambda leaf: 5 * leaf + 1, {"params": plain.params.gen, "batch_stats": plain.stats.gen})
    raw = plain.replace(params=plain.params._replace(gen=loud["params"]), stats=plain.stats._replace(gen=loud["batch_stats"]))
    numbers = evaluator(plain.replace(ema=loud))
    assert numbers == evaluator(raw)
    assert numbers[evaluator.selection_metric] > 1.5 * evaluator(plain)[evaluator.selection_metric]


def test_too_few_images_for_an_evaluator_are_one_line():
    with pytest.raises(InputError, match="held-out images: 2 images are too few for kid, which needs at least 4"):
        make_evaluator(small_gan(), from_arrays(random_images(6), batch_size=2))


def test_a_dataset_that_is_not_the_recipes_or_of_no_known_kind_is_refused_first():
    class Own:
        batch_size, sample_shape, num_classes = 8, (16, 16, 1), 0

    with pytest.raises(InputError, match=r"samples \(8, 8, 1\), the GAN makes \(16, 16, 1\)"):
        make_evaluator(small_gan(), from_arrays(random_images(100, 8), batch_size=8))
    with pytest.raises(InputError, match="Own has no evaluation: it must be an ImageDataset, StackedDataset or DensityDataset"):
        make_evaluator(small_gan(), Own())


def test_the_labels_of_points_are_drawn_as_the_mixture_draws_its_components():
    """Independent: each class in turn would beat a perfect sampler."""
    density = ring()._replace(weights=jnp.array([0.3, *[0.1] * 7]))  # float32, whose sum is 1 + 2e-8
    dataset = DensityDataset(density, 8)
    labels = make_evaluator(small_gan("mlp", num_classes=8), dataset, num=5000).labels
    np.testing.assert_array_equal(labels, make_evaluator(small_gan("mlp", num_classes=8), dataset, num=5000).labels)
    counts = np.bincount(labels)
    np.testing.assert_allclose(counts / 5000, density.weights, atol=0.03)
    assert len(set(counts[1:])) > 1
    assert make_evaluator(small_gan("mlp"), dataset, num=50).labels is None
