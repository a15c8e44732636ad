"""Processes that train together or talk to one another, and how each of them ends."""

import os
import socket
from contextlib import ExitStack, contextmanager

import forked
from conftest import ROOT


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


def ends(running, seconds=120):
    """(exit status, standard output, standard error) of each."""
    said = [process.communicate(timeout=seconds) for process in running]
    return [(process.returncode, *texts) for process, texts in zip(running, said, strict=True)]
