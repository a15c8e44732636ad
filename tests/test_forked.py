"""A fork is what `python …` starts: the same arguments, paths, environment, devices; and it ends as that does."""

import json
import os
import signal
import subprocess
import sys

import forked
import pytest

SHOW = """
import json, os, signal, sys, warnings
import jax
shown = {"name": __name__, "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "path": sys.path, "folder": os.getcwd()}
names = ("COLOUR", "HOME", "PYTHONPATH", "XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL")  # libraries set others, and jax the last
shown |= {"environment": {name: os.environ.get(name) for name in names}, "warnoptions": sys.warnoptions}
try:
    warnings.warn("by default it is printed", DeprecationWarning)
except DeprecationWarning:
    shown["raised"] = True
shown |= {"signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]}
shown |= {"devices": str(jax.devices()), "promotion": jax.config.jax_numpy_rank_promotion}
shown |= {"descriptors": [os.path.exists(f"/proc/self/fd/{number}") for number in range(3)], "input": sys.stdin.read()}
print(json.dumps(shown))
"""


@pytest.fixture
def interrupts(request):
    """The handler of SIGINT in this process for the time of a test: children inherit whether it is ignored."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("command", "interrupts"),
    [
        (["-W", "error", "show.py", "a", "--b=c"], signal.SIG_IGN),
        (["-m", "show", "a"], signal.default_int_handler),
        (["-c", SHOW, "a"], lambda *_: None),
    ],
    ids=["script", "module", "code"],
    indirect=["interrupts"],
)
def test_a_fork_has_what_a_process_has_from_its_start(tmp_path, command, interrupts):
    (tmp_path / "show.py").write_text(SHOW)
    environment = os.environ | {"PYTHONPATH": "/one:/two", "JAX_NUM_CPU_DEVICES": "3", "COLOUR": "red"}
    environment.pop("XLA_FLAGS")
    there = {"cwd": tmp_path, "env": environment}
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": True}
    process = subprocess.run([sys.executable, *command], **there, **options)
    expected, seen = json.loads(process.stdout), json.loads(forked.run(command, **there).stdout)
    assert "CpuDevice(id=2)" in expected["devices"]
    assert seen == expected


@pytest.mark.parametrize(
    ("code", "status", "out", "errors"),
    [
        ("print('é')", 0, "é\n", ""),
        ("import sys; sys.exit(3)", 3, "", ""),
        ("import sys; sys.exit()", 0, "", ""),
        ("import sys; sys.exit('bye')", 1, "", "bye\n"),
        ("1 / 0", 1, "", "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 9)", -9, "", ""),
        ("import atexit, threading\natexit.register(print, 'b')\nthreading.Timer(0.1, print, 'a').start()", 0, "a\nb\n", ""),
    ],
)
def test_a_fork_ends_as_a_process_does(tmp_path, code, status, out, errors):
    done = forked.run(["-c", code], cwd=tmp_path, env=os.environ)
    assert (done.returncode, done.stdout) == (status, out)
    assert done.stderr.endswith(errors)
    assert bool(done.stderr) == bool(errors)


def test_a_fork_is_waited_for_and_ended_like_a_process(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with forked.Process(["-c", code], cwd=tmp_path, env=os.environ) as process:
        process.wait_for((f"{process.pid}\n", ""))
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.1)
        process.terminate()
        assert process.communicate(timeout=60) == (f"{process.pid}\n", "")
        assert process.poll() == process.returncode == -15
        process.kill()  # nobody, by then


def test_two_forks_draw_different_numbers(tmp_path):
    code = "import random, numpy, uuid; print(random.random(), numpy.random.random(), uuid.uuid4())"
    first, second = (forked.run(["-c", code], cwd=tmp_path, env=os.environ).stdout.split() for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))
