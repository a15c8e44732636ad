"""The small run that `torture.py` injects faults into, and the processes that train it."""

import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

from gan_jax.errors import InputError
from gan_jax.files import read_jsonl, sha256_of
from gan_jax.parallel import make_step
from gan_jax.run import cli
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import make_configured_dataset, make_gan
from gan_jax.state import abstract_state, create_state, run_keys

STEPS, EVERY = 2000, 4  # checkpoints as often as this: most of a run's time is spent saving
_TRAIN = Path(__file__).parent / "train.py"
_CONFIG = Path(__file__).parent / "configs" / "mnist.py"
_SMALL = {"data.image_size": 8, "network.dcgan.base_width": 4, "batch_size": 8, "num_steps": STEPS, "checkpoint_every": EVERY}
_SMALL |= {"log_every": 1, "sample_every": 500}


class Subject:
    """The small run that the faults happen to, and the sha256 of its state at every step when nothing happens."""

    def __init__(self) -> None:
        self.config = cli.load_config(str(_CONFIG))
        self.config.update_from_flattened_dict(_SMALL)
        self.gan, self.digests = make_gan(self.config), dict[int, str]()
        step_fn = make_step(self.gan, make_configured_dataset(self.config), self.config.seed)
        state = create_state(self.gan, run_keys(self.config.seed).init)
        for step in range(STEPS + 1):
            self.digests[step] = sha256_of(state)
            state, _ = step_fn(state, step)

    def command(self, workdir: Path, **entries: object) -> list[str]:
        """Return the command that trains it, with other entries of the config."""
        overrides = [f"--config.{key}={entry}" for key, entry in (_SMALL | entries).items()]
        return [sys.executable, str(_TRAIN), f"--config={_CONFIG}", f"--workdir={workdir}", *overrides]

    def restored(self, workdir: Path) -> int:
        """Return the step that a run would resume from; -1 where its state has other bits, 0 where there is none."""
        with contextlib.redirect_stdout(io.StringIO()), Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            checkpoint = checkpoints.find()
        if checkpoint is None:
            return 0
        same = sha256_of(checkpoint.restore(abstract_state(self.gan))) == self.digests[checkpoint.step]
        steps = [row["step"] for row in read_jsonl(workdir / "metrics.jsonl")]
        return checkpoint.step if same and steps == sorted(set(steps)) else -1


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start a run and return when it has taken its first step."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("compiled"):
            return process
    raise InputError(f"the run did not start: {process.communicate()[1]}")


def signal_after(process: subprocess.Popen[str], signum: int, seconds: float = 0.0) -> tuple[int, list[str]]:
    """Send a signal after so many seconds; return the exit status and the lines on standard error."""
    time.sleep(seconds)
    process.send_signal(signum)
    try:
        errors = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), ["it did not end within 60 seconds"]
    return process.returncode, errors.splitlines()


def finish(command: list[str]) -> tuple[int, list[str]]:
    """Run a command to its end; return the exit status and the lines on standard error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines() or ["no line"]


def saved_steps(workdir: Path) -> list[int]:
    """Return the steps whose checkpoints are committed, in ascending order."""
    return sorted(int(path.parent.name) for path in workdir.glob("checkpoints/*/commit_success.txt"))
