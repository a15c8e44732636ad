"""The loop: what a run writes, how it is resumed, and when a resume is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from small import assert_trees_equal, small_config

from gan_jax import parallel, run_keys, sample
from gan_jax.data.digits import load_digits
from gan_jax.errors import InputError
from gan_jax.evaluation import evaluator, format_metrics
from gan_jax.evaluation.features import classifier, make_classifier
from gan_jax.files import read_jsonl
from gan_jax.run import loop
from gan_jax.run.checks import flatten
from gan_jax.run.config import make_gan, resolve
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run

METRICS = {"value", "jsd/lower_bound", "loss/disc", "loss/gen", "logits/real", "logits/fake", "prob/real", "prob/fake"}
RECIPE = classifier.RECIPE | {"steps": 100, "width": 8, "dimensions": 16}
METRICS |= {"grad_norm/disc", "grad_norm/gen", "images_seen", "steps_per_second", "images_per_second", "step"}
METRICS |= {"accuracy/disc", *(f"{name}/{player}" for name in ("learning_rate", "b2") for player in ("gen", "disc"))}


def pictures(workdir):
    return [path.name for path in sorted((workdir / "samples").iterdir())]


def test_a_run_leaves_logs_pictures_and_a_checkpoint_and_a_second_call_changes_nothing(tmp_path, capsys):
    config = small_config(num_steps=23, disc_steps=2)
    state = train(config, tmp_path)
    assert int(state.step) == 23
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 23]
    assert all(set(row) == METRICS for row in rows)
    assert rows[-1]["images_seen"] == 23 * 8 * 2
    assert pictures(tmp_path) == ["00000000.png", "00000010.png", "00000020.png", "00000023.png"]
    with Image.open(tmp_path / "samples" / "00000023.png") as picture, Image.open(tmp_path / "training.gif") as gif:
        assert (picture.size, gif.n_frames, gif.size) == ((134, 134), 4, (134, 150))
    with Image.open(tmp_path / "real.png") as picture:
        assert picture.size == (134, 134)
    assert (tmp_path / "curves.png").stat().st_size > 5000
    assert json.loads((tmp_path / "config.json").read_text())["disc_steps"] == 2
    (row,) = read_jsonl(tmp_path / "runs.jsonl")
    assert (row["from_step"], row["to_step"], row["config"]["disc_steps"]) == (0, 23, 2)
    assert {"commit", "hardware", "versions", "compile_seconds", "seconds", "images_per_second"} <= set(row)
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert all(str(tmp_path / name) in last_line for name in ("samples/00000023.png", "curves.png", "training.gif"))

    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert_trees_equal(train(config, tmp_path), state)
    assert "the run is complete at step 23" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in before | after if before.get(path) != after.get(path)} == set()


@pytest.mark.usefixtures("no_curves")
def test_samples_are_evaluated_and_the_best_step_is_kept_beside_the_last(tmp_path, capsys):
    points = {"data.name": "ring", "num_classes": 8, "network.name": "mlp"}
    train(small_config(**points, eval_every=4, eval_num=100, keep_checkpoints=1), tmp_path)
    rows = read_jsonl(tmp_path / "eval.jsonl")
    assert [row["step"] for row in rows] == [0, 4, 8, 10, 12, 16, 20]
    assert [row["step"] for row in rows if "samples/diversity" in row] == [0, 10, 20]
    js = {row["step"]: row["eval/js"] for row in rows if "eval/js" in row}
    assert list(js) == [4, 8, 12, 16, 20]
    best = min(js, key=lambda step: (js[step], step))
    assert [int(restore_run(tmp_path, which)[2].step) for which in ("best", "final")] == [best, 20]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {str(best), "20"}
    (row,) = read_jsonl(tmp_path / "runs.jsonl")
    printed = capsys.readouterr().out
    assert f"step 20, raw weights: {format_metrics({key: rows[-1][key] for key in row['real_baseline']})}" in printed
    assert f"real-vs-real baseline: {format_metrics(row['real_baseline'])}" in printed
    assert f"eval/js of the best and the final checkpoint: {js[best]:.4g} at step {best} and {js[20]:.4g} at step 20" in printed


@pytest.mark.usefixtures("no_curves")
def test_pictures_of_a_conditional_run_have_a_class_in_each_row_and_its_evaluations_metrics_by_label(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(evaluator, "make_classifier", lambda *data: make_classifier(*data, recipe=RECIPE))
    config = small_config(num_classes=10, num_samples=25, eval_every=20, **{"network.name": "mlp"})
    state = train(config, tmp_path / "run")
    gan, latents = make_gan(config), run_keys(config.seed).sample
    with Image.open(tmp_path / "run" / "samples" / "00000020.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (10 * 66 + 2, 2 * 66 + 2)
    for row in range(10):
        for column, image in enumerate(sample(gan, state, latents, 2, labels=[row, row])):
            top, left = 2 + 66 * row, 2 + 66 * column
            np.testing.assert_array_equal(pixels[top : top + 64 : 8, left : left + 64 : 8], image[..., 0])
    images, of_images = load_digits(8, 1)
    with Image.open(tmp_path / "run" / "real.png") as picture:
        real = np.asarray(picture)
    for place in range(20):
        top, left = 2 + 66 * (place // 2), 2 + 66 * (place % 2)
        same = (images[..., 0] == real[top : top + 64 : 8, left : left + 64 : 8]).all(axis=(1, 2))
        assert set(of_images[same]) == {place // 2}
    names = {"eval/accuracy", "eval/classifier_class_frechet", "eval/class_coverage"}
    (row,) = [row for row in read_jsonl(tmp_path / "run" / "eval.jsonl") if "eval/accuracy" in row]
    (run,) = read_jsonl(tmp_path / "run" / "runs.jsonl")
    assert names < row.keys()
    assert names < run["real_baseline"].keys()
    assert row["eval/accuracy"] < run["real_baseline"]["eval/accuracy"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("folder:nowhere", r"config\.num_classes=2 must be 0: images of folder:nowhere have no labels"),
        ("numpy:{}/images.npy", "num_classes=2, and the dataset has 0 classes: set 0, or choose a dataset with labels"),
        ("mnist5k", "num_classes=2, and the dataset has 10 classes: set 10"),
    ],
)
def test_classes_that_the_dataset_does_not_have_are_refused_before_anything_slow(data, message, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "make_evaluator", None)
    np.save(tmp_path / "images.npy", np.zeros((40, 8, 8, 1), np.uint8))
    options = {"data.name": data.format(tmp_path), "num_classes": 2, "network.name": "mlp", "eval_every": 10}
    with pytest.raises(InputError, match=message):
        train(small_config(**options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_without_v_is_recorded_and_not_stopped(tmp_path, capsys):
    """Hinge logits are no probabilities: no V, no alarm, and a schedule is logged as it goes."""
    options = {"objective": "hinge", "watch.action": "stop", "watch.steps": 1, "watch.diversity": 0.0}
    options |= {"optimizer.gen.final_learning_rate": 0.0, "schedule.images": 20 * 8}
    state = train(small_config(**options), tmp_path)
    assert int(state.step) == 20
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert not any({"value", "prob/real", "jsd/lower_bound"} & set(row) for row in rows)
    rates = [row["learning_rate/gen"] for row in rows]
    np.testing.assert_allclose(rates, [1e-4 * (1 + np.cos(np.pi * (row["step"] - 1) / 20)) for row in rows], rtol=1e-4)
    gap = rows[-1]["logits/real"] - rows[-1]["logits/fake"]
    assert f"objective={-rows[-1]['loss/disc']:.3f} logit_gap={gap:.3f}" in capsys.readouterr().out
    assert (tmp_path / "curves.png").stat().st_size > 5000


@pytest.mark.usefixtures("no_curves")
def test_points_are_plotted_over_their_density(tmp_path):
    options = {"data.name": "grid", "network.name": "mlp", "num_steps": 2, "objective": "hinge", "packing": 2}
    train(small_config(**options), tmp_path)
    first, last = ((tmp_path / "samples" / f"{step:08d}.png").read_bytes() for step in (0, 2))
    assert first != last


@pytest.mark.parametrize(
    "change",
    [
        {"network.gen.dcgan.base_width": 8},
        {"latent_dim": 5},
        {"optimizer.gen.learning_rate": 1e-3},
        {"optimizer.disc.name": "sgd"},
        {"objective": "minimax"},
        {"data.channels": 3},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_resume_as_another_experiment_is_refused_with_the_difference(shared_run, change):
    config, workdir = shared_run
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    (key,) = change
    changed = small_config(**change)
    with pytest.raises(InputError, match="a run with another config") as error:
        train(changed, workdir)
    old, new = (str(entry[key]) for entry in (dict_of(config), dict_of(changed)))
    assert f"{key}: {old} -> {new}" in str(error.value)
    assert before == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def dict_of(config):
    return flatten(resolve(config))


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = small_config()
    train(config, workdir)
    return config, workdir


def test_restore_run_gives_the_runs_own_config_recipe_and_state(shared_run):
    config, workdir = shared_run
    restored, gan, state = restore_run(workdir)
    assert dict_of(restored) == dict_of(config)
    assert int(state.step) == 20
    assert gan.sample_shape == (8, 8, 1)


def test_bad_data_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="batch_size=6000"):
        train(small_config(batch_size=6000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_curves")
def test_a_larger_number_of_steps_continues(shared_run, capsys):
    _, workdir = shared_run
    state = train(small_config(num_steps=25), workdir)
    assert int(state.step) == 25
    assert "resuming at step 20" in capsys.readouterr().out
    assert [row["step"] for row in read_jsonl(workdir / "metrics.jsonl")] == [5, 10, 15, 20, 25]


@pytest.mark.usefixtures("no_curves")
def test_the_step_is_compiled_once_for_new_and_restored_states(tmp_path, monkeypatch):
    traces = []
    real_train_step = parallel.train_step

    def counting(*args, **options):
        traces.append(1)
        return real_train_step(*args, **options)

    monkeypatch.setattr(parallel, "train_step", counting)
    train(small_config(), tmp_path)
    assert len(traces) == 1
    train(small_config(num_steps=40), tmp_path)
    assert len(traces) == 2
