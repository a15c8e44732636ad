"""A Slurm of three nodes on one machine: its daemons are children of this process, run as its user, and write to one folder.

A node is a `slurmd` with a name; the first has the name of the machine, by which the processes of a run find one another. For
Debian's packages slurm-wlm and munge, whose own services are neither needed nor changed.
"""

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "sinfo")
_PATH = f"{os.environ['PATH']}:/usr/sbin"  # where the daemons are, which is not on the path of every user
_ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class NoSlurmError(Exception):
    """Slurm is not installed, or does not start."""


class Cluster:
    """Three nodes, and the commands of their user."""

    def __init__(self, folder: Path):
        self.folder, self.host = folder, socket.gethostname().partition(".")[0]
        self.nodes = (self.host, f"{self.host}-b", f"{self.host}-c")
        # Within a job of another cluster, its variables would count as options of these commands.
        own = {name: text for name, text in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        self.environment = own | {"PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start munge, the controller and the nodes, and wait until all nodes are idle."""
        self.folder.chmod(0o711)  # munged insists on a socket that every user can reach
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(self._configuration())
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "seed-file": "seed", "pid-file": "pid"}
        options = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        self._start_daemon("munged", "munged", "--foreground", *options)
        wait_for((self.folder / "munge.socket").exists, 20, "munged does not listen")
        self._start_daemon("slurmctld", "slurmctld", "-D")
        for node in self.nodes:
            self._start_daemon(node, "slurmd", "-D", "-N", node)
        idle = ("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N")
        wait_for(lambda: self.command(*idle, check=False).split() == [*self.nodes], 60, "the nodes do not become idle")

    def stop(self) -> None:
        """Kill the nodes with all that runs there, and end the other daemons."""
        for node in self.nodes:
            self.kill_node(node)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def command(self, *words: str, check: bool = True) -> str:
        """Run a command as a user of the cluster; return what it prints."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
        return done.stdout

    def submit(self, script: str, *arguments: str, **options: object) -> str:
        """Submit a script with options of `sbatch`, which override those within it; return the id of the job."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return self.command("sbatch", "--parsable", *flags, script, *arguments).strip()

    def job(self, job_id: str) -> dict[str, str]:
        """Return what Slurm tells of a job: JobState, Restarts and more."""
        return dict(re.findall(r"(\w+)=(\S*)", self.command("scontrol", "show", "job", job_id, "--oneliner")))

    def has_ended(self, job_id: str) -> bool:
        """Tell whether a job is over, and will not be queued again."""
        return self.job(job_id)["JobState"] in _ENDS

    def kill_node(self, node: str) -> None:
        """Kill all processes of a node at once, its daemon first: nothing there has the time to say that it ends."""
        if node in self._daemons:
            self._daemons[node].kill()
            self._daemons[node].wait()
        while processes := list(self._processes(node)):
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)

    def _processes(self, node: str) -> Iterator[int]:
        """Yield the processes that have the environment of this cluster and node: its daemon, and all of its jobs."""
        marks = {f"SLURMD_NODENAME={node}", f"SLURM_CONF={self.folder}/slurm.conf"}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is another user's
                if marks <= set((folder / "environ").read_text(errors="replace").split("\0")):
                    yield int(folder.name)

    def _start_daemon(self, name: str, *words: str) -> None:
        environment = self.environment | ({"SLURMD_NODENAME": name} if name in self.nodes else {})
        with (self.folder / f"{name}.daemon").open("ab") as log:
            self._daemons[name] = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _configuration(self) -> str:
        user, folder = pwd.getpwuid(os.getuid()).pw_name, self.folder
        port, *ports = free_ports(1 + len(self.nodes))
        machine = f"NodeHostname={self.host} NodeAddr=127.0.0.1 CPUs=8"  # more than it has, for several jobs at a time
        nodes = "\n".join(f"NodeName={node} {machine} Port={each}" for node, each in zip(self.nodes, ports, strict=True))
        return f"""
ClusterName=test
SlurmctldHost={self.host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# cred_expire: a job that is queued again waits for so many seconds, by default 120.
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
# After so many seconds a node that does not answer is down, by default 300.
SlurmdTimeout=30
ReturnToService=2
SchedulerParameters=sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

    def errors(self) -> str:
        """Return the last error in the logs of the daemons."""
        lines = [line for log in self.folder.glob("*.daemon") for line in log.read_text(errors="replace").splitlines()]
        named = [line for line in lines if re.search(r"fatal|error", line, re.IGNORECASE)]
        return (sorted(named, key=lambda line: "fatal" in line) or ["no error in the logs"])[-1]


@contextmanager
def started_cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster whose nodes are idle, and end it.

    Raises:
        NoSlurmError: Slurm is not installed, or does not start here.
    """
    if missing := [program for program in _PROGRAMS if not shutil.which(program, path=_PATH)]:
        raise NoSlurmError(f"there is no {missing[0]} (Debian: slurm-wlm, munge)")
    cluster = Cluster(folder)
    try:
        try:
            cluster.start()
        except TimeoutError as error:
            raise NoSlurmError(f"{error}; {cluster.errors()}") from error
        yield cluster
    finally:
        cluster.stop()


def wait_for(holds: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not within so many seconds.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{otherwise} within {seconds:.0f} s")
        time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine at which nobody listens."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
