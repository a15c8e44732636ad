"""Is training reproducible to the bit?

A short run is trained twice, each time in a new process, and a third time with kill -9 in the middle; the sha256 of the three
final states must be equal. Then it is trained on other numbers of devices, where rounding differs: how far do the parameters
differ?

Command: python experiments/reproduce.py --config=experiments/configs/mnist.py --steps=60, or `make reproduce`
Expect: three equal lines, always on a CPU, on a GPU with XLA_FLAGS=--xla_gpu_deterministic_ops=true; a minute on 2 cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags

from gan_jax.errors import InputError, shorten
from gan_jax.evaluation.results import append_row, hardware
from gan_jax.files import sha256_of
from gan_jax.run import cli
from gan_jax.run.config import check_config
from gan_jax.run.restore import restore_run
from gan_jax.state import TrainState

_CONFIG = cli.define_config()
_STEPS = flags.DEFINE_integer("steps", 60, "Steps of each run.", lower_bound=4)
_DEVICES = flags.DEFINE_list("devices", ["2"], "Numbers of CPU devices to compare with one device.")
_OUT = flags.DEFINE_string("out", None, "File of JSON lines that the row is appended to.")

_MAX_DEVICES = 256
_TRAIN = Path(__file__).parent / "train.py"


def start(workdir: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the run of this command line in a process of its own."""
    entries, arguments = [], iter(sys.argv[1:])
    for argument in arguments:
        name, has_value, _ = argument.lstrip("-").partition("=")
        if name not in ("steps", "devices", "out"):
            entries.append(argument)
        elif not has_value:
            next(arguments, None)
    entries += [f"--config.num_steps={_STEPS.value}", f"--config.checkpoint_every={_STEPS.value // 4}", "--config.eval_every=0"]
    command = [sys.executable, str(_TRAIN), *entries, f"--workdir={workdir}"]
    return subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], workdir: Path) -> TrainState:
    """Wait for the end of a run and return its last state."""
    _, errors = process.communicate()
    if process.returncode:
        raise InputError(f"the run failed: {errors.strip()}")
    return restore_run(workdir)[2]


def kill_and_resume(workdir: Path) -> TrainState:
    """Return the last state of a run that was killed after its first checkpoint, and resumed."""
    process = start(workdir)
    while process.poll() is None and not list(workdir.glob("checkpoints/*/commit_success.txt")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    if process.returncode >= 0 or (workdir / f"checkpoints/{_STEPS.value}/commit_success.txt").exists():
        raise InputError(f"--steps={_STEPS.value}: the run ended before it could be killed; give more")
    return finish(start(workdir), workdir)


def difference(state: TrainState, other: TrainState) -> float:
    """Return the largest difference of a parameter, relative to the largest parameter of its leaf."""

    def of_leaf(left: jax.Array, right: jax.Array) -> float:
        return float(np.max(np.abs(left - right)) / np.max(np.abs(left)))

    return max(jax.tree.leaves(jax.tree.map(of_leaf, state.params, other.params)))


def main() -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the runs share a GPU's memory with this process
    for count in _DEVICES.value:
        if not (count.isdecimal() and len(count) < 10 and 1 <= int(count) <= _MAX_DEVICES):
            raise InputError(f"--devices={shorten(count)} must be integers from 1 to {_MAX_DEVICES}, such as 2,4")
    check_config(_CONFIG.value)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        states = {
            "first run": finish(start(root / "first"), root / "first"),
            "second run": finish(start(root / "second"), root / "second"),
            "killed and resumed": kill_and_resume(root / "killed"),
        }
        digests = {name: sha256_of(state) for name, state in states.items()}
        for name, digest in digests.items():
            print(f"{name:20} {digest}", flush=True)
        differences = {}
        for count in _DEVICES.value if jax.default_backend() == "cpu" else []:
            state = finish(start(root / count, JAX_NUM_CPU_DEVICES=count), root / count)
            differences[count] = difference(states["first run"], state)
            print(
                f"on {count} devices: parameters differ by up to {differences[count]:.1e} of the largest in their leaf",
                flush=True,
            )
    same = len(set(digests.values())) == 1
    print(f"{'the same bits' if same else 'DIFFERENT BITS'} after {_STEPS.value} steps; {hardware()}")
    if _OUT.value:
        row = {"steps": _STEPS.value, "config": str(sys.argv[1:]), "digests": digests, "devices": differences}
        append_row(_OUT.value, row)
    if not same:
        cli.fail("the runs differ; on a GPU, set XLA_FLAGS=--xla_gpu_deterministic_ops=true for deterministic kernels", 1)


if __name__ == "__main__":
    cli.run(main)
