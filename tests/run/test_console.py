"""Whatever becomes of those who read a script's output, it ends as it would have; and a signal ends it in one line."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import forked
import pytest
from conftest import ROOT

SCRIPT = """
import sys
from pathlib import Path
from gan_jax.run import cli
from gan_jax.run.writers import Progress

def main():
    for step in range(5000):
        print("Fréchet", step)
    print("Fréchet", file=sys.stderr)
    Progress(total=1, images_per_step=1).report(1, {"logits/real": 0.0, "logits/fake": 0.0, "loss/disc": 0.0})
    Path("done").write_text("")

cli.run(main)
"""


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@contextmanager
def started(arguments, folder):
    environment = ENVIRONMENT | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONIOENCODING": "ascii"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, cwd=folder, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("console", ["in ASCII", "closed", "a pipe that nobody reads", "full"])
def test_a_script_ends_as_it_would_have(tmp_path, console):
    (tmp_path / "script.py").write_text(SCRIPT)
    redirection = {"closed": ">&- 2>&-", "full": ">/dev/full 2>/dev/full"}.get(console, "")
    with started(["sh", "-c", f'exec "$0" script.py {redirection}', sys.executable], tmp_path) as process:
        if console == "a pipe that nobody reads":
            process.stdout.close()
            process.stderr.close()
            process.wait(timeout=60)
        else:
            out, errors = process.communicate(timeout=60)
            lines = out.splitlines()
            assert (len(lines), errors) == ((5001, "Fr\\xe9chet\n") if console == "in ASCII" else (0, ""))
            assert not lines or lines[7] == "Fr\\xe9chet 7"
    assert process.returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("command", [["-m", "gan_jax.run"], [str(ROOT / "experiments" / "train.py")]])
def test_an_interrupt_during_the_imports_is_one_line(tmp_path, command):
    (tmp_path / "jax.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    with started([sys.executable, *command], tmp_path) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert errors == "SIGINT: stopped before it began\n"


def test_the_package_leaves_interrupts_to_other_programs(tmp_path):
    code = "from signal import *; before = getsignal(SIGINT); import gan_jax; print(getsignal(SIGINT) is before)"
    assert forked.run(["-c", code], cwd=tmp_path, env=ENVIRONMENT).stdout == "True\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_outside_of_the_loop_is_met_also_while_python_waits_for_the_device(tmp_path, name):
    (tmp_path / "script.py").write_text("""
import jax
from gan_jax.run import cli

def main():
    forever = jax.jit(lambda x: jax.lax.fori_loop(0, 2**31 - 1, lambda _, x: jax.numpy.sin(x), x))
    print("ready", flush=True)
    forever(jax.numpy.ones(2**16)).block_until_ready()

cli.run(main)
""")
    with forked.Process(["script.py"], cwd=tmp_path, env=ENVIRONMENT) as process:
        process.wait_for(("ready\n", ""))
        time.sleep(1)
        process.send_signal(getattr(signal, name))
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 128 + getattr(signal, name)
    assert errors == f"{name}: stopped\n"
    assert errors.count("\n") == 1
