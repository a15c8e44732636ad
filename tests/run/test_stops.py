"""A run stops where a signal asks it to, at once at the second, and has its workdir for itself while it lives."""

import errno
import os
import signal
import threading
import time

import forked
import pytest
from conftest import ROOT
from small import small_config

from gan_jax.errors import InputError, StoppedError
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.loop import train
from gan_jax.run.runtime import StopSignals, is_training, lock_workdir


def test_a_signal_during_the_last_save_is_not_lost(tmp_path, monkeypatch):
    real_wait, sent = Checkpoints.wait, []

    def wait(checkpoints):
        if not sent and checkpoints.steps() == [10]:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
            time.sleep(0.1)
        real_wait(checkpoints)

    monkeypatch.setattr(Checkpoints, "wait", wait)
    with pytest.raises(StoppedError, match="SIGTERM: saved step 10 of 10"):
        train(small_config(num_steps=10), tmp_path)


def test_a_second_interrupt_exits_at_once_also_while_python_waits_for_the_device():
    code = """
import jax
from gan_jax.run.runtime import StopSignals, lock_workdir
forever = jax.jit(lambda x: jax.lax.fori_loop(0, 2**31 - 1, lambda _, x: jax.numpy.sin(x), x))
with StopSignals():
    print("ready", flush=True)
    forever(jax.numpy.ones(2**16)).block_until_ready()
"""
    with forked.Process(["-c", code], cwd=ROOT, env=os.environ) as process:
        process.wait_for(("ready\n", ""))
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.wait_for(said := ("ready\n", "SIGINT: saving at the end of this step\n"))
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.written() == said


@pytest.mark.usefixtures("no_curves")
def test_a_second_run_on_a_workdir_is_refused_while_the_first_lives(tmp_path):
    code = "import sys, time; from pathlib import Path; from gan_jax.run.runtime import lock_workdir\n"
    code += "with lock_workdir(Path(sys.argv[1])):\n print('ready', flush=True)\n time.sleep(60)"
    with forked.Process(["-c", code, str(tmp_path)], cwd=ROOT, env=os.environ) as process:
        process.wait_for(("ready\n", ""))
        with pytest.raises(InputError, match=f"process {process.pid} on .* is training there"):
            train(small_config(), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        assert is_training(tmp_path)
    assert not is_training(tmp_path)
    assert not is_training(tmp_path / "none")
    with lock_workdir(tmp_path):  # the lock belongs to the open file, not to the process: asking does not release it
        assert is_training(tmp_path)
        assert is_training(tmp_path)
    train(small_config(num_steps=1), tmp_path)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(InputError, match=r"cannot be locked \(.*\); give a --workdir on a file system"), lock_workdir(tmp_path):
        pass
    assert not is_training(tmp_path)


def test_signals_are_left_alone_in_a_thread_that_may_not_have_them():
    def enter():
        with StopSignals() as signals:
            assert signals.signum == 0

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
