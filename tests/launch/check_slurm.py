"""Does a cluster do what experiments/launch/slurm.sh and experiments/sweep.py promise? On a Slurm of this machine alone.

A run that meets its time limit saves and is queued again by its script, and ends with the bits of an undisturbed run; so do the
jobs of a sweep. When a node is killed, the run says why it ends, and resumes when Slurm has another.

Command: python tests/launch/check_slurm.py, or `make slurm`. Expect: a line for each, exit status 0; about 3 minutes on 2
cores. One line where Slurm (Debian's slurm-wlm and munge) is not installed or does not start.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from slurm_nodes import Cluster, NoSlurmError, started_cluster, wait_for

from gan_jax.files import read_jsonl, sha256_of
from gan_jax.run.restore import restore_run

ROOT = Path(__file__).parents[2]
SCRIPT = "experiments/launch/slurm.sh"
MACHINES = {"nodes": 2, "gpus_per_node": 0, "ntasks_per_node": 1, "cpus_per_task": 1, "time": 60}
FOREVER, MORE = 1_000_000_000, 60  # steps
PATIENCE = 300  # seconds, of a machine that does much else
# Its number of steps is in a file: however fast the machine is, a run is in the middle until it is told where it ends.
CONFIG = """
import runpy
from pathlib import Path

def get_config():
    config = runpy.run_path("experiments/configs/ring.py")["get_config"]()
    config.num_steps = int(Path(__file__).with_suffix(".steps").read_text())
    config.batch_size, config.network.mlp.hidden = 8, (8,)
    config.eval_every, config.sample_every, config.checkpoint_every, config.log_every = 0, 1_000_000_000, 20, 10
    return config
"""


class Run:
    """A run on two nodes, with a config, a number of steps, a workdir and a log of its own."""

    def __init__(self, cluster: Cluster, name: str, num_steps: int):
        self.cluster, self.name, self.workdir, self.log = cluster, name, cluster.folder / name, cluster.folder / f"{name}.log"
        self.config = Config(cluster.folder / f"{name}.py", num_steps)
        arguments = (f"--config={self.config.path}", f"--workdir={self.workdir}")
        self.job = cluster.submit(SCRIPT, *arguments, **MACHINES, output=self.log, signal="TERM@60")

    def wait(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds of a run that has not ended."""
        wait_for(lambda: holds() or self.cluster.has_ended(self.job), PATIENCE, f"the run {self.name} {what}")
        assert holds(), (
            f"the run {self.name} {what}: {self.cluster.job(self.job)['JobState']}, with the log\n{self.log.read_text()}"
        )

    def wait_for_end(self) -> None:
        """Wait until its job is completed."""
        self.wait(lambda: self.cluster.job(self.job)["JobState"] == "COMPLETED", "is not completed")


class Config:
    """A config file whose number of steps may change."""

    def __init__(self, path: Path, num_steps: int):
        self.path = path
        self.path.write_text(CONFIG)
        self.set_steps(num_steps)

    def set_steps(self, num_steps: int) -> None:
        self.path.with_suffix(".steps").write_text(str(num_steps))


def newest(workdir: Path) -> int:
    """Return the newest step that is saved, 0 where none is."""
    return max((int(path.parent.name) for path in workdir.glob("checkpoints/*/commit_success.txt")), default=0)


def calls(workdir: Path) -> list[tuple[int, int, str]]:
    """Return the first and last step, and the end, of each time that a run has trained."""
    return [(row["from_step"], row["to_step"], row["ended"]) for row in read_jsonl(workdir / "runs.jsonl")]


def check_time_limit(cluster: Cluster) -> str:
    """The time limit comes near as soon as a run has saved: it stops, is queued again, and ends as one that was left alone."""
    run = Run(cluster, "limited", FOREVER)
    run.wait(lambda: newest(run.workdir), "does not save")
    cluster.command("scontrol", "update", f"JobId={run.job}", "EndTime=now+90seconds")
    run.wait(lambda: calls(run.workdir), "does not stop before its time limit")
    ((_, stopped_at, _),) = calls(run.workdir)
    total = stopped_at + MORE
    run.config.set_steps(total)
    run.wait(lambda: cluster.job(run.job)["Restarts"] == "1", "is not queued again")
    cluster.command("scontrol", "update", f"JobId={run.job}", f"TimeLimit={MACHINES['time']}")
    undisturbed = Run(cluster, "undisturbed", total)
    run.wait_for_end()
    undisturbed.wait_for_end()
    assert calls(run.workdir) == [(0, stopped_at, "sigterm"), (stopped_at, total, "complete")], calls(run.workdir)
    assert calls(undisturbed.workdir) == [(0, total, "complete")], calls(undisturbed.workdir)
    digests = [sha256_of(restore_run(each.workdir)[2]) for each in (run, undisturbed)]
    assert digests[0] == digests[1], f"DIFFERENT BITS after {total} steps"
    return f"SIGTERM at step {stopped_at}, saved, queued again, complete at step {total} with the bits of an undisturbed run"


def check_sweep(cluster: Cluster) -> str:
    """Two runs of a sweep are two jobs, which stop as before their time limit, and which a second call finds complete."""
    folder, config = cluster.folder / "sweep", Config(cluster.folder / "sweep.py", FOREVER)
    command = [sys.executable, "experiments/sweep.py", f"--config={config.path}", f"--workdir={folder}", "--config.seed=0,1"]
    command += ["--launcher=slurm", "--slurm=time=60,cpus_per_task=1"]
    jobs = dict(re.findall(r"^job (\d+): (seed=\d)$", cluster.command(*command), re.MULTILINE))
    assert len(jobs) == 2, jobs
    wait_for(lambda: all(newest(folder / name) for name in jobs.values()), PATIENCE, "the runs do not save")
    cluster.command("scancel", "--signal=TERM", *jobs)
    stopped = lambda job: cluster.job(job)["Restarts"] == "1" or cluster.has_ended(job)  # noqa: E731
    wait_for(lambda: all(map(stopped, jobs)), PATIENCE, "the jobs do not stop")
    states = [cluster.job(job)["JobState"] for job in jobs if cluster.has_ended(job)]
    assert not states, f"the jobs are not queued again: {' and '.join(states)}"
    stopped_at = [calls(folder / name)[0][1] for name in jobs.values()]
    total = max(stopped_at) + MORE
    config.set_steps(total)
    wait_for(lambda: all(map(cluster.has_ended, jobs)), PATIENCE, "the jobs do not end")
    said = cluster.command(*command)
    assert said.endswith("2 runs, 2 complete\n"), said
    for name, step in zip(jobs.values(), stopped_at, strict=True):
        assert calls(folder / name) == [(0, step, "sigterm"), (step, total, "complete")], calls(folder / name)
    steps = " and ".join(map(str, stopped_at))
    return f"2 runs in 2 jobs, SIGTERM at steps {steps}, saved, queued again; a second call finds both complete"


def check_killed_node(cluster: Cluster) -> str:
    """One of a run's nodes is killed: process 0, on the other, says why it ends, and Slurm starts both again with a third."""
    run = Run(cluster, "killed", FOREVER)
    run.wait(lambda: newest(run.workdir), "does not save")
    node = cluster.job(run.job)["NodeList"].split(",")[1]
    cluster.kill_node(node)
    run.wait(lambda: cluster.job(run.job)["Restarts"] == "1", "is not queued again")
    log, killed_at = run.log.read_text(), newest(run.workdir)
    reasons = re.findall(r"^error: process 0: ([^;\n]*)", log, re.MULTILINE)
    assert len(reasons) == 1, log
    assert f"Node failure on {node}" in log, log
    run.config.set_steps(killed_at + MORE)
    run.wait_for_end()
    assert calls(run.workdir) == [(killed_at, killed_at + MORE, "complete")], calls(run.workdir)
    return f"process 0: {reasons[0]!r}; queued again, resumed at step {killed_at} with another node, complete"


def outcome(cluster: Cluster, check: Callable[[Cluster], str]) -> tuple[bool, str]:
    """Return whether the cluster does what a check expects, and the line that says what was seen."""
    began, name = time.monotonic(), check.__name__.removeprefix("check_").replace("_", " ")
    try:
        passed, seen = True, check(cluster)
    except (AssertionError, TimeoutError) as error:
        passed, seen = False, f"FAILED: {error}"
    return passed, f"Slurm, {name}: {seen} ({time.monotonic() - began:.0f} s)"


def main() -> int:
    """Start a cluster and check it; print a line for each check and return the exit status."""
    os.chdir(ROOT)
    all_passed = True
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": f"{name}/compiled"}
        try:
            cluster = opened.enter_context(started_cluster(Path(name)))
        except NoSlurmError as error:
            print(f"skipped: runs on a cluster of Slurm: {error}")
            return 0
        pool = opened.enter_context(ThreadPoolExecutor())
        # A killed node would disturb others; the sweep runs while the time limit is awaited.
        for together in ((check_time_limit, check_sweep), (check_killed_node,)):
            for passed, line in pool.map(partial(outcome, cluster), together):
                print(line, flush=True)
                all_passed &= passed
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
