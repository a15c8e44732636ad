"""What happens to a run costs at most the steps since its last save, and one line says what it was.

The long loops, with processes killed at random moments, are `make torture`.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from conftest import ROOT
from small import assert_trees_equal, small_config

from gan_jax import parallel
from gan_jax.errors import CollapseError, InputError, SaveError, StoppedError
from gan_jax.files import read_jsonl
from gan_jax.run import loop
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run
from gan_jax.run.runtime import StopSignals


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The state and the metrics of 20 steps to which nothing happens."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return train(small_config(), workdir), read_jsonl(workdir / "metrics.jsonl")


def assert_same_run(workdir, undisturbed):
    """Go on, and come to the same bits and the same rows as the run that was left alone."""
    state, rows = undisturbed
    assert_trees_equal(train(small_config(), workdir), state)
    speeds = ("steps_per_second", "images_per_second")
    mine, its = (
        [{key: row[key] for key in row if key not in speeds} for row in each]
        for each in (read_jsonl(workdir / "metrics.jsonl"), rows)
    )
    assert mine == its


@contextmanager
def after_step(number, act, monkeypatch):
    """Within it, `act(state)` is called, and may give another state, when a step has come to its end."""
    real_make_step = parallel.make_step

    def make_disturbed(*args, **options):
        step = real_make_step(*args, **options)

        def disturbed(state, draws, rng):
            state, metrics = step(state, draws, rng)
            return (act(state) or state if int(state.step) == number else state), metrics

        return disturbed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_step", make_disturbed)
        yield


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_stops(tmp_path, undisturbed, monkeypatch, name):
    number = getattr(signal, name)
    handler = signal.getsignal(number)

    def send(state):
        os.kill(os.getpid(), number)
        time.sleep(0.1)  # for the thread that reads signals

    with after_step(13, send, monkeypatch), pytest.raises(StoppedError, match=f"{name}: saved step 13 of 20") as stopped:
        train(small_config(), tmp_path)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) == handler
    assert int(restore_run(tmp_path)[2].step) == 13
    assert_same_run(tmp_path, undisturbed)
    assert [row["ended"] for row in read_jsonl(tmp_path / "history.jsonl")] == [name, "complete"]


def test_a_second_interrupt_exits_at_once():
    code = "import time; from gan_jax.run.runtime import StopSignals\n"
    code += "with StopSignals():\n print('ready', flush=True)\n time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        for _ in range(2):
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == b"SIGINT: saving at the end of this step\n"


def test_a_second_run_on_a_workdir_is_refused_while_the_first_lives(tmp_path):
    code = "import sys, time; from pathlib import Path; from gan_jax.run.runtime import sole_writer\n"
    code += "with sole_writer(Path(sys.argv[1])):\n print('ready', flush=True)\n time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(InputError, match=f"process {process.pid} on .* is training there"):
            train(small_config(), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        process.kill()
    train(small_config(num_steps=1), tmp_path)


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
        with pytest.raises(SaveError, match=r"step 20 could not be saved: .* the checkpoint of step 10 is kept"):
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


@pytest.mark.parametrize("cut", [1, 100])
def test_a_metrics_file_that_was_cut_in_mid_line(tmp_path, undisturbed, cut):
    train(small_config(num_steps=10), tmp_path)
    path = tmp_path / "metrics.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(read_jsonl(path)[-1] | {"step": 15})[:-cut])
    assert [row["step"] for row in read_jsonl(path)] == [5, 10]
    assert_same_run(tmp_path, undisturbed)


def test_a_clock_that_jumps_back(tmp_path, undisturbed, monkeypatch):
    train(small_config(num_steps=10), tmp_path)
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() - 1e7)
        train(small_config(num_steps=15), tmp_path)
    assert int(restore_run(tmp_path)[2].step) == 15
    assert all(row["steps_per_second"] > 0 for row in read_jsonl(tmp_path / "metrics.jsonl"))
    assert_same_run(tmp_path, undisturbed)


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(tmp_path, undisturbed, capsys):
    train(small_config(), tmp_path)
    arrays = max((tmp_path / "checkpoints" / "20" / "state").rglob("*"), key=lambda path: path.stat().st_size)
    arrays.write_bytes(arrays.read_bytes()[:-100])
    assert_same_run(tmp_path, undisturbed)
    said = capsys.readouterr().out
    assert "the checkpoint of step 20 is damaged" in said
    assert "resuming at step 10" in said


def test_samples_that_are_all_alike_are_named_and_stop_the_run_where_the_config_says_so(tmp_path, capsys):
    never_learns = {"watch.steps": 4, "sample_every": 2, "optimizer.gen.learning_rate": 1e-30}
    train(small_config(**never_learns), tmp_path / "warn")
    said = capsys.readouterr().out
    assert "warning: the samples are nearly identical, steps 0 to 4" in said
    assert "watch: the samples are nearly identical, steps 0 to 20" in said
    for _ in range(2):  # the second call finds them as they were
        with pytest.raises(CollapseError, match="stopped at step 4 and saved it: the samples are nearly identical"):
            train(small_config(**never_learns, **{"watch.action": "stop"}), tmp_path / "stop")
    assert int(train(small_config(**never_learns), tmp_path / "stop").step) == 20


def test_signals_are_left_alone_in_a_thread_that_may_not_have_them():
    def enter():
        with StopSignals() as signals:
            assert signals.number is None

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
