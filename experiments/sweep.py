r"""Which of these settings is best? Train every combination of the values of some entries, one resumable run each.

Command: python experiments/sweep.py --config=experiments/configs/ring.py --workdir=runs/sweep \
    --config.objective=minimax,hinge --config.seed=0,1,2 --jobs=2
An entry with commas has several values (tuples keep brackets: '--config.network.mlp.hidden=(64,64),(128,)'). Each run has a
folder below --workdir with its output in log.txt; complete ones are skipped, others resume, and one that fails does not stop
the others. --dry_run prints the runs and their state. --launcher=slurm submits each to Slurm as a job of its own, by submitit
(pip install -e '.[cluster]'): --slurm=time=60,partition=gpu,gpus_per_node=1. Before its time is up a job saves and is queued
again. Then: python experiments/compare.py runs/sweep
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import flags

from gan_jax.errors import InputError, RunError, StoppedError
from gan_jax.run import cli
from gan_jax.run.runtime import StopSignals
from gan_jax.run.sweep import Run, expand, is_complete, make_config, split_arguments

_CONFIG = flags.DEFINE_string("config", "", "Config file; --config.key=A,B sweeps an entry, --config.key=A sets it.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder for the runs.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Runs at a time on this machine, with --launcher=local.", lower_bound=1)
_LAUNCHER = flags.DEFINE_enum(
    "launcher", "local", ["local", "slurm", "submitit"], "Where runs train; submitit uses its local executor."
)
_SLURM = flags.DEFINE_list("slurm", [], "Options of a job, as submitit names them: time=MINUTES, partition=, gpus_per_node=.")
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Print the runs and their state; train nothing.")

_POLL = 0.2  # seconds
# Runs a command; where SIGTERM has stopped it, with a checkpoint (status 143), the job is queued again, as by launch/slurm.sh.
_REQUEUE = ["bash", "-c", 'trap : TERM; "$@"; s=$?; [ $s -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"; exit $s', "bash"]


def command(run: Run) -> list[str]:
    """Return the command that trains a run, or resumes it."""
    script = Path(__file__).with_name("train.py")
    return [sys.executable, str(script), f"--config={_CONFIG.value}", f"--workdir={workdir(run)}", *run.overrides]


def workdir(run: Run) -> Path:
    """Return the folder of a run."""
    return Path(_WORKDIR.value) / run.name


@contextmanager
def ending(processes: "Iterable[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Within it, an error ends the processes that still run; each saves first."""
    try:
        yield
    finally:
        for process in processes:
            process.terminate()


def train_here(runs: list[Run]) -> list[str]:
    """Train runs, --jobs at a time; return the names of those that failed. A signal stops all, which save first."""
    waiting, failed, told = list(enumerate(runs, 1)), [], False
    running: dict[subprocess.Popen[bytes], tuple[int, Run, float]] = {}
    with StopSignals() as signals, ending(running):
        while (waiting and not signals.signum) or running:
            while waiting and not signals.signum and len(running) < _JOBS.value:
                number, run = waiting.pop(0)
                running[start(run)] = number, run, time.monotonic()
                print(f"{number} of {len(runs)}: {run.name}: started", flush=True)
            for process in [each for each in running if each.poll() is not None]:
                number, run, began = running.pop(process)
                failed += [run.name] if process.returncode else []
                end = describe_end(process, run, time.monotonic() - began)
                print(f"{number} of {len(runs)}: {run.name}: {end}", flush=True)
            if signals.signum and not told:
                told = True
                for process in running:
                    process.terminate()
            time.sleep(_POLL)
    if signals.signum:
        raise StoppedError(signals.signum, "stopped, and each run has saved; rerun the same command to resume")
    return failed


def start(run: Run) -> "subprocess.Popen[bytes]":
    """Start a run in a session of its own, so that Ctrl-C reaches it once, from here."""
    workdir(run).mkdir(parents=True, exist_ok=True)
    # Runs at one time share the memory of a GPU, of which each would take three quarters.
    environment = ({"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if _JOBS.value > 1 else {}) | os.environ
    with (workdir(run) / "log.txt").open("ab") as log:
        return subprocess.Popen(command(run), env=environment, stdout=log, stderr=log, start_new_session=True)


def describe_end(process: "subprocess.Popen[bytes]", run: Run, seconds: float) -> str:
    """Say how a run has ended; the reason of a failure is the last line of its log."""
    if not process.returncode:
        return f"complete after {seconds:.0f} s"
    reason = (workdir(run) / "log.txt").read_text(errors="replace").strip().rpartition("\n")[2]
    return f"status {process.returncode} after {seconds:.0f} s: {reason}"


def submit(runs: list[Run]) -> list[str]:
    """Submit a job for each run; return the names of those that failed, of jobs on this machine, which are awaited."""
    try:
        import submitit
    except ImportError as error:
        raise InputError(f"{error}; install the extra: pip install -e '.[cluster]'") from error
    slurm = _LAUNCHER.value == "slurm"
    options = dict(option.partition("=")[::2] for option in _SLURM.value)
    try:
        executor: Any = submitit.AutoExecutor(Path(_WORKDIR.value) / "jobs", cluster="slurm" if slurm else "local")
        minutes = int(options.pop("time", 60 if slurm else 24 * 60))
        named = {key: int(value) if value.isdecimal() else value for key, value in options.items()}
        executor.update_parameters(timeout_min=minutes, **{f"slurm_{key}": value for key, value in named.items()})
        # submitit's own signal, SIGUSR2, would end a run before it can save.
        signals = {"signal": f"TERM@{min(180, 6 * minutes)}", "requeue": True}
        executor.update_parameters(slurm_additional_parameters=signals)
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise InputError(f"--launcher={_LAUNCHER.value} --slurm={','.join(_SLURM.value)}: {error}") from error
    before = _REQUEUE if slurm else []
    jobs = [executor.submit(submitit.helpers.CommandFunction([*before, *command(run)])) for run in runs]
    for job, run in zip(jobs, runs, strict=True):
        print(f"job {job.job_id}: {run.name}", flush=True)
    failed = []
    for job, run in zip(jobs, runs, strict=True) if not slurm else ():
        if failure := job.exception():
            print(f"job {job.job_id}: {run.name}: {str(failure).strip().splitlines()[-1]}", flush=True)
            failed.append(run.name)
    return failed


def main(overrides: list[str]) -> None:
    if not _WORKDIR.value:
        raise InputError("--workdir: must be a folder for the runs")
    if _SLURM.value and _LAUNCHER.value != "slurm":
        raise InputError("--slurm: must be left out without --launcher=slurm")
    runs = expand(overrides)
    complete = [is_complete(workdir(run), make_config(_CONFIG.value, run)) for run in runs]
    for run, done in zip(runs, complete, strict=True):
        if done or _DRY_RUN.value:
            begun = (workdir(run) / "checkpoints").exists()
            print(f"{run.name}: {'complete' if done else 'begun' if begun else 'not begun'}", flush=True)
    to_run = [run for run, done in zip(runs, complete, strict=True) if not done]
    print(f"{len(runs)} runs, {len(runs) - len(to_run)} complete", flush=True)
    if _DRY_RUN.value or not to_run:
        return
    failed = train_here(to_run) if _LAUNCHER.value == "local" else submit(to_run)
    if failed:
        raise RunError(f"{len(failed)} of {len(to_run)} runs failed: {', '.join(failed)}; each has its log.txt")


if __name__ == "__main__":
    given, sys.argv = split_arguments(sys.argv)
    cli.run(lambda: main(given))
