"""Metrics by the labels of samples: closed forms, generators that obey, ignore or swap their labels, refusals, scripts."""

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from small import random_images, small_gan, small_state
from stripes import RECIPE, striped
from test_tfds import write_idx_set

from gan_jax import from_arrays, sample, sample_grid
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluator as evaluator_module
from gan_jax.evaluation import make_evaluator, metrics
from gan_jax.evaluation.comparison import evaluate, make_reference
from gan_jax.evaluation.features import make_classifier, make_pixels
from gan_jax.evaluation.images import GeneratedImages, draw_labels, hold_out, real_images
from gan_jax.files import read_jsonl
from gan_jax.run.plots import save_samples
from gan_jax.run.restore import restore_run
from gan_jax.state import Players

BY_LABEL = {"accuracy", "classifier_class_frechet", "class_coverage"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(evaluator_module, "make_classifier", lambda *data: make_classifier(*data, recipe=RECIPE))


def labelled_features(num=300, dimensions=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, num)
    return rng.standard_normal((num, dimensions)) + 10 * labels[:, None], labels


# Formulas


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


# Labels of samples


def test_drawn_labels_have_the_frequencies_of_the_data_and_do_not_depend_on_how_many_there_are():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    drawn = draw_labels(labels, 250, seed=3)
    assert np.bincount(drawn[:200]).tolist() == [120, 60, 20]
    np.testing.assert_array_equal(draw_labels(labels, 70, seed=3), drawn[:70])
    assert np.any(draw_labels(labels, 70, seed=4) != drawn[:70])
    assert 0 < np.mean(drawn[:10] == 0) < 1


def test_generated_images_have_the_labels_that_they_are_given():
    gan = small_gan("mlp", num_classes=3)
    labels = draw_labels(np.array([0, 2, 2, 1]), 90, seed=0)
    source = GeneratedImages(gan, small_state(gan), 3, 90, labels=labels)
    parts = np.concatenate([source[0:70], source[70:200]])
    np.testing.assert_array_equal(parts, source[0:90])
    in_turn = replace(source, labels=None)[0:90]
    np.testing.assert_array_equal(np.all(parts == in_turn, axis=1), labels == np.arange(90) % 3)


# The evaluator of a run


class Painter(nn.Module):
    """Stripes with noise, as `striped` has: across for class 0, upright for class 1, or as `ways` says; it learns nothing.

    ways: the direction for label 0 and for label 1; None: that of the latents, whatever the label.
    """

    ways: tuple[int, int] | None = (0, 1)

    @nn.compact
    def __call__(self, latents, labels, train):
        self.param("unused", nn.initializers.zeros, ())
        of_latents = (latents[:, 0] > 0).astype(jnp.int32)
        way = of_latents if self.ways is None else jnp.array(self.ways)[labels]
        stripes = jnp.where(jnp.arange(8) % 4 < 2, 220.0, 60.0)
        upright = jnp.broadcast_to(stripes, (len(latents), 8, 8))
        images = jnp.where((way == 0)[:, None, None], upright, upright.swapaxes(1, 2))
        noise = 20 * jnp.sin(100 * latents @ jnp.cos(jnp.arange(len(latents[0]) * 64.0)).reshape(-1, 64))
        return (images + noise.reshape(-1, 8, 8))[..., None] / 127.5 - 1


def painter(ways=(0, 1)):
    gan = small_gan("mlp", num_classes=2)
    gan = replace(gan, networks=Players(Painter(ways), gan.networks.disc), sample_shape=(8, 8, 1))
    return gan, small_state(small_gan("mlp", num_classes=2)).replace(params=Players({"unused": jnp.zeros(())}, {}))


def test_the_evaluator_sees_whether_a_generator_obeys_ignores_or_swaps_its_labels(capsys):
    images, labels = striped(800)
    numbers = {}
    for name, ways in (("obeys", (0, 1)), ("ignores", None), ("swaps", (1, 0))):
        gan, state = painter(ways)
        evaluator = make_evaluator(gan, from_arrays(images, labels, batch_size=8), num=300)
        numbers[name] = {key.removeprefix("eval/"): number for key, number in evaluator(state).items()}
    baseline = evaluator.real_baseline()
    assert baseline.keys() == {f"eval/{key}" for key in numbers["obeys"]}
    assert numbers["obeys"].keys() == BY_LABEL | {
        "classifier_frechet",
        "classes_covered",
        "confidence",
        "inception_style_score",
    }
    assert (numbers["obeys"]["accuracy"], numbers["swaps"]["accuracy"], baseline["eval/accuracy"]) == (1, 0, 1)
    assert numbers["ignores"]["accuracy"] == pytest.approx(0.5, abs=3 * 0.5 / 300**0.5)
    for worse in ("ignores", "swaps"):
        assert numbers[worse]["classifier_class_frechet"] > 5 * numbers["obeys"]["classifier_class_frechet"]
    assert numbers["swaps"]["classifier_frechet"] < numbers["swaps"]["classifier_class_frechet"] / 10
    assert numbers["swaps"]["class_coverage"] == 0
    assert "without" not in capsys.readouterr().out


def test_the_evaluators_samples_have_the_frequencies_of_the_data():
    images, labels = striped(800)
    rare = np.flatnonzero(labels == 7)[:80]
    kept = np.sort(np.append(np.flatnonzero(labels == 3), rare))
    gan, state = painter()
    dataset = from_arrays(images[kept], labels[kept], batch_size=8)
    evaluator = make_evaluator(gan, dataset, num=len(kept))
    assert np.bincount(evaluator.labels).tolist() == [len(kept) - 80, 80]
    shown = GeneratedImages(gan, state, 0, len(kept), labels=evaluator.labels)[0 : len(kept)]
    upright = np.ptp(shown[..., 0].mean(axis=1), axis=1) > 80
    np.testing.assert_array_equal(upright, evaluator.labels == 0)


def test_what_too_few_images_of_a_class_do_not_allow_is_left_out_and_named(capsys):
    images, labels = striped(200)
    labels[7:] = 3
    labels[:7] = 7
    gan, state = painter()
    evaluator = make_evaluator(gan, from_arrays(images, labels, batch_size=8), num=100)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == [f"evaluation leaves out class_{n}" for n in ("frechet", "coverage")]
    assert set(evaluator(state)) & {f"eval/{name}" for name in BY_LABEL} == {"eval/accuracy"}
    assert all(np.isfinite(number) for number in evaluator(state).values())


def test_an_unconditional_run_has_no_metrics_by_label():
    evaluator = make_evaluator(small_gan(), from_arrays(*striped(400, 16), batch_size=8), num=100)
    assert evaluator.labels is None
    assert not {f"eval/{name}" for name in BY_LABEL} & set(evaluator.real_baseline())


# Rows


def test_a_perfect_sampler_has_the_accuracy_of_the_real_images():
    images, labels = striped(400)
    classes = np.unique(labels, return_inverse=True)[1]
    classes[::9] ^= 1  # nobody is right on these
    classifier = make_classifier(images, classes, recipe=RECIPE)
    learned, held_out = hold_out(400)
    reference = make_reference([], classifier, real_images(images, learned, labels=classes), "stripes", num_classes=2)
    copies = real_images(images, held_out, labels=classes)
    row = evaluate(reference, [copies], "held out")
    assert row["mean"]["accuracy"] == classifier.accuracy == row["classifier_accuracy"] < 1
    by_class = [row["mean"][f"classifier_class_frechet/{label}"] for label in (0, 1)]
    assert row["mean"]["classifier_class_frechet"] == pytest.approx(np.mean(by_class))
    assert 0.5 < row["mean"]["class_coverage"] <= 1
    assert "class_coverage/1" in row["mean"]
    plain = make_reference([], classifier, real_images(images, learned, labels=classes), "stripes")
    assert not BY_LABEL & evaluate(plain, [copies], "held out")["mean"].keys()


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


# Scripts


def test_a_conditional_run_is_evaluated_and_sampled_by_its_classes(run_script, tmp_path):
    images, labels = striped(300)
    np.savez(tmp_path / "stripes.npz", images=images, labels=labels)
    workdir, data = f"--workdir={tmp_path / 'run'}", f"--config.data.name=numpy:{tmp_path / 'stripes.npz'}"
    small = (data, "--config.data.image_size=8", "--config.batch_size=8", "--config.num_steps=4", "--config.eval_every=0")
    conditional = ("--config.network.name=mlp", "--config.num_classes=2")
    run_script("train.py", "--config=experiments/configs/mnist.py", workdir, *small, *conditional, fast=True)
    (tmp_path / "run" / "results.jsonl").mkdir()  # so that it stops at its first row: by then it has kept its features
    flags = (data.replace("config.data.name", "data"), "--num=150", "--seeds=2")
    run_script("evaluate.py", workdir, *flags, status=2, fast=True, brief=True)
    (tmp_path / "run" / "results.jsonl").rmdir()
    kept = tmp_path / "cache" / "gan_jax" / "features"
    assert len(list(kept.glob("*/*"))) == 3  # of real images, and of each seed
    for images in ((), ("--real",)):
        run_script("evaluate.py", workdir, *flags, *images, fast=True, brief=True)
        assert not list(kept.iterdir())
    *generated, real = read_jsonl(tmp_path / "run" / "results.jsonl")
    names = BY_LABEL | {f"{name}/{label}" for name in BY_LABEL - {"accuracy"} for label in (0, 1)}
    assert all(names <= row["mean"].keys() for row in (*generated, real))
    assert real["mean"]["accuracy"] == 1
    assert real["mean"]["classifier_class_frechet"] < min(row["mean"]["classifier_class_frechet"] for row in generated) / 2
    refused = run_script("sample.py", workdir, "--labels=0,2", status=2, fast=True)
    assert refused.stderr == "error: label 2: labels must be 0 to 1\n"
    done = run_script("sample.py", workdir, "--num=2501", "--labels=1,0", f"--npz={tmp_path}/grid", fast=True)
    assert done.stdout.startswith("2500 samples of step 4")
    config, gan, state = restore_run(tmp_path / "run")
    zeros = sample(gan, state, jax.random.key(0), 1250, labels=[0] * 1250)
    with np.load(tmp_path / "grid.npz") as arrays:
        np.testing.assert_array_equal(arrays["samples"][1250:], zeros)
        np.testing.assert_array_equal(arrays["labels"], np.repeat([1, 0], 1250))
    samples, labels, columns = sample_grid(gan, state, jax.random.key(0), 1024, labels=[1, 0])
    save_samples(gan, state, samples, tmp_path / "shown.png", dataset_name=config.data.name, labels=labels, columns=columns)
    assert (tmp_path / "run" / "grid.png").read_bytes() == (tmp_path / "shown.png").read_bytes()


def test_metrics_by_label_are_refused_for_an_unconditional_run(run_script, tmp_path):
    done = run_script("evaluate.py", "--real", f"--out={tmp_path}/rows.jsonl", "--metrics=accuracy", status=2, fast=True)
    assert "metrics=accuracy: needs the labels of a conditional run: config.num_classes > 0" in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")


def test_images_of_another_split_keep_their_labels(run_script, tmp_path, monkeypatch):
    """Both splits have the same images here: labels that went astray would set their classes apart."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    write_idx_set(tmp_path / "data", train=60, test=60)
    conditional = ("--config.network.name=mlp", "--config.num_classes=10")
    options = ("--config=experiments/configs/fashion_mnist.py", "--config.data.image_size=8", "--config.data.resize=true")
    flags = ("--real", "--features=pixels", "--metrics=class_frechet,class_coverage", f"--out={tmp_path}/rows.jsonl")
    run_script("evaluate.py", *options, *conditional, *flags, fast=True)
    (row,) = read_jsonl(tmp_path / "rows.jsonl")
    assert (row["mean"]["pixels_class_frechet"], row["mean"]["class_coverage"]) == (pytest.approx(0, abs=1e-9), 1)


def test_the_dataset_must_have_the_classes_of_the_config(run_script, tmp_path):
    np.save(tmp_path / "stripes.npy", striped(40)[0])
    data = ("--config.network.name=mlp", "--config.data.image_size=8", f"--config.data.name=numpy:{tmp_path}/stripes.npy")
    options = (*data, "--config.num_classes=2", "--real", f"--out={tmp_path}/rows.jsonl", "--features=pixels")
    done = run_script("evaluate.py", *options, status=2, fast=True)
    assert "config.num_classes=2 must be 0: images of numpy:" in done.stderr
    assert done.stderr.endswith("stripes.npy have no labels\n")
