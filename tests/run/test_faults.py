"""Fault tolerance: a fault costs at most the steps since the last save, and one line names it.

Processes killed at random moments are the subject of `make torture`.
"""

import os
import resource
import shutil
import signal
import time
from contextlib import ExitStack, contextmanager
from functools import partial

import jax.numpy as jnp
import pytest
from PIL import Image
from small import assert_trees_equal, small_config

from gan_jax import parallel
from gan_jax.errors import NonFiniteError, SaveError, StoppedError
from gan_jax.evaluation import format_metrics
from gan_jax.files import read_jsonl
from gan_jax.run import loop
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.loop import train
from gan_jax.run.pictures import save_run_plots
from gan_jax.run.restore import restore_run
from gan_jax.run.runtime import lock_workdir

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The state and the metrics of 20 steps to which nothing happens."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return train(small_config(), workdir), read_jsonl(workdir / "metrics.jsonl")


def assert_same_run(workdir, undisturbed):
    """Resume, and reach the same bits and the same rows as the undisturbed run."""
    state, rows = undisturbed
    assert_trees_equal(train(small_config(), workdir), state)
    assert without_rates(read_jsonl(workdir / "metrics.jsonl")) == without_rates(rows)


def without_rates(rows):
    return [{key: entry for key, entry in row.items() if not key.endswith("_per_second")} for row in rows]


@contextmanager
def after_step(step, act, monkeypatch):
    """Within it, `act(state)` is called, and may return another state, at the end of a step."""
    real_make_step = parallel.make_step

    def make_disturbed(*args, **options):
        step_fn = real_make_step(*args, **options)

        def disturbed(state, first, num_steps=1):
            state, metrics = step_fn(state, first, num_steps)
            return (act(state) or state if first + num_steps == step else state), metrics

        return disturbed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_step", make_disturbed)
        yield


def send(number, state):
    os.kill(os.getpid(), number)
    time.sleep(0.1)  # for the thread that reads signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_stops(tmp_path, undisturbed, monkeypatch, name):
    number = getattr(signal, name)
    handler, act = signal.getsignal(number), partial(send, number)
    with after_step(13, act, monkeypatch), pytest.raises(StoppedError, match=f"{name}: saved step 13 of 20") as stopped:
        train(small_config(), tmp_path)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) == handler
    assert int(restore_run(tmp_path)[2].step) == 13
    assert_same_run(tmp_path, undisturbed)
    assert [row["ended"] for row in read_jsonl(tmp_path / "runs.jsonl")] == [name.lower(), "complete"]


@contextmanager
def file_limit(size):
    """No file of this process may grow beyond `size` bytes: to a writer, a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_when_a_checkpoint_is_written(tmp_path, undisturbed, monkeypatch):
    train(small_config(num_steps=10), tmp_path)
    write = Checkpoints._write

    def write_to_a_full_disk(*arguments):
        with file_limit(1000):
            write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_write", write_to_a_full_disk)
        with pytest.raises(SaveError, match=r"step 20 could not be saved: .* the newest checkpoint is of step 10"):
            train(small_config(), tmp_path)
    assert int(restore_run(tmp_path)[2].step) == 10
    assert_same_run(tmp_path, undisturbed)


def test_a_disk_that_is_full_when_a_row_is_written(tmp_path, undisturbed, monkeypatch):
    train(small_config(num_steps=10), tmp_path)
    limits = ExitStack()

    def fill_the_disk(state):
        limits.enter_context(file_limit((tmp_path / "metrics.jsonl").stat().st_size + 100))

    with limits, after_step(11, fill_the_disk, monkeypatch), pytest.raises(OSError, match=r"metrics\.jsonl"):
        train(small_config(), tmp_path)
    assert_same_run(tmp_path, undisturbed)


def test_a_damaged_checkpoint_a_row_cut_in_two_and_a_clock_that_jumps_back(tmp_path, undisturbed, monkeypatch, capsys):
    train(small_config(), tmp_path)
    for path in (tmp_path / "checkpoints" / "20" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-100])
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-100])
    assert [row["step"] for row in read_jsonl(metrics)] == [5, 10, 15]
    capsys.readouterr()
    real_time = time.time
    monkeypatch.setattr(time, "time", lambda: real_time() - 1e7)
    assert_same_run(tmp_path, undisturbed)
    printed = capsys.readouterr().out
    assert "the checkpoint of step 20 is damaged" in printed
    assert "resuming at step 10" in printed
    assert all(row["steps_per_second"] > 0 for row in read_jsonl(metrics))


def test_nan_in_a_metric_stops_the_run_at_the_last_good_checkpoint(tmp_path, undisturbed, monkeypatch):
    def poison(state):
        kernel = state.params.disc["Conv_0"]["kernel"]
        state.params.disc["Conv_0"]["kernel"] = kernel.at[0, 0, 0, 0].set(jnp.nan)

    with (
        after_step(13, poison, monkeypatch),
        pytest.raises(NonFiniteError, match=r"^step 14: .* is nan, .*; nan or inf in .*; the newest checkpoint is of step 10$"),
    ):
        train(small_config(), tmp_path)
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [5, 10]
    assert_same_run(tmp_path, undisturbed)


def test_nan_that_no_metric_shows_is_found_before_the_checkpoint_and_its_leaf_named(tmp_path, monkeypatch):
    def poison(state):
        state.params.gen["Dense_0"]["kernel"] += jnp.nan

    message = r"^step 20: nan or inf in params/gen/Dense_0/kernel; the newest checkpoint is of step 10$"
    with after_step(20, poison, monkeypatch), pytest.raises(NonFiniteError, match=message):
        train(small_config(sample_every=7), tmp_path)
    assert int(restore_run(tmp_path)[2].step) == 10


def test_the_end_is_made_up_where_a_run_was_killed_between_its_last_checkpoint_and_its_last_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "save_run_plots", save_run_plots)
    few = {"num_steps": 2, "sample_every": 2, "checkpoint_every": 2, "eval_every": 2}
    config = small_config(**few, eval_num=100, **{"data.name": "ring", "network.name": "mlp"})
    killed = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "append_row", kill)
        with pytest.raises(KeyboardInterrupt):
            train(config, killed)
    evaluations = read_jsonl(killed / "eval.jsonl")
    for lost in ("samples", "eval.jsonl"):
        workdir = tmp_path / lost
        shutil.copytree(killed, workdir)
        for path in workdir.glob(lost):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        train(config, workdir)
        printed = capsys.readouterr().out
        (row,) = read_jsonl(workdir / "runs.jsonl")
        assert (row["from_step"], row["to_step"], row["ended"]) == (2, 2, "complete")
        assert f"real-vs-real baseline: {format_metrics(row['real_baseline'])}" in printed
        numbers = {name: evaluations[-1][name] for name in row["real_baseline"]}
        assert f"step 2, raw weights: {format_metrics(numbers)}" in printed
        assert read_jsonl(workdir / "eval.jsonl") == (evaluations[-1:] if lost == "eval.jsonl" else evaluations)
        assert all((workdir / name).exists() for name in ("samples/00000002.png", "curves.png", "training.gif"))
        train(config, workdir)
        assert "the run is complete at step 2" in capsys.readouterr().out
        assert read_jsonl(workdir / "runs.jsonl") == [row]


@pytest.mark.parametrize("stop", ["after a checkpoint with samples", "by a signal, with a checkpoint alone"])
def test_a_run_that_is_ended_at_a_step_without_evaluation_is_evaluated(tmp_path, monkeypatch, stop):
    few = {"steps_per_call": "1", "sample_every": 6, "checkpoint_every": 6, "eval_every": 60, "eval_num": 100}
    config = partial(small_config, **few, **{"data.name": "ring", "network.name": "mlp"})
    after, act = (2, partial(send, signal.SIGTERM)) if stop.startswith("by a signal") else (7, kill)
    with after_step(after, act, monkeypatch), pytest.raises((KeyboardInterrupt, StoppedError)):
        train(config(num_steps=20), tmp_path)
    step = int(restore_run(tmp_path)[2].step)
    train(config(num_steps=step), tmp_path)
    rows = read_jsonl(tmp_path / "eval.jsonl")
    assert [row["step"] for row in rows] == [0, step]
    assert {"eval/js", "samples/diversity"} <= rows[-1].keys()
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.find().selection_metric == rows[-1]["eval/js"]


def kill(*arguments):
    raise KeyboardInterrupt


def test_starts_that_reach_no_checkpoint_leave_one_row_of_step_0(tmp_path, undisturbed, monkeypatch):
    for _ in range(3):
        with after_step(3, kill, monkeypatch), pytest.raises(KeyboardInterrupt):
            train(small_config(), tmp_path)
        assert [row["step"] for row in read_jsonl(tmp_path / "eval.jsonl")] == [0]
    assert_same_run(tmp_path, undisturbed)
    assert [row["step"] for row in read_jsonl(tmp_path / "eval.jsonl")] == [0, 10, 20]


def test_pictures_that_are_damaged_or_the_users_are_left_out_of_the_animation_and_left_alone(tmp_path, capsys):
    train(small_config(), tmp_path)
    samples = tmp_path / "samples"
    (samples / "notes.png").write_text("mine")
    (tmp_path / ".mine.partial").write_text("mine")
    (tmp_path / f".ours.{'0' * 32}.partial").write_text("")
    with lock_workdir(tmp_path):
        assert [path.name for path in tmp_path.glob(".*.partial")] == [".mine.partial"]
    whole = (samples / "00000010.png").read_bytes()
    for damaged in (b"", b"text", whole[: len(whole) // 2], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        (samples / "00000010.png").write_bytes(damaged)
        capsys.readouterr()
        save_run_plots(tmp_path)
        error = capsys.readouterr().err
        assert error.startswith(f"{samples / '00000010.png'}: damaged (")
        assert error.count("\n") == 1
        with Image.open(tmp_path / "training.gif") as gif:
            assert gif.n_frames == 2
    assert (samples / "notes.png").read_text() == (tmp_path / ".mine.partial").read_text() == "mine"
