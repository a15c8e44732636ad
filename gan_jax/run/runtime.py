"""What a process that trains has to itself: compiled programs, freed memory, the signals it gets, the folder it writes."""

import ctypes
import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import jax

from gan_jax.errors import InputError
from gan_jax.files import cache_dir

_STOP = (signal.SIGTERM, signal.SIGINT)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # glibc, malloc.h


def keep_compiled_programs() -> None:
    """Let a second start find what the first one compiled; the user's own `JAX_COMPILATION_CACHE_DIR` goes first."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: given back and asked for again, every page of it would be cleared at every step.

    XLA:CPU allocates its buffers anew at each call: up to a fifth of a DCGAN step. Without glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**28)
        mallopt(_M_ARENA_MAX, 1)  # XLA's own threads too: their arenas give large blocks back whatever the threshold


class StopSignals:
    """Within it, SIGTERM and SIGINT are a request, `number`, to be met at the end of a step; a SIGINT after that exits at once.

    A thread reads them, as Python itself calls no handler while a step, or its compilation, runs outside of Python.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __enter__(self) -> Self:
        self._active = threading.current_thread() is threading.main_thread()  # no other may set a handler
        if self._active:
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._reader = threading.Thread(target=self._follow, daemon=True)
            self._reader.start()
            self._wakeup = signal.set_wakeup_fd(self._write)
            self._previous = {number: signal.signal(number, lambda *_: None) for number in _STOP}
        return self

    def __exit__(self, *error: object) -> None:
        if self._active:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._write)
            self._reader.join()
            os.close(self._read)

    def _follow(self) -> None:
        while received := os.read(self._read, 1):
            number = received[0]
            if number == signal.SIGINT and self.number is not None:
                os._exit(128 + number)
            if number in _STOP and self.number is None:
                self.number = number
                print(f"{signal.Signals(number).name}: saving at the end of this step", file=sys.stderr, flush=True)


def exit_at_once(number: int, frame: object) -> None:
    """A handler for signals outside of a step, where nothing is to be saved; threads that compile are not waited for."""
    del frame
    line = f"{signal.Signals(number).name}: stopped; the same command goes on from the newest checkpoint, if one was saved\n"
    os.write(sys.stderr.fileno(), line.encode())
    os._exit(128 + number)


@contextmanager
def sole_writer(workdir: Path) -> Iterator[None]:
    """Keep a second run out of a folder while this process lives; the system lets go of it however the process ends."""
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / ".lock").open("a+") as file:
        try:
            # A record lock, which a child does not inherit: workers that outlive a killed parent do not hold it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"{workdir}: {holder} is training there; wait for it, or give another --workdir") from None
        for partial in workdir.rglob(".*.partial"):  # of a process that was killed while it wrote
            partial.unlink()
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
