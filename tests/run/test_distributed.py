"""Two processes of two CPU devices are one process of four: same data, same step, one writer, one end."""

import os
import re
import socket
import time
from contextlib import ExitStack, contextmanager

import forked
import jax
import numpy as np
import pytest
from conftest import ROOT

from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.parallel import process_slice
from gan_jax.run import distributed
from gan_jax.run.cli import load_config
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run

SMALL = {"batch_size": 8, "latent_dim": 4, "num_samples": 4, "data.image_size": 8, "network.name": "mlp", "eval_every": 0}
SMALL |= {"log_every": 5, "sample_every": 10, "checkpoint_every": 10, "data.resident_mib": 0, "data.workers": 0}
for player in ("gen", "disc"):  # Adam would make much of rounding
    SMALL |= {f"optimizer.{player}.name": "sgd", f"optimizer.{player}.learning_rate": 0.05}
FOREVER = 1_000_000
CONFIG = "experiments/configs/mnist.py"


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
    with ExitStack() as processes:
        yield [processes.enter_context(forked.Process(command, cwd=ROOT, env=environment(devices))) for command in commands]


def run(workdir, num_steps):
    """`experiments/train.py` in two processes of two devices."""
    entries = [f"--config.{key}={entry}" for key, entry in (SMALL | {"num_steps": num_steps}).items()]
    command = ["experiments/train.py", f"--config={CONFIG}", f"--workdir={workdir}", *entries]
    command += ["--distributed", f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    return started([[*command, f"--process_id={index}"] for index in range(2)], 2)


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
def results(tmp_path_factory):
    """What `on_processes.py` saved in process 0, in process 1, and in one process alone."""
    folder, address = tmp_path_factory.mktemp("results"), f"127.0.0.1:{free_port()}"
    command = ["-W", "error", "tests/run/on_processes.py"]
    pair = [[*command, f"{folder}/{index}.npz", "2", address, "2", str(index)] for index in range(2)]
    for commands in (pair, [[*command, f"{folder}/alone.npz", "4"]]):
        with started(commands, 4 // len(commands)) as running:
            ended = ends(running)
        assert all(status == 0 for status, _, _ in ended), ended
    return [dict(np.load(folder / f"{name}.npz")) for name in ("0", "1", "alone")]


def test_each_process_fetches_its_own_part_of_a_batch(results):
    """Indices, streamed images, and the keys of points: side by side they are the batch, to the bit."""
    names = [name for name in results[2] if name.startswith("fetched ")]
    assert len(names) == 6
    for name in names:
        first, second, whole = (saved[name] for saved in results)
        assert first.shape[1] == second.shape[1] == whole.shape[1] // 2
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)


def test_gradients_statistics_and_metrics_are_those_of_one_process(results):
    """Under pmap and shard_map; a DCGAN with batch norm over all devices, and points in a loop."""
    names = [name for name in results[2] if name.startswith("state ")]
    assert {tuple(name.split()[1:3]) for name in names} == {("resident", "pmap"), ("points", "shard_map")}
    for name in names:
        first, second, alone = (saved[name] for saved in results)
        np.testing.assert_array_equal(first, second)
        assert relative(alone, first) < 1e-5, name


def test_the_primary_arrays_reach_all_processes_to_the_bit(results):
    for name in ("broadcast float", "broadcast int", "broadcast key"):
        assert results[0][name].tobytes() == results[1][name].tobytes() == results[2][name].tobytes()
    assert np.signbit(results[1]["broadcast float"][0])
    assert [int(saved["max"]) for saved in results] == [4, 4, 3]


@pytest.fixture(scope="module")
def survivor(tmp_path_factory):
    """A run whose two processes are killed, and resumed, and one of them asked to stop; and one process to the same step."""
    folder = tmp_path_factory.mktemp("distributed")
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
    config = load_config(CONFIG)
    config.update_from_flattened_dict(SMALL | {"num_steps": stopped_at})
    alone = train(config, folder / "alone")
    return {"folder": folder, "killed_at": killed_at, "stopped": stopped, "stopped_at": stopped_at, "alone": alone}


def test_a_signal_to_one_process_stops_all_at_one_step_which_is_saved(survivor):
    at = survivor["stopped_at"]
    assert [status for status, _, _ in survivor["stopped"]] == [143, 143]
    assert f"SIGTERM: saved step {at} of {FOREVER}" in survivor["stopped"][0][2]
    (row,) = read_jsonl(survivor["folder"] / "run" / "runs.jsonl")
    assert (row["from_step"], row["to_step"], row["ended"]) == (survivor["killed_at"], at, "sigterm")
    assert (row["processes"], row["devices"]) == (2, 4)


def test_killed_and_resumed_on_two_processes_is_straight_on_one(survivor):
    _, _, state = restore_run(survivor["folder"] / "run")
    assert int(state.step) == int(survivor["alone"].step) == survivor["stopped_at"]
    assert relative(survivor["alone"], state) < 1e-5


def test_the_primary_process_alone_prints_and_writes(survivor):
    (_, first, _), (_, second, _) = survivor["stopped"]
    assert f"resuming at step {survivor['killed_at']}" in first
    assert second == ""
    rows = read_jsonl(survivor["folder"] / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(5, survivor["stopped_at"] + 1, 5))
    assert len(list((survivor["folder"] / "run").glob("events.out.tfevents.*"))) == 2  # a file for each time process 0 began


def test_a_process_that_stops_answering_ends_the_others():
    """It is not dead, and its sockets are open: nothing but its missing heartbeat tells."""
    code = f"""
import os, signal, sys, time
from gan_jax.run import distributed
index = int(sys.argv[1])
distributed.connect("127.0.0.1:{free_port()}", 2, index, heartbeat_timeout=1.5)
if index:
    os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(60)
"""
    with started([["-c", code, str(index)] for index in range(2)], 1) as running:
        _, printed = running[0].communicate(timeout=40)
        assert running[0].returncode == 1
    (line,) = (line for line in printed.splitlines() if line.startswith("error: "))
    assert re.match(r"error: process 0: missed heartbeat: no answer from (process 1|another process) within 1.5 s; rerun", line)


def test_processes_that_no_cluster_tells_apart_are_one_line(run_script, tmp_path):
    arguments = ["--config=experiments/configs/mnist.py", f"--workdir={tmp_path / 'run'}", "--distributed"]
    (line,) = run_script("train.py", *arguments, status=2).stderr.splitlines()
    assert line.startswith(
        "error: --distributed: coordinator_address should be defined.; give --coordinator=HOST:PORT --num_pr"
    )
    assert not (tmp_path / "run").exists()


def test_processes_that_cannot_connect_are_one_line_each():
    """An address without a port, a process too many, and a coordinator that is not there."""
    code = f"""
from gan_jax import errors
from gan_jax.run import distributed
for place in (("here", 2, 0), ("127.0.0.1:1", 2, 2)):
    try:
        distributed.connect(*place)
    except errors.InputError as error:
        print(error)
distributed.connect("127.0.0.1:{free_port()}", 2, 1, timeout=1)
"""
    done = forked.run(["-c", code], cwd=ROOT, env=environment(1))
    said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert done.returncode == 1
    assert len(said) == 3, said
    assert said[0] == "--coordinator=here: must be HOST:PORT"
    assert said[1].startswith("--distributed: process_id and num_processes must be nonnegative")
    assert said[2].startswith("error: timeout: not all processes connected to the coordinator 127.0.0.1:")


def test_a_port_in_use_and_a_process_that_waits_are_one_line_each():
    """The first would crash in the library, the second be silent for minutes."""
    code = """
import sys
from gan_jax.run import distributed
distributed._SECONDS_TO_NOTE = 0.5
distributed.connect(sys.argv[1], 2, int(sys.argv[2]), timeout=2)
"""
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(InputError, match="process 0 cannot listen there: Address already in use; give a free port"):
            distributed.connect(address, 2, 0)
    with started([["-c", code, f"127.0.0.1:{free_port()}", "0"]], 1) as running:
        ((status, _, printed),) = ends(running, 40)
    lines = printed.splitlines()
    assert (status, len(lines)) == (1, 2), printed
    assert lines[0].startswith("waiting for 2 processes at the coordinator 127.0.0.1:")
    assert lines[0].endswith("gives up after 2 s (--connect_timeout)")
    assert lines[1].startswith("error: timeout: not all processes connected")


@pytest.mark.parametrize("first", [0, 1])
def test_a_mistake_in_one_process_is_one_line_in_each(first):
    """None is left to crash when the coordinator, or a process that it waits for in a collective, is gone."""
    code = f"""
import sys, time
from gan_jax.errors import InputError
from gan_jax.run import cli, distributed
from absl import flags
def main():
    index = int(sys.argv[1][-1])
    distributed.connect("127.0.0.1:{free_port()}", 2, index)
    if index == {first}:
        raise InputError("config.x must be y")
    distributed.max_over_processes(1)
    time.sleep(60)
flags.DEFINE_integer("i", 0, "")
cli.run(main)
"""
    with started([["-c", code, f"--i={index}"] for index in range(2)], 1) as running:
        ended = ends(running, 60)
    assert [status for status, _, _ in ended] == [2, 2], ended
    for index, (_, _, printed) in enumerate(ended):
        lines = [line for line in printed.splitlines() if not line.endswith("all processes are connected")]
        own = f"error: process {index}: config.x must be y"
        other = f"error: process {index}: stopped, as the run has ended: process {first}: config.x must be y"
        assert lines == [own if index == first else other]


def test_what_a_lost_process_makes_a_collective_raise_is_recognised():
    lost = ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:1234")
    assert distributed.is_lost_connection(lost)
    assert not distributed.is_lost_connection(ValueError("config.x must be y"))


def test_one_process_needs_no_connection():
    tree = {"a": np.arange(3)}
    assert distributed.broadcast_from_primary(tree) is tree
    assert distributed.is_primary()
    assert not distributed.is_connected()
    assert distributed.max_over_processes(15) == 15
    assert process_slice("auto", 8) == slice(0, 8)
    distributed.shutdown()
