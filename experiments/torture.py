"""What does a run survive? Faults injected into real runs, in processes of their own, at random moments.

After each, the state that is restored must be, to the bit, that of an undisturbed run at its step, and no older than the last
save; what the run said must be one line. A table says what was injected and what survived; exit status 1 if anything did not.

Command: python experiments/torture.py --kills=40 --out=rows.jsonl, or `make torture`; --kills=3 is the short form of CI.
Expect: every row "survived"; about 7 minutes on 2 cores, the short form 1.5.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags

from gan_jax.errors import InputError
from gan_jax.evaluation.results import append_row
from gan_jax.files import read_jsonl
from gan_jax.parallel import make_step
from gan_jax.run import cli
from gan_jax.run.checkpoints import Checkpoints, state_digest
from gan_jax.run.config import make_configured_dataset, make_gan
from gan_jax.state import abstract_state, create_state

_KILLS = flags.DEFINE_integer("kills", 40, "How often a run is killed at a random moment.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments and places.")
_OUT = flags.DEFINE_string("out", None, "Append the rows to this file of JSON lines.")

_STEPS, _EVERY = 2000, 4  # checkpoints as often as this: most of a run's time is spent saving
_TRAIN = Path(__file__).parent / "train.py"
_CONFIG = Path(__file__).parent / "configs" / "mnist.py"
_SMALL = {"data.image_size": 8, "network.dcgan.base_width": 4, "batch_size": 8, "num_steps": _STEPS, "checkpoint_every": _EVERY}
_SMALL |= {"log_every": 1, "sample_every": 500}


class Subject:
    """The small run that everything happens to, and what its state is at every step when nothing does."""

    def __init__(self) -> None:
        self.config = cli.load_config(str(_CONFIG))
        self.config.update_from_flattened_dict(_SMALL)
        self.gan, self.digests = make_gan(self.config), dict[int, str]()
        init, train, _ = jax.random.split(jax.random.key(self.config.seed), 3)
        dataset = make_configured_dataset(self.config)
        step, state = make_step(self.gan, dataset), create_state(self.gan, init)
        for number in range(_STEPS + 1):
            self.digests[number] = state_digest(state)
            state, _ = step(state, [dataset.draw(self.config.seed, number)], train)

    def command(self, workdir: Path, **entries: object) -> list[str]:
        """The command that trains it, with other entries of the config."""
        overrides = [f"--config.{key}={entry}" for key, entry in (_SMALL | entries).items()]
        return [sys.executable, str(_TRAIN), f"--config={_CONFIG}", f"--workdir={workdir}", *overrides]

    def restored(self, workdir: Path) -> int:
        """The step that a run would go on from; -1 where its state is not what it was, 0 where there is none."""
        with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            state = checkpoints.restore("final", lambda saved: abstract_state(self.gan), say=lambda line: None)
        if state is None:
            return 0
        step = int(state.step)
        whole = state_digest(state) == self.digests[step]
        rows = [row["step"] for row in read_jsonl(workdir / "metrics.jsonl")]
        return step if whole and rows == sorted(set(rows)) else -1


def begin(command: list[str]) -> subprocess.Popen[str]:
    """A run that has taken its first step."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("compiled"):
            return process
    raise InputError(f"the run did not begin: {process.communicate()[1]}")


def end(process: subprocess.Popen[str], number: int, *, after: float = 0.0) -> tuple[int, list[str]]:
    """Send a signal after so many seconds; the exit status, and the lines on standard error."""
    time.sleep(after)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    return process.returncode, errors.splitlines()


def kill(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Kill -9 at random moments, again and again, the run going on each time."""
    reached, in_save = 0, 0
    for _ in range(_KILLS.value):
        if reached >= _STEPS - 10 * _EVERY:
            shutil.rmtree(workdir)
            reached = 0
        process = begin(subject.command(workdir))
        end(process, signal.SIGKILL, after=chance.random())
        cut = [path for path in (workdir / "checkpoints").iterdir() if not (path / "commit_success.txt").exists()]
        in_save += bool(cut)
        step = subject.restored(workdir)
        with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            newest = checkpoints.latest_step() or 0
        if not reached <= step == newest:
            return False, f"step {step} after {reached}, the newest save is {newest}"
        reached = step
    return True, f"{_KILLS.value} kills, {in_save} of them in mid-save; each time the newest save was whole"


def stop_by(number: signal.Signals, status: int) -> Callable[[Subject, Path, random.Random], tuple[bool, str]]:
    """A signal that asks for a stop."""

    def stop(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
        process = begin(subject.command(workdir, checkpoint_every=10_000))
        code, lines = end(process, number, after=chance.random() / 2)
        return code == status and subject.restored(workdir) > 0 and len(lines) == 2, lines[-1]

    return stop


def damage(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Bits flipped, files cut, deleted and emptied in the newest checkpoint."""
    end(begin(subject.command(workdir)), signal.SIGTERM, after=1.0)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        older, newest = checkpoints.steps()[-2:]
    folder = workdir / "checkpoints" / str(newest)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    fell_back, times = 0, 5 * _KILLS.value
    for _ in range(times):
        path = chance.choice(files)
        whole = path.read_bytes()
        place = chance.randrange(len(whole))
        flipped = whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :]
        way = chance.choice(["flip", "flip", "flip", "cut", "empty", "delete"])
        path.unlink() if way == "delete" else path.write_bytes({"flip": flipped, "cut": whole[:place], "empty": b""}[way])
        step = subject.restored(workdir)
        if step not in (older, newest):
            return False, f"{way} of byte {place} of {path.relative_to(folder)}: step {step}"
        fell_back += step == older
        path.write_bytes(whole)
    (workdir / "checkpoints" / str(newest + _EVERY)).mkdir()
    empty = subject.restored(workdir) == newest
    return (
        empty,
        f"{times} damages, {fell_back} of them seen, the rest without effect; an empty step folder",
    )


def may_mount() -> bool:
    """Whether this user may mount file systems of its own, which containers often forbid."""
    return subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False).returncode == 0


def full_disk(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """A file system with no room left while the run saves and logs."""
    del chance
    mounted = workdir.with_name("mounted")
    mounted.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size=1m none {mounted} && cd / && "$@"; status=$?; cp -a {mounted}/run {workdir}; exit $status'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *subject.command(mounted / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    step = subject.restored(workdir) if (workdir / "checkpoints").is_dir() else -1
    return done.returncode == 1 and len(lines) == 1 and step > 0, lines[-1] if lines else "no line"


def read_only(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """A workdir that may not be written any more."""
    del chance
    end(begin(subject.command(workdir)), signal.SIGTERM, after=1.0)
    step = subject.restored(workdir)
    script = f'mount --bind {workdir} {workdir} && mount -o remount,ro,bind {workdir} && "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *subject.command(workdir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    return done.returncode == 2 and len(lines) == 1 and subject.restored(workdir) == step > 0, lines[-1] if lines else "no line"


def cut_metrics(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """A metrics file that ends in the middle of a line."""
    end(begin(subject.command(workdir)), signal.SIGTERM, after=1.0)
    path = workdir / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[: -chance.randrange(2, 100)])
    end(begin(subject.command(workdir)), signal.SIGTERM, after=1.0)
    return subject.restored(workdir) > 0, f"{len(read_jsonl(path))} rows, none twice"


def second_run(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Another run on the same workdir, while the first lives and after it was killed."""
    del chance
    first = begin(subject.command(workdir))
    second = subprocess.run(subject.command(workdir), capture_output=True, text=True, check=False)
    lines = second.stderr.splitlines()
    refused = second.returncode == 2 and len(lines) == 1 and first.poll() is None
    end(first, signal.SIGKILL)
    code, _ = end(begin(subject.command(workdir)), signal.SIGTERM, after=1.0)
    return refused and code == 143 and subject.restored(workdir) > 0, lines[-1] if lines else "no line"


def divergence(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Numbers that overflow: a learning rate of 1e38."""
    del chance
    entries = {"optimizer.disc.name": "sgd", "optimizer.disc.learning_rate": 1e38, "checkpoint_every": 1000}
    done = subprocess.run(subject.command(workdir, **entries), capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    return done.returncode == 1 and len(lines) == 1 and "nan" in lines[0], lines[-1] if lines else "no line"


def dead_worker(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """A process that loads data, killed."""
    del chance
    process = begin(subject.command(workdir, **{"data.resident_mib": 0, "data.workers": 1}))
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
    errors = process.communicate(timeout=120)[1].splitlines()
    named = [line for line in errors if "worker process was ended" in line]
    return process.returncode == 1 and len(named) == 1 and subject.restored(workdir) >= 0, (named or errors or ["no line"])[-1]


FAULTS = {
    "kill -9 at random moments": kill,
    "SIGTERM": stop_by(signal.SIGTERM, 143),
    "SIGINT": stop_by(signal.SIGINT, 130),
    "damage to the newest checkpoint": damage,
    "a full disk": full_disk,
    "a read-only workdir": read_only,
    "a metrics file cut in mid-line": cut_metrics,
    "a second run on the workdir": second_run,
    "a loss that overflows": divergence,
    "a data worker killed": dead_worker,
}


def main() -> None:
    subject, survived = Subject(), []
    needs_mount = () if shutil.which("unshare") and may_mount() else ("a full disk", "a read-only workdir")
    print(f"{'fault':34} {'outcome':9} what was seen", flush=True)
    for name, inject in FAULTS.items():
        if name in needs_mount:
            print(f"{name:34} {'skipped':9} this user may not mount a small or a read-only file system", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            good, seen = inject(subject, Path(folder) / "run", random.Random(f"{_SEED.value} {name}"))
        seen = seen.replace(folder, "…")
        print(f"{name:34} {'survived' if good else 'LOST':9} {seen}", flush=True)
        survived.append(good)
        if _OUT.value:
            append_row(_OUT.value, {"fault": name, "survived": good, "seen": seen, "kills": _KILLS.value, "seed": _SEED.value})
    if not all(survived):
        cli.fail(f"{survived.count(False)} of {len(survived)} faults were not survived", 1)


if __name__ == "__main__":
    cli.run(main)
