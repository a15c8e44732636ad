"""Processes that cannot connect, or lose one another, end in one line each."""

import re
import socket
from types import SimpleNamespace

import forked
import numpy as np
import pytest
from conftest import ROOT
from processes import ends, environment, free_port, started

from gan_jax.errors import InputError
from gan_jax.parallel import process_slice
from gan_jax.run import distributed


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


@pytest.mark.parametrize(("visible", "local"), [(None, None), ("2", [0]), ("0,1", None)])
def test_a_task_of_slurm_with_one_gpu_of_its_own_asks_for_its_first(monkeypatch, visible, local):
    """There JAX would ask for the device of the task's number, which is not among those that it sees."""
    asked = []

    def initialize(*_, local_device_ids, **__):
        asked.append(local_device_ids)
        raise RuntimeError("no cluster")

    monkeypatch.setattr(distributed.jax.distributed, "initialize", initialize)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InputError, match="--distributed: no cluster; give --coordinator"):
        distributed.connect()
    assert asked == [local]


def test_one_host_of_a_tpu_slice_alone_is_refused_in_a_line(tmp_path):
    code = "import jax; jax.process_count = lambda: 2; from gan_jax.run import __main__ as m, cli; cli.run(m.main)"
    done = forked.run(["-c", code, f"--workdir={tmp_path / 'run'}"], cwd=ROOT, env=environment(1))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(
        "error: this host is one of several of a TPU slice: start the same command with --distributed"
    )
    assert not (tmp_path / "run").exists()


def test_what_a_lost_process_makes_a_collective_raise_is_recognised():
    lost = ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:1234")
    assert distributed.is_lost_connection(lost)
    assert not distributed.is_lost_connection(ValueError("config.x must be y"))


def test_a_process_that_ends_first_says_that_it_has_left(monkeypatch):
    """Process 0 would wait ten seconds for it."""
    keys = {}
    monkeypatch.setattr(distributed, "_client", lambda: SimpleNamespace(key_value_set=keys.__setitem__))
    monkeypatch.setattr(distributed.jax, "process_index", lambda: 1)
    distributed._tell_others("config.x must be y", 2, 0.0)
    assert keys == {"gan_jax/ended": '["config.x must be y", 2]', "gan_jax/left/1": ""}


def test_one_process_needs_no_connection():
    tree = {"a": np.arange(3)}
    assert distributed.broadcast_from_primary(tree) is tree
    assert distributed.is_primary()
    assert not distributed.is_connected()
    assert distributed.max_over_processes(15) == 15
    assert process_slice("auto", 8) == slice(0, 8)
    distributed.shutdown()
