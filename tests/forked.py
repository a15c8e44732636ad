"""Python processes for tests, forked from one that has imported the libraries: 0.2 s of the processor each instead of two.

`run(arguments, …)` and `Process(arguments, …)` are what `subprocess.run` and `Popen` are for [sys.executable, *arguments]. The
package itself is no library: each process imports it anew. At the end threads are joined, exit handlers called and streams
flushed, and modules left to the system. Whoever tests how a process starts, or all of its end, starts one by `subprocess`.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Self

LIBRARIES = ("numpy", "jax", "jax.export", "flax.linen", "optax", "orbax.checkpoint", "ml_collections.config_flags", "absl.app")
LIBRARIES += ("matplotlib.pyplot", "PIL.Image", "safetensors.numpy", "tqdm", "tensorboardX.event_file_writer")
_FILTERS = len(warnings.filters)  # of the interpreter itself
_NUMBER = struct.Struct("q")  # what a request is answered by: the process id, and later its exit status


class Process:
    """A process whose output goes to files; with that of `Popen`'s interface which tests use."""

    def __init__(self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]):
        self.args = list(arguments)
        self.returncode: int | None = None
        self._output = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  # closed by __exit__
        self._status, theirs = socket.socketpair()
        ignores_interrupts = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as what a shell puts in the background does
        request = {"arguments": self.args, "cwd": str(cwd), "env": dict(env), "ignores_interrupts": ignores_interrupts}
        with theirs:
            descriptors = [theirs.fileno(), *(file.fileno() for file in self._output)]
            socket.send_fds(_server(), [json.dumps(request).encode() + b"\n"], descriptors)
        self.pid = self._receive()

    def _receive(self) -> int:
        return int(_NUMBER.unpack(self._status.recv(_NUMBER.size, socket.MSG_WAITALL))[0])

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = self._receive()
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from error
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return self.written()

    def written(self) -> tuple[str, str]:
        """Return what standard output and error are so far."""
        out, errors = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in self._output)
        return out, errors

    def wait_for(self, written: tuple[str, str]) -> None:
        """Wait until standard output and error are these."""
        for _ in range(1200):
            if self.written() == written:
                return
            time.sleep(0.05)
        raise AssertionError(f"waited for {written}, got {self.written()}")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self.wait()
        for file in (*self._output, self._status):
            file.close()


def run(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a process to its end; kill it after so long that even on a busy machine it must hang."""
    with Process(arguments, cwd=cwd, env=env) as process:
        out, errors = process.communicate(timeout=900)
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


@cache
def _server() -> socket.socket:
    """Start the process that forks. It ends when this one does."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno())]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def _import_libraries() -> None:
    """Import what scripts import, but start no thread and no backend of XLA: neither outlives a fork."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # else tensorboardX imports it, where the package does not let it
    for name in LIBRARIES:
        importlib.import_module(name)
    del sys.modules["torch"]
    from jax._src import xla_bridge

    assert not xla_bridge.backends_are_initialized()
    assert threading.active_count() == 1
    assert not [name for name in sys.modules if name.partition(".")[0] == "gan_jax"]
    gc.collect()
    gc.freeze()  # else the collector of each process copies what they share


def _fork(requests: socket.socket) -> dict[str, Any]:
    """Fork a process for each request, and return there what it is to run; exit where those who ask are gone."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, 2**20, 3)
        while not request.endswith(b"\n"):
            more = requests.recv(2**20)
            if not more:
                os._exit(0)
            request += more
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    requests.close()
    for place, descriptor in enumerate(descriptors[1:], 1):
        os.dup2(descriptor, place)
        os.close(descriptor)
    with socket.socket(fileno=descriptors[0]) as status:
        if pid := os.fork():  # only a parent learns how a process ended: this one waits
            os.closerange(0, 3)
            with suppress(OSError):  # nobody waits
                status.sendall(_NUMBER.pack(pid))
                status.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
            os._exit(0)
    return dict(json.loads(request))


def _set_environment(env: Mapping[str, str], by_libraries: Mapping[str, str]) -> None:
    """Set the environment, and what jax has read of it."""
    import jax

    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({**by_libraries, **env})
    for name in before.keys() | env.keys():
        if name.startswith("JAX_") and before.get(name) != env.get(name):
            assert name in ("JAX_NUM_CPU_DEVICES",), f"{name}: whoever changes it starts a process by subprocess"
            jax.config.update("jax_num_cpu_devices", int(env[name]))


def _execute(arguments: list[str], path: list[str]) -> None:
    """Run `python [-W error] SCRIPT | -c CODE | -m MODULE …` in this process."""
    sys.orig_argv[:] = [sys.executable, *arguments]
    if arguments[:2] == ["-W", "error"]:
        sys.warnoptions.append("error")
        del warnings.filters[-_FILTERS:]  # the option's comes before the interpreter's, and after those of libraries
        warnings.simplefilter("error", append=True)
        arguments = arguments[2:]
    first, *rest = arguments
    folder = {"-c": "", "-m": str(Path.cwd())}.get(first, str(Path(first).parent.absolute()))
    sys.path[:] = [folder, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *path]
    sys.argv[:] = [first, *rest[1:]] if first in ("-c", "-m") else arguments
    importlib.invalidate_caches()
    if first == "-c":
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(rest[0], module.__dict__)
    elif first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


def _end(error: BaseException | None) -> NoReturn:
    """End this process as the interpreter would, but for the modules: to take them down takes longer than to fork."""
    status = int(error is not None)
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = (error.code or 0) & 0xFF
    elif isinstance(error, SystemExit):
        print(error.code, file=sys.stderr)
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Serve requests that come through the socket of the number in argv."""
    at_start, own_path = dict(os.environ), [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    path = [entry for entry in sys.path if entry not in own_path]
    _import_libraries()
    by_libraries = {name: entry for name, entry in os.environ.items() if name not in at_start}
    request = _fork(socket.socket(fileno=int(sys.argv[1])))
    error = None
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignores_interrupts"] else signal.default_int_handler)
        os.chdir(request["cwd"])
        _set_environment(request["env"], by_libraries)
        __import__("numpy").random.seed()
        _execute(request["arguments"], path)
    except BaseException as raised:
        error = raised
    _end(error)


if __name__ == "__main__":
    main()
