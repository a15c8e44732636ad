"""Two processes of two CPU devices are one process of four: same draws, same step, one writer, one end."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import jax
import numpy as np
import pytest
from conftest import ROOT

from gan_jax.files import read_jsonl
from gan_jax.parallel import own_rows
from gan_jax.run import distributed
from gan_jax.run.loop import restore_run

SMALL = {"batch_size": 8, "latent_dim": 4, "num_samples": 4, "data.image_size": 8, "network.name": "mlp", "eval_every": 0}
SMALL |= {"log_every": 5, "sample_every": 10, "checkpoint_every": 10, "data.resident_mib": 0, "data.workers": 0}
for player in ("gen", "disc"):  # Adam would make much of rounding
    SMALL |= {f"optimizer.{player}.name": "sgd", f"optimizer.{player}.learning_rate": 0.05}
FOREVER = 1_000_000


def relative(expected, actual):
    """The largest difference in a leaf, over the largest entry of that leaf."""

    def of_leaf(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))

    return max(jax.tree.leaves(jax.tree.map(of_leaf, expected, actual)))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(devices):
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("", "experiments", "tests", "tests/run"))
    return os.environ | {"PYTHONPATH": paths, "JAX_NUM_CPU_DEVICES": str(devices)}


@contextmanager
def started(commands, devices):
    """Processes whose output is read, and which do not outlive the test."""
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, cwd=ROOT, env=environment(devices), **piped) for command in commands]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def run(workdir, num_steps, processes=2):
    """`experiments/train.py` in so many processes, on four devices altogether."""
    entries = [f"--config.{key}={entry}" for key, entry in (SMALL | {"num_steps": num_steps}).items()]
    command = [
        sys.executable,
        "experiments/train.py",
        "--config=experiments/configs/mnist.py",
        f"--workdir={workdir}",
        *entries,
    ]
    if processes == 1:
        return started([command], 4)
    command += ["--distributed", f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={processes}"]
    return started([[*command, f"--process_id={number}"] for number in range(processes)], 4 // processes)


def newest(workdir):
    """The newest step that is on disk."""
    return max((int(path.parent.name) for path in workdir.glob("checkpoints/*/commit_success.txt")), default=0)


def wait_until(holds, running, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in running), [process.communicate() for process in running]
        time.sleep(0.05)


def ends(running, seconds=120):
    """(exit status, standard output, standard error) of each."""
    said = [process.communicate(timeout=seconds) for process in running]
    return [(process.returncode, *texts) for process, texts in zip(running, said, strict=True)]


@pytest.fixture(scope="module")
def silence(tmp_path_factory):
    """What process 0 says, and after how long, when process 1 falls silent; waited for while other tests run."""
    workdir, found = tmp_path_factory.mktemp("silent") / "run", {}

    def wait():
        with run(workdir, FOREVER) as running:
            wait_until(lambda: newest(workdir), running)
            running[1].send_signal(signal.SIGSTOP)
            began = time.monotonic()
            _, found["said"] = running[0].communicate(timeout=120)
            found.update(seconds=time.monotonic() - began, status=running[0].returncode)

    thread = threading.Thread(target=wait)
    thread.start()
    yield lambda: (thread.join(), found)[1]
    thread.join()


@pytest.fixture(scope="module")
def seen(silence, tmp_path_factory):
    """What `on_processes.py` saw: in process 0, in process 1, in one process alone."""
    folder, address = tmp_path_factory.mktemp("seen"), f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-W", "error", "tests/run/on_processes.py"]
    pair = [[*command, f"{folder}/{number}.npz", "2", address, "2", str(number)] for number in range(2)]
    for commands in (pair, [[*command, f"{folder}/alone.npz", "4"]]):
        with started(commands, 4 // len(commands)) as running:
            found = ends(running)
        assert all(status == 0 for status, _, _ in found), found
    return [dict(np.load(folder / f"{name}.npz")) for name in ("0", "1", "alone")]


def test_each_process_draws_its_own_rows_and_together_they_are_the_batch_to_the_bit(seen):
    """Indices, streamed images, keys of points, and latents."""
    names = [name for name in seen[2] if name.startswith("draw ")]
    assert len(names) == 7
    for name in names:
        first, second, whole = (found[name] for found in seen)
        assert first.shape[1] == second.shape[1] == whole.shape[1] // 2
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)


def test_gradients_statistics_and_metrics_are_those_of_one_process(seen):
    """Under pmap and shard_map; a DCGAN with batch norm over all devices, and points in a loop."""
    names = [name for name in seen[2] if name.startswith("state ")]
    assert {tuple(name.split()[1:3]) for name in names} == {
        ("resident", "pmap"),
        ("points", "shard_map"),
    }
    for name in names:
        first, second, alone = (found[name] for found in seen)
        np.testing.assert_array_equal(first, second)
        assert relative(alone, first) < 1e-5, name


def test_what_the_first_process_has_goes_to_all_to_the_bit(seen):
    for name in ("first float", "first int"):
        assert seen[0][name].tobytes() == seen[1][name].tobytes() == seen[2][name].tobytes()
    assert np.signbit(seen[0]["first float"][0])


@pytest.fixture(scope="module")
def survivor(silence, tmp_path_factory):
    """A run whose two processes are killed, and, when it goes on, one of them asked to stop; and one process as far as that."""
    folder = tmp_path_factory.mktemp("hosts")
    with run(folder / "run", FOREVER) as running:
        wait_until(lambda: newest(folder / "run") >= 20, running)
        for process in running:
            process.kill()
    killed_at = newest(folder / "run")
    with run(folder / "run", FOREVER) as running:
        wait_until(lambda: newest(folder / "run") > killed_at, running)
        running[1].terminate()
        stopped = ends(running)
    stopped_at = newest(folder / "run")
    with run(folder / "alone", stopped_at, processes=1) as running:
        assert ends(running)[0][0] == 0
    return {"folder": folder, "killed_at": killed_at, "stopped": stopped, "stopped_at": stopped_at}


def test_a_signal_to_one_process_stops_all_at_one_step_which_is_saved(survivor):
    at = survivor["stopped_at"]
    assert [status for status, _, _ in survivor["stopped"]] == [143, 143]
    assert f"SIGTERM: saved step {at} of {FOREVER}" in survivor["stopped"][0][2]
    (row,) = read_jsonl(survivor["folder"] / "run" / "history.jsonl")
    assert (row["from_step"], row["to_step"], row["ended"]) == (survivor["killed_at"], at, "SIGTERM")
    assert (row["processes"], row["devices"]) == (2, 4)


def test_killed_and_resumed_on_two_processes_is_straight_on_one(survivor):
    (_, _, state), (_, _, alone) = (restore_run(survivor["folder"] / name) for name in ("run", "alone"))
    assert int(state.step) == int(alone.step) == survivor["stopped_at"]
    assert relative(alone, state) < 1e-5


def test_the_first_process_alone_speaks_and_writes(survivor):
    (_, first, _), (_, second, _) = survivor["stopped"]
    assert f"resuming at step {survivor['killed_at']}" in first
    assert second == ""
    rows = read_jsonl(survivor["folder"] / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(5, survivor["stopped_at"] + 1, 5))
    assert len(list((survivor["folder"] / "run" / "tensorboard").iterdir())) == 2  # a file for each time process 0 began


def test_a_process_that_falls_silent_ends_the_others_with_a_reason_within_a_minute(silence):
    found = silence()
    assert found["status"] == 1
    assert found["seconds"] < 60
    (line,) = (line for line in found["said"].splitlines() if line.startswith("error: "))
    assert re.match("error: process 0: (process 1|another process) has been silent for 20 s", line)


def test_processes_that_no_cluster_tells_apart_are_one_line(run_script, tmp_path):
    arguments = ["--config=experiments/configs/mnist.py", f"--workdir={tmp_path / 'run'}", "--distributed"]
    (line,) = run_script("train.py", *arguments, status=2).stderr.splitlines()
    assert line.startswith(
        "error: --distributed: coordinator_address should be defined.; give --coordinator=HOST:PORT --num_pr"
    )
    assert not (tmp_path / "run").exists()


def test_processes_that_cannot_meet_are_one_line_each():
    """An address without a port, a process too many, and a coordinator that is not there."""
    code = f"""
from gan_jax import errors
from gan_jax.run import distributed
for place in (("here", 2, 0), ("127.0.0.1:1", 2, 2)):
    try:
        distributed.connect(*place)
    except errors.InputError as error:
        print(error)
distributed.connect("127.0.0.1:{free_port()}", 2, 1, patience=1)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert done.returncode == 1
    assert len(said) == 3, said
    assert said[0] == "--distributed: --coordinator=here: give HOST:PORT"
    assert said[1].startswith("--distributed: process_id and num_processes must be nonnegative")
    assert said[2].startswith("error: --distributed: not all processes met at the coordinator 127.0.0.1:")


def test_a_process_alone_passes_through():
    tree = {"a": np.arange(3)}
    assert distributed.of_first(tree) is tree
    assert distributed.first()
    assert not distributed.joined()
    assert distributed.largest(15) == 15
    assert own_rows("auto", 8) == slice(0, 8)
    distributed.leave()
