"""From samples to numbers: closed forms of class statistics, features that stream and are kept, what is refused, scripts."""

import json

import jax
import numpy as np
import pytest
from small import random_images, small_gan, small_state
from test_tfds import write_idx_set

from gan_jax import from_arrays, make_dataset, sample
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluator as evaluator_module
from gan_jax.evaluation import metrics
from gan_jax.evaluation.features import Features, classifier, has_classes, hold_out, make_classifier, make_pixels
from gan_jax.evaluation.results import find_row, mean_and_error, plus_minus
from gan_jax.files import read_jsonl, sha256_of

RECIPE = classifier.RECIPE | {"steps": 60, "width": 4, "dimensions": 8}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# Classes


def test_class_statistics_of_sure_and_even_samples_are_the_number_of_classes():
    sure = np.tile(np.eye(5), (8, 1))
    found = metrics.class_statistics(sure)
    np.testing.assert_allclose(found.histogram, 0.2)
    assert (found.covered, found.confidence, found.score) == (5, 1.0, pytest.approx(5))


def test_class_statistics_of_collapsed_and_of_undecided_samples_are_1():
    collapsed = metrics.class_statistics(np.tile([0, 1.0, 0], (9, 1)))
    assert (collapsed.covered, collapsed.confidence, collapsed.score) == (1, 1.0, pytest.approx(1))
    undecided = metrics.class_statistics(np.full((9, 4), 0.25))
    assert (undecided.confidence, undecided.score) == (0.25, pytest.approx(1))


def test_the_score_is_the_exponential_of_the_mutual_information():
    """Half the samples (3/4, 1/4), half the other way round: p(y) is even, I = log 2 − H(3/4)."""
    found = metrics.class_statistics(np.repeat([[0.75, 0.25], [0.25, 0.75]], 10, axis=0))
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert found.score == pytest.approx(2 / np.exp(entropy), rel=1e-12)


def test_a_class_is_covered_from_a_tenth_of_its_even_share_on():
    def covered(strays):
        return metrics.class_statistics(np.eye(4)[[0] * (400 - strays) + [3] * strays]).covered

    assert (covered(9), covered(10)) == (1, 2)


@pytest.mark.parametrize("bad", [np.full((3, 2), 0.7), [[1.5, -0.5]], [[np.nan, 1.0]], np.zeros((0, 2)), np.ones(3)])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(InputError, match="give"):
        metrics.class_statistics(bad)


# Classifier and pixels


def striped(num, size=8, seed=0):
    """Two classes that a small classifier can learn, labelled 3 and 7: horizontal and vertical stripes, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num)
    stripes = np.where(np.arange(size) % 4 < 2, 200, 40)
    images = np.where(labels[:, None, None] == 1, stripes[:, None], stripes) + rng.integers(0, 40, (num, size, size))
    return images[..., None].astype(np.uint8), np.array([3, 7])[labels]


def test_the_classifier_learns_from_one_part_and_is_judged_by_the_other(capsys):
    images, labels = striped(200)
    found = make_classifier(images, labels, recipe=RECIPE)
    assert "right on 100.0 % of 80 others" in capsys.readouterr().out
    rows = found.extract(images[:7])
    assert (rows.shape, rows.dtype) == ((7, found.dimensions), np.float32)
    probabilities = found.probabilities(rows)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(found.classes[probabilities.argmax(axis=1)], labels[:7])
    np.testing.assert_allclose(found.extract(images[3:5]), rows[3:5], atol=1e-5)
    # Labels of the held-out part that are wrong leave the weights as they are and the accuracy at 0.
    wrong, (_, held_out) = labels.copy(), hold_out(200)
    wrong[held_out] = 10 - labels[held_out]
    other = make_classifier(images, wrong, recipe=RECIPE)
    assert (other.digest, other.accuracy) == (found.digest, 0.0)


def test_the_classifier_is_kept_by_images_labels_and_recipe(capsys, tmp_path):
    images, labels = striped(100)
    first = make_classifier(images, labels, recipe=RECIPE)
    capsys.readouterr()
    again = make_classifier(images, labels, recipe=RECIPE)
    assert capsys.readouterr().out == ""
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.extract(images[:5]), first.extract(images[:5]))
    make_classifier(images, labels, recipe=RECIPE | {"steps": 61})
    assert "once" in capsys.readouterr().out
    for path in (tmp_path / "cache").rglob("classifiers/*"):
        path.write_bytes(path.read_bytes()[:100])
    assert make_classifier(images, labels, recipe=RECIPE).digest == first.digest  # cut off: trained again, to the same bits
    assert "once" in capsys.readouterr().out


def test_labels_that_nothing_can_be_learned_from():
    assert not has_classes(None)
    assert not has_classes(np.zeros(100, int))
    assert not has_classes(np.arange(100))
    with pytest.raises(InputError, match="needs labels"):
        make_classifier(random_images(30), None)


def test_held_out_images_are_none_that_were_learned_from():
    for num in (10, 5000, 60_000):
        learned, held_out = hold_out(num)
        assert sorted([*learned, *held_out]) == list(range(num))
        assert len(held_out) == min(2000, 2 * num // 5)


def test_pixels_are_the_pixels_and_those_of_large_images_their_means():
    images = random_images(3, 8, 3)
    np.testing.assert_allclose(make_pixels((8, 8, 3)).extract(images), images.reshape(3, -1) / 127.5 - 1, rtol=1e-5, atol=1e-6)
    large = random_images(2, 100)
    features = make_pixels((100, 100, 1))
    assert features.dimensions == 33 * 33
    rows = features.extract(large)
    assert rows[1, 34] == pytest.approx(large[1, 3:6, 3:6].mean() / 127.5 - 1, abs=1e-5)


# Features that stream


def counting(digest="weights"):
    """Features of pixels with a digest, as if they cost something, and the list of how many images each call has seen."""
    calls, pixels = [], make_pixels((4, 4, 1))

    def extract(images):
        calls.append(len(images))
        return pixels.extract(images)

    return Features("pixels", extract, 16, 100, digest, ""), calls


def test_streamed_moments_are_those_of_all_rows():
    images = random_images(600, 4)
    features, calls = counting()
    found = evaluator_module.summarise(evaluator_module.real_images(images), features, ["frechet"])
    assert found.rows is None
    assert sum(calls) == 600
    assert max(calls) == 100
    expected = metrics.moments(features.extract(images))
    np.testing.assert_allclose(found.moments.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(found.moments.scatter, expected.scatter, rtol=1e-9)


def test_features_are_made_once_and_go_on_where_they_stopped():
    images = random_images(600, 4)
    features, calls = counting()

    def stop_late(images):
        if sum(calls) >= 256:
            raise KeyboardInterrupt
        return features.extract(images)

    source = evaluator_module.real_images(images)
    with pytest.raises(KeyboardInterrupt):
        evaluator_module.summarise(source, Features("pixels", stop_late, 16, 100, "weights", ""), ["kid"])
    assert sum(calls) == 256
    found = evaluator_module.summarise(source, features, ["kid"])
    assert sum(calls) == 600
    order = np.random.default_rng(0).permutation(600)
    np.testing.assert_array_equal(found.rows, make_pixels((4, 4, 1)).extract(images[order]))
    evaluator_module.summarise(source.first(256), features, ["kid", "frechet"])
    evaluator_module.summarise(source, features, ["frechet"])
    assert sum(calls) == 600
    others, other_calls = counting("other weights")
    evaluator_module.summarise(source, others, ["frechet"])
    assert sum(other_calls) == 600
    changed = images.copy()
    changed[5] ^= 1
    evaluator_module.summarise(evaluator_module.real_images(changed), features, ["frechet"])
    assert sum(calls) == 1200
    evaluator_module.forget(source, features)
    evaluator_module.summarise(source, features, ["frechet"])
    assert sum(calls) == 1800


def test_samples_by_chunks_are_those_drawn_at_once():
    gan = small_gan()
    state = small_state(gan)
    source = evaluator_module.GeneratedImages(gan, state, 3, 300)
    chunks = np.concatenate([source.take(0, 256), source.take(256, 300)])
    np.testing.assert_array_equal(chunks, sample(gan, state, jax.random.key(3), 300))
    others = [
        evaluator_module.GeneratedImages(gan, state, 4, 300),
        evaluator_module.GeneratedImages(gan, state.replace(step=1), 3, 20),
    ]
    assert [other.identity == source.identity for other in others] == [False, True]


def test_fingerprints_see_shape_dtype_and_order():
    parts = [np.zeros(4, np.int32), np.zeros((2, 2), np.int32), np.zeros(4, np.float32), np.zeros(5, np.int32), "0", 0]
    assert len({sha256_of(part) for part in parts}) == len(parts)
    assert sha256_of("a", 1) == sha256_of("a", 1) != sha256_of(1, "a")


def test_mean_and_error():
    assert mean_and_error([1.0, 2.0, 3.0]) == pytest.approx((2, 1 / np.sqrt(3)))
    assert np.isnan(mean_and_error([1.0])[1])
    assert (plus_minus([1.0, 2.0, 3.0]), plus_minus([4.0])) == ("2 ± 0.6", "4")


# Scores


def test_a_score_says_what_it_depends_on_and_is_the_metrics_own_number():
    images, labels = striped(400)
    features = make_classifier(images, labels, recipe=RECIPE)
    real, fake = (evaluator_module.real_images(images[part]) for part in (slice(0, 200), slice(200, 400)))
    reference = evaluator_module.make_reference(["frechet", "kid", "prdc", "classes", "diversity"], features, real, "stripes")
    row = json.loads(json.dumps(evaluator_module.score(reference, [fake, fake.first(200)], "others")))
    rows = [
        features.extract(images[part][np.random.default_rng(0).permutation(200)]) for part in (slice(0, 200), slice(200, 400))
    ]
    moments = [metrics.moments(side) for side in rows]
    assert row["mean"]["classifier_frechet"] == pytest.approx(metrics.frechet_distance(*moments), rel=1e-6)
    assert row["mean"]["classifier_kernel"] == pytest.approx(
        metrics.kernel_distance(*rows, subset_size=100).mean, rel=1e-6, abs=1e-9
    )
    assert row["mean"]["precision"] == metrics.precision_recall(*rows).precision
    assert row["mean"]["class_share/3"] + row["mean"]["class_share/7"] == pytest.approx(1)
    assert not {"fid", "kid"} & set(row["mean"])
    assert set(row["standard_error"].values()) == {0.0}
    named = {key: row[key] for key in ("samples", "num", "real", "num_real", "sets", "features", "weights_sha256")}
    assert named == {"samples": "others", "num": 200, "real": "stripes", "num_real": 200, "sets": 2} | {
        "features": "classifier",
        "weights_sha256": features.digest,
    }
    assert row["classifier_accuracy"] == 1


def test_only_inceptions_numbers_are_called_fid_and_kid():
    pixels = make_pixels((4, 4, 1))
    inception = Features("inception", pixels.extract, 16, 100, "", "")
    source = evaluator_module.real_images(random_images(50, 4))
    row = evaluator_module.score(evaluator_module.make_reference(["frechet", "kid"], inception, source, ""), [source], "same")
    assert row["mean"]["fid"] == pytest.approx(0, abs=1e-9)
    assert set(row["mean"]) == {"fid", "kid", "kid_subset_error"}


def test_few_samples_of_many_dimensions_are_noted():
    source = evaluator_module.real_images(random_images(20, 8))
    reference = evaluator_module.make_reference(["frechet"], make_pixels((8, 8, 1)), source, "")
    (note, _) = evaluator_module.score(reference, [source], "same")["notes"]
    assert "20 samples of 64 dimensions" in note


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (random_images(5), "5 images are too few for frechet, prdc: give at least 6"),
        (random_images(9, channels=3), "3 channels, the real images have 1"),
        (random_images(9, 8), "8 × 8, the real images are 16 × 16"),
    ],
)
def test_images_that_cannot_be_compared_are_one_line(bad, message):
    real = evaluator_module.real_images(random_images(9))
    reference = evaluator_module.make_reference(["frechet", "prdc"], make_pixels((16, 16, 1)), real, "")
    with pytest.raises(InputError, match=message) as caught:
        evaluator_module.score(reference, [evaluator_module.real_images(bad)], "bad")
    assert "\n" not in str(caught.value)


def test_a_generator_that_draws_nothing_is_measured_too():
    real, black = (evaluator_module.real_images(images) for images in (random_images(9), np.zeros((9, 16, 16, 1), np.uint8)))
    reference = evaluator_module.make_reference(["frechet", "prdc"], make_pixels((16, 16, 1)), real, "")
    found = evaluator_module.score(reference, [black], "black")["mean"]
    assert found["pixels_frechet"] > 100
    assert found["coverage"] == 0


def test_metrics_that_cannot_be_measured_are_one_line():
    pixels, source = make_pixels((16, 16, 1)), evaluator_module.real_images(random_images(9))
    for names, message in ((["fid"], "give some of frechet"), (["classes"], "needs features=classifier")):
        with pytest.raises(InputError, match=message):
            evaluator_module.make_reference(names, pixels, source, "")
    broken = Features("pixels", lambda images: np.full((len(images), 2), np.nan, np.float32), 2, 100, "", "")
    with pytest.raises(InputError, match="nan or inf among them"):
        evaluator_module.make_reference(["kid"], broken, source, "")
    with pytest.raises(InputError, match="there are 9; give a smaller number"):
        source.first(10)


# During training


@pytest.mark.parametrize("kind", ["labelled", "unlabelled", "density"])
def test_an_evaluator_is_lowest_for_the_data_themselves(kind, monkeypatch, capsys):
    monkeypatch.setattr(classifier, "RECIPE", RECIPE)
    monkeypatch.setattr(evaluator_module, "make_classifier", lambda *data: make_classifier(*data, recipe=RECIPE))
    images, labels = striped(400, 16)
    gan = small_gan("mlp" if kind == "density" else "dcgan", ema_decay=0.9)
    dataset = make_dataset("ring", batch_size=8)
    if kind != "density":
        dataset = from_arrays(images, labels if kind == "labelled" else None, batch_size=8)
    evaluator = evaluator_module.make_evaluator(gan, dataset, num=150)
    state = small_state(gan)
    capsys.readouterr()
    found = evaluator(state)
    assert capsys.readouterr().out == ""
    assert found == evaluator(state)
    assert all(key.startswith("eval/") and np.isfinite(number) for key, number in found.items())
    real = evaluator.real_baseline()
    assert found.keys() == real.keys()
    assert real[evaluator.selection_metric] < found[evaluator.selection_metric]


def test_metrics_are_formatted_as_pairs_of_key_and_value():
    assert evaluator_module.format_metrics({"eval/modes": 8.0, "eval/js": 0.012345}) == "eval/modes 8  eval/js 0.01235"


# Scripts


@pytest.fixture(scope="module")
def run(run_script, tmp_path_factory):
    """Twenty steps on stripes in a file."""
    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "stripes.npy", striped(300)[0])
    small = ("--config.data.image_size=8", "--config.network.dcgan.base_width=4", "--config.batch_size=8")
    data = (f"--config.data.name=numpy:{folder / 'stripes.npy'}", "--config.num_steps=20", "--config.eval_num=100", *small)
    run_script("train.py", "--config=experiments/configs/mnist.py", f"--workdir={folder / 'run'}", *data, fast=True)
    return folder


def test_evaluate_a_run_and_images_from_elsewhere(run, run_script, tmp_path):
    flags = ("--features=pixels", "--num=60", "--seeds=2", "--metrics=frechet,kid,prdc,diversity")
    done = run_script("evaluate.py", f"--workdir={run / 'run'}", *flags, "--neighbours", fast=True)
    rows = read_jsonl(run / "run" / "scores.jsonl")[-2:]
    assert [(row["weights"], row["which"]) for row in rows] == [("EMA", "best and final"), ("raw", "best and final")]
    assert json.loads((run / "run" / "evaluation.json").read_text())[1]["mean"] == rows[1]["mean"]
    assert (rows[0]["step"], rows[0]["num"], rows[0]["num_real"], rows[0]["sets"]) == (20, 60, 180, 2)
    assert rows[0]["neighbours"]["median"] > rows[0]["neighbours"]["real_median"] > 0
    assert "on a CPU: --num=60" in done.stdout
    assert "warning: fake: 60 samples of 64 dimensions" in done.stdout
    assert (run / "run" / "neighbours.png").stat().st_size > 500
    images, _ = striped(90, seed=1)
    np.save(tmp_path / "other.npy", images)
    files = (f"--npz={tmp_path}/other.npy", f"--out={tmp_path}/rows.jsonl")
    run_script("evaluate.py", f"--workdir={run / 'run'}", *files, *flags[::3], fast=True)
    (row,) = read_jsonl(tmp_path / "rows.jsonl")
    assert row["num"] == 90
    assert row["mean"]["pixels_frechet"] < rows[0]["mean"]["pixels_frechet"] / 2


def test_bad_input_is_one_line_and_status_2(run, run_script, tmp_path):
    np.save(tmp_path / "floats.npy", np.zeros((9, 8, 8, 1), np.float32))
    np.save(tmp_path / "ones.npy", np.ones((9, 8, 8, 1), np.uint8))
    workdir = f"--workdir={run / 'run'}"
    for arguments, message in [
        ((workdir, "--features=pixels", f"--npz={tmp_path}/ones.npy"), "grey levels from 1 to 1: give 0 to 255"),
        ((workdir, "--features=pixels", f"--npz={tmp_path}/floats.npy"), "float32 [9, 8, 8, 1]: give uint8"),
    ]:
        done = run_script("evaluate.py", *arguments, status=2, fast=True)
        assert message in done.stderr
        assert (done.stderr.startswith("error: "), done.stderr.count("\n")) == (True, 1)


def test_fashion_mnist_in_small(run_script, tmp_path, monkeypatch):
    write_idx_set(tmp_path / "data", train=70, test=40)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    small = ("--epochs=1", "--seeds=1", "--num=40", "--width=4", "--features=pixels", "--objective=minimax")
    run_script("fashion_mnist.py", *small, f"--runs={tmp_path}/runs", f"--results={tmp_path}", fast=True)
    rows = read_jsonl(tmp_path / "fashion_mnist.jsonl")
    assert [row.get("which") for row in rows] == ["final", None, "best"]
    assert [row["step"] for row in rows[::2]] == [1, 1]
    assert rows[0]["mean"] == rows[2]["mean"]
    assert "| minimax, final step | 1 |" in (tmp_path / "fashion_mnist.md").read_text()


def test_parzen_in_small(run_script, tmp_path):
    small = ("--steps=2", "--num=20", "--width=4", f"--runs={tmp_path}/runs", f"--results={tmp_path}")
    run_script("mnist_parzen.py", *small, fast=True)
    by_name = {row["samples"]: row["log_likelihood"] for row in read_jsonl(tmp_path / "mnist_parzen.jsonl")}
    assert by_name["training digits"] > by_name["DCGAN, seed 0"]
    assert "| DCGAN, seed 0 | 20 |" in (tmp_path / "mnist_parzen.md").read_text()


def test_what_was_measured_is_found(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"seed": 0, "n": 1}\n{"seed": 1, "n": 2}\n{"seed": 0, "n": 3}\n')
    assert find_row(tmp_path / "rows.jsonl", {"seed": 0}) == {"seed": 0, "n": 3}
    assert find_row(tmp_path / "rows.jsonl", {"seed": 0, "width": 4}) is None
    assert find_row(tmp_path / "none.jsonl", {}) is None
