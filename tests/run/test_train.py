"""The loop: what a run leaves behind, how it goes on, when it refuses and when it stops."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small import assert_trees_equal, small_config

from gan_jax import create_state, parallel
from gan_jax.errors import InputError, NonFiniteError
from gan_jax.files import read_jsonl
from gan_jax.run import loop
from gan_jax.run.config import flatten, make_configured_dataset, make_gan, resolve
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run

METRICS = {"value", "jsd/lower_bound", "loss/disc", "loss/gen", "logits/real", "logits/fake", "prob/real", "prob/fake"}
METRICS |= {"grad_norm/disc", "grad_norm/gen", "images_seen", "steps_per_second", "images_per_second", "step"}


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
        assert (picture.size, gif.n_frames) == ((134, 134), 4)
    assert (tmp_path / "curves.png").stat().st_size > 5000
    assert json.loads((tmp_path / "config.json").read_text())["disc_steps"] == 2
    (row,) = read_jsonl(tmp_path / "history.jsonl")
    assert (row["from_step"], row["to_step"], row["config"]["disc_steps"]) == (0, 23, 2)
    assert {"commit", "hardware", "versions", "compile_seconds", "seconds", "images_per_second"} <= set(row)
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert all(str(tmp_path / name) in last_line for name in ("samples/00000023.png", "curves.png", "training.gif"))

    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert_trees_equal(train(config, tmp_path), state)
    assert "the run is complete at step 23" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in before | after if before.get(path) != after.get(path)} == set()


def test_samples_are_looked_at_and_the_best_step_is_kept_beside_the_last(tmp_path, capsys):
    points = {"data.name": "ring", "network.name": "mlp", "eval_every": 4, "eval_num": 100, "keep_checkpoints": 1}
    train(small_config(**points), tmp_path)
    looks = {row["step"]: row["eval/js"] for row in read_jsonl(tmp_path / "eval.jsonl") if "eval/js" in row}
    assert list(looks) == [4, 8, 12, 16, 20]
    best = min(looks, key=lambda step: (looks[step], step))
    assert [int(restore_run(tmp_path, which)[2].step) for which in ("best", "final")] == [best, 20]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {str(best), "20"}
    said = capsys.readouterr().out
    assert said.count("eval/modes") == 5 + 2  # each evaluation, and at the end samples and the real baseline
    assert f"eval/js of the best and the final checkpoint, both kept: {looks[best]:.4g} at step {best} and" in said


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_points_are_drawn_over_their_density(tmp_path, name):
    train(small_config(**{"data.name": name, "network.name": "mlp", "objective": "minimax"}), tmp_path)
    with Image.open(tmp_path / "training.gif") as gif:
        assert gif.n_frames == 3
    first, last = ((tmp_path / "samples" / f"{step:08d}.png").read_bytes() for step in (0, 20))
    assert first != last


@pytest.mark.parametrize(
    "change",
    [
        {"network.dcgan.base_width": 8},
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
    with pytest.raises(InputError, match="another config") as error:
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


def test_a_reader_does_not_touch_a_save_that_is_under_way(shared_run):
    _, workdir = shared_run
    half = workdir / "checkpoints" / "30.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "data").write_text("half")
    restore_run(workdir)
    assert (half / "data").read_text() == "half"
    (half / "data").unlink()
    half.rmdir()


def test_a_larger_number_of_steps_continues(shared_run, capsys):
    _, workdir = shared_run
    state = train(small_config(num_steps=25), workdir)
    assert int(state.step) == 25
    assert "resuming at step 20" in capsys.readouterr().out
    assert [row["step"] for row in read_jsonl(workdir / "metrics.jsonl")] == [5, 10, 15, 20, 25]


def test_a_nan_stops_the_run_names_step_and_leaf_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    real_make_step = parallel.make_step

    def make_poisoned_step(*args, **options):
        step = real_make_step(*args, **options)

        def poisoned(state, draws, rng):
            poison = int(state.step) == 13
            state, metrics = step(state, draws, rng)
            if poison:
                disc = state.params.disc
                disc["Conv_0"]["kernel"] = disc["Conv_0"]["kernel"].at[0, 0, 0, 0].set(jnp.nan)
            return state, metrics

        return poisoned

    monkeypatch.setattr(loop, "make_step", make_poisoned_step)
    # The step after the poisoned one is the first with a metric that is nan.
    message = r"step 15: grad_norm.* is nan, state\.params.* has nan or inf .*the checkpoint of step 10 is kept"
    with pytest.raises(NonFiniteError, match=message) as error:
        train(small_config(num_steps=30), tmp_path)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert int(restore_run(tmp_path)[2].step) == 10
    assert all(np.isfinite(row["value"]) for row in read_jsonl(tmp_path / "metrics.jsonl"))
    assert int(train(small_config(num_steps=30), tmp_path).step) == 30


def test_a_nan_that_no_metric_shows_is_caught_before_the_checkpoint(tmp_path, monkeypatch):
    real_make_step = parallel.make_step

    def make_poisoned_step(*args, **options):
        step = real_make_step(*args, **options)

        def poisoned(state, draws, rng):
            state, metrics = step(state, draws, rng)
            if int(state.step) == 20:
                state.params.gen["Dense_0"]["kernel"] += jnp.nan
            return state, metrics

        return poisoned

    monkeypatch.setattr(loop, "make_step", make_poisoned_step)
    with pytest.raises(NonFiniteError, match=r"step 20: state\.params\.gen\['Dense_0'\].*step 10 is kept"):
        train(small_config(sample_every=7), tmp_path)
    assert int(restore_run(tmp_path)[2].step) == 10


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


def test_the_step_donates_its_state():
    config = small_config()
    gan, dataset = make_gan(config), make_configured_dataset(config)
    state = create_state(gan, jax.random.key(0))
    parallel.make_step(gan, dataset)(state, [dataset.draw(0, 0)], jax.random.key(1))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
