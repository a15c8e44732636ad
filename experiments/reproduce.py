"""Does the same command give the same bits?

A short run is trained twice, each time in a new process, and a third time with kill -9 in the middle; the digests of the three
last states must be equal. Then once more on other numbers of devices, where they need not be: how far do the parameters differ?

Command: python experiments/reproduce.py --config=experiments/configs/mnist.py --steps=60, or `make reproduce`
Expect: three equal digests, on a CPU always, on a GPU with XLA_FLAGS=--xla_gpu_deterministic_ops=true; a minute on 2 cores.
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

from gan_jax.errors import InputError
from gan_jax.evaluation.results import append_row, hardware
from gan_jax.run import cli
from gan_jax.run.checkpoints import state_digest
from gan_jax.run.loop import restore_run
from gan_jax.state import TrainState

_CONFIG = cli.define_config()
_STEPS = flags.DEFINE_integer("steps", 60, "Steps of a run.", lower_bound=4)
_DEVICES = flags.DEFINE_list("devices", ["2"], "Numbers of CPU devices to compare with one.")
_OUT = flags.DEFINE_string("out", None, "Append the row to this file of JSON lines.")

_TRAIN = Path(__file__).parent / "train.py"


def begin(workdir: Path, **environment: str) -> subprocess.Popen[str]:
    """The run of this command line, in a process of its own."""
    entries = [argument for argument in sys.argv[1:] if not argument.startswith(("--steps", "--devices", "--out"))]
    half, whole = _STEPS.value // 2, _STEPS.value
    entries += [f"--config.num_steps={whole}", f"--config.checkpoint_every={half}", "--config.eval_every=0"]
    command = [sys.executable, str(_TRAIN), *entries, f"--workdir={workdir}"]
    return subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], workdir: Path) -> TrainState:
    """The last state of a run, when it has come to its end."""
    _, errors = process.communicate()
    if process.returncode:
        raise InputError(f"the run failed: {errors.strip()}")
    return restore_run(workdir)[2]


def interrupted(workdir: Path) -> TrainState:
    """The last state of a run that was killed after its first checkpoint, and called again."""
    process = begin(workdir)
    while process.poll() is None and not list(workdir.glob("checkpoints/*/commit_success.txt")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    if process.returncode >= 0:
        raise InputError(f"--steps={_STEPS.value}: the run came to its end before it could be killed; give more")
    return finish(begin(workdir), workdir)


def difference(state: TrainState, other: TrainState) -> float:
    """The largest difference of a parameter, over the largest parameter of its leaf."""

    def of_leaf(left: jax.Array, right: jax.Array) -> float:
        return float(np.max(np.abs(left - right)) / np.max(np.abs(left)))

    return max(jax.tree.leaves(jax.tree.map(of_leaf, state.params, other.params)))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        states = {
            "once": finish(begin(root / "once"), root / "once"),
            "again": finish(begin(root / "again"), root / "again"),
            "killed and resumed": interrupted(root / "killed"),
        }
        digests = {name: state_digest(state) for name, state in states.items()}
        for name, digest in digests.items():
            print(f"{name:20} {digest}", flush=True)
        apart = {}
        for count in _DEVICES.value if jax.default_backend() == "cpu" else []:
            workdir = root / count
            apart[count] = difference(states["once"], finish(begin(workdir, JAX_NUM_CPU_DEVICES=count), workdir))
            print(f"on {count} devices: parameters differ by up to {apart[count]:.1e} of the largest in their leaf", flush=True)
    same = len(set(digests.values())) == 1
    print(f"{'the same bits' if same else 'DIFFERENT BITS'} after {_STEPS.value} steps; {hardware()}")
    if _OUT.value:
        append_row(_OUT.value, {"steps": _STEPS.value, "config": str(sys.argv[1:]), "digests": digests, "devices": apart})
    if not same:
        cli.fail("the runs differ; on a GPU, XLA_FLAGS=--xla_gpu_deterministic_ops=true asks for kernels that do not", 1)


if __name__ == "__main__":
    cli.run(main)
