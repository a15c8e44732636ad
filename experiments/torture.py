"""Is training fault-tolerant? Inject faults into real runs, in processes of their own, at random moments.

After each fault the restored state must be bitwise that of an undisturbed run at the same step, and no older than the last
save; and the run must have reported the fault in one line. The exit status is 1 if anything failed.

Command: python experiments/torture.py --kills=40 --out=rows.jsonl, or `make torture`; --kills=3 is CI's short form.
Expect: every row says "tolerated"; about 9 minutes on 2 cores, 4 for the short form.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import flags

from gan_jax.evaluation.results import append_row
from gan_jax.files import read_jsonl
from gan_jax.run import cli
from torture_subject import EVERY, STEPS, Subject, finish, saved_steps, signal_after, start

_KILLS = flags.DEFINE_integer("kills", 40, "Number of kills, each at a random moment of a run.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the random moments and places.")
_OUT = flags.DEFINE_string("out", None, "File of JSON lines that the rows are appended to.")

_UNSHARE = ("unshare", "--map-root-user", "--mount")
_ROOMS = [f"size={size}k" for size in (40, 80, 120, 200, 300, 700)]
_ROOMS += [f"size=4m,nr_inodes={num}" for num in (12, 20, 28, 40)]


def kill(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Kill -9 at random moments, and resume each time."""
    reached, during_save = 0, 0
    for _ in range(_KILLS.value):
        if reached >= STEPS - 10 * EVERY:
            shutil.rmtree(workdir)
            reached = 0
        signal_after(start(subject.command(workdir)), signal.SIGKILL, chance.random())
        during_save += len(saved_steps(workdir)) < len(list((workdir / "checkpoints").iterdir()))
        step = subject.restored(workdir)
        newest = max(saved_steps(workdir), default=0)
        if not reached <= step == newest:
            return False, f"step {step} after {reached}, the newest save is {newest}"
        reached = step
    return True, f"{_KILLS.value} kills, {during_save} of them during a save; the newest save was whole each time"


def stop_by(signum: signal.Signals, status: int) -> Callable[[Subject, Path, random.Random], tuple[bool, str]]:
    """A signal that asks for a stop."""

    def stop(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
        code, lines = signal_after(start(subject.command(workdir, checkpoint_every=10_000)), signum, chance.random() / 2)
        return code == status and subject.restored(workdir) > 0 and len(lines) == 2, lines[-1]

    return stop


def damage(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Bits flipped, files cut, deleted and emptied in the newest checkpoint."""
    while len(saved_steps(workdir)) < 2:  # on a busy machine it takes more than one
        signal_after(start(subject.command(workdir)), signal.SIGTERM, 1.0)
    older, newest = saved_steps(workdir)[-2:]
    folder = workdir / "checkpoints" / str(newest)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    detected, times = 0, 5 * _KILLS.value
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
        detected += step == older
        path.write_bytes(whole)
    (workdir / "checkpoints" / str(newest + EVERY)).mkdir()
    return subject.restored(
        workdir
    ) == newest, f"{times} damages, {detected} of them detected, the rest without effect; an empty step folder"


def full_disk(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """File systems of ten sizes and numbers of files, with no room left while the run saves and logs."""
    mounted = workdir.with_name("mounted")
    mounted.mkdir(exist_ok=True)
    steps, lines = [], ["no line"]
    for room in _ROOMS:
        script = f'mount -t tmpfs -o {room} none {mounted} && cd / && "$@"; status=$?; cp -a {mounted}/run {workdir}'
        script += "; exit $status"
        status, lines = finish([*_UNSHARE, "sh", "-c", script, "sh", *subject.command(mounted / "run")])
        step = subject.restored(workdir) if (workdir / "checkpoints").is_dir() else 0
        told = status == 1 and len(lines) == 1 and "No space left on device" in lines[0]
        if not told or step != max(saved_steps(workdir), default=0):
            return False, f"{room}: exit status {status}, step {step}, {len(lines)} lines, the last: {lines[-1]}"
        steps.append(step)
        shutil.rmtree(workdir, ignore_errors=True)
    return max(steps) > 0, f"{len(_ROOMS)} of them, up to step {max(steps)}; {lines[-1]}"


def broken_pipe(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Standard output is a pipe that nobody reads any more: the run goes on with its files."""
    script = '"$@" | head -1; exit ${PIPESTATUS[0]}'
    status, lines = finish(["bash", "-c", script, "bash", *subject.command(workdir, num_steps=100, checkpoint_every=50)])
    return status == 0 and lines == ["no line"] and subject.restored(workdir) == 100, "exit status 0, 100 of 100 steps"


def killed_at_the_end(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Kill -9 between the last checkpoint and the rows of the end; then the same command makes them up."""
    command = subject.command(workdir, num_steps=20, checkpoint_every=20)
    for _ in range(5):
        shutil.rmtree(workdir, ignore_errors=True)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (workdir / "checkpoints/20/commit_success.txt").exists():
            time.sleep(0.001)
        process.kill()
        process.wait()
        if not (workdir / "runs.jsonl").exists():
            break
    for _ in range(2):
        status, lines = finish(command)
        rows = [row["ended"] for row in read_jsonl(workdir / "runs.jsonl")]
        if status or rows != ["complete"] or not (workdir / "training.gif").exists():
            return False, f"exit status {status}, {lines[-1]}, rows {rows}"
    return subject.restored(workdir) == 20, "one row of the end, and its pictures"


def read_only(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """A workdir on a file system that has become read-only."""
    signal_after(start(subject.command(workdir)), signal.SIGTERM, 1.0)
    step = subject.restored(workdir)
    script = f'mount --bind {workdir} {workdir} && mount -o remount,ro,bind {workdir} && "$@"'
    status, lines = finish([*_UNSHARE, "sh", "-c", script, "sh", *subject.command(workdir)])
    return status == 2 and len(lines) == 1 and subject.restored(workdir) == step > 0, lines[-1]


def cut_metrics(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """A metrics file that ends in the middle of a line."""
    signal_after(start(subject.command(workdir)), signal.SIGTERM, 1.0)
    path = workdir / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[: -chance.randrange(2, 100)])
    signal_after(start(subject.command(workdir)), signal.SIGTERM, 1.0)
    return subject.restored(workdir) > 0, f"{len(read_jsonl(path))} rows, none twice"


def second_run(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Another run on the same workdir, while the first is alive and after it was killed."""
    first = start(subject.command(workdir))
    status, lines = finish(subject.command(workdir))
    refused = status == 2 and len(lines) == 1 and first.poll() is None
    signal_after(first, signal.SIGKILL)
    code, _ = signal_after(start(subject.command(workdir)), signal.SIGTERM, 1.0)
    return refused and code == 143 and subject.restored(workdir) > 0, lines[-1]


def divergence(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """Numbers that overflow: a learning rate of 1e38."""
    entries = {"optimizer.disc.name": "sgd", "optimizer.disc.learning_rate": 1e38, "checkpoint_every": 1000}
    status, lines = finish(subject.command(workdir, **entries))
    return status == 1 and len(lines) == 1 and "nan" in lines[0], lines[-1]


def dead_worker(subject: Subject, workdir: Path, chance: random.Random) -> tuple[bool, str]:
    """A process that loads data, killed."""
    process = start(subject.command(workdir, **{"data.resident_mib": 0, "data.workers": 1}))
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
    try:
        errors = process.communicate(timeout=120)[1].splitlines()
    except subprocess.TimeoutExpired:
        process.kill()
        return False, f"it did not end within 120 seconds, status {process.wait()}"
    named = [line for line in errors if "worker process was ended" in line] or ["no line"]
    return process.returncode == 1 and len(named) == 1 and subject.restored(workdir) >= 0, named[0]


FAULTS = {
    "kill -9 at random moments": kill,
    "SIGTERM": stop_by(signal.SIGTERM, 143),
    "SIGINT": stop_by(signal.SIGINT, 130),
    "damage to the newest checkpoint": damage,
    "full disks": full_disk,
    "kill -9 after the last save": killed_at_the_end,
    "a pipe that nobody reads": broken_pipe,
    "a read-only workdir": read_only,
    "a metrics file cut in mid-line": cut_metrics,
    "a second run on the workdir": second_run,
    "a loss that overflows": divergence,
    "a data worker killed": dead_worker,
}


def main() -> None:
    subject, outcomes = Subject(), []
    may_mount = shutil.which(_UNSHARE[0]) is not None and finish([*_UNSHARE, "true"])[0] == 0  # containers often forbid it
    print(f"{'fault':34} {'outcome':9} observed", flush=True)
    for name, inject in FAULTS.items():
        if inject in (full_disk, read_only) and not may_mount:
            print(f"{name:34} {'skipped':9} this user may not mount a small or a read-only file system", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            tolerated, observed = inject(subject, Path(folder) / "run", random.Random(f"{_SEED.value} {name}"))
        observed = observed.replace(folder, "…")
        print(f"{name:34} {'tolerated' if tolerated else 'FAILED':9} {observed}", flush=True)
        outcomes.append(tolerated)
        if _OUT.value:
            row = {"fault": name, "tolerated": tolerated, "observed": observed}
            append_row(_OUT.value, row | {"kills": _KILLS.value, "seed": _SEED.value})
    if not all(outcomes):
        cli.fail(f"{outcomes.count(False)} of {len(outcomes)} faults were not tolerated", 1)


if __name__ == "__main__":
    cli.run(main)
