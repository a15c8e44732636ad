"""What a training process needs from its system: compiled programs, freed memory, signals, the lock of its workdir."""

import ctypes
import importlib.util
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TextIO

import jax

from gan_jax.cached import cache_dir
from gan_jax.errors import InputError
from gan_jax.files import is_partial, open_regular
from gan_jax.interrupts import exit_on_signal

_MAX_LOCK = 2**12  # bytes of the line in it
_STOP = (signal.SIGTERM, signal.SIGINT)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # glibc, malloc.h


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless `JAX_COMPILATION_CACHE_DIR` names another."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def keep_freed_memory() -> None:
    """Let glibc keep the memory that a step frees: the kernel would clear each page again at every step.

    XLA:CPU allocates its buffers anew at each call: up to a fifth of a DCGAN step. Does nothing without glibc, nor where JAX
    has a plugin for an accelerator, whose compiler's many threads would wait for one another in the one arena.
    """
    if any(importlib.util.find_spec(plugin) for plugin in ("jax_plugins", "libtpu")):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**28)
        mallopt(_M_ARENA_MAX, 1)  # also for XLA's threads, whose arenas return large blocks whatever the threshold


class StopSignals:
    """Within it, the first SIGTERM or SIGINT is stored in `signum`, for the loop to stop; a SIGINT after that exits at once.

    A thread reads the signals: Python calls no handler while a step, or its compilation, runs outside of Python.
    """

    signum = 0

    def __enter__(self) -> Self:
        self._active = threading.current_thread() is threading.main_thread()  # no other thread may set a handler
        if self._active:
            self._receiver, self._sender = socket.socketpair()  # on Windows a wakeup descriptor must be a socket
            self._sender.setblocking(False)
            self._thread = threading.Thread(target=self._receive, daemon=True)
            self._thread.start()
            self._wakeup_fd = signal.set_wakeup_fd(self._sender.fileno())
            self._handlers = {signum: signal.signal(signum, lambda *_: None) for signum in _STOP}
        return self

    def __exit__(self, *error: object) -> None:
        if self._active:
            for signum, handler in self._handlers.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(self._wakeup_fd)
            self._sender.close()
            self._thread.join()
            self._receiver.close()

    def _receive(self) -> None:
        while received := self._receiver.recv(1):
            signum = received[0]
            if self.signum and signum == signal.SIGINT:
                os._exit(128 + signum)
            if signum in _STOP and not self.signum:
                self.signum = signum
                print(f"{signal.Signals(signum).name}: saving at the end of this step", file=sys.stderr, flush=True)


def exit_on_signals() -> None:
    """Let SIGTERM and SIGINT end this process at once, in one line, also while it waits for the device."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.detach())  # open for as long as the process lives
    for signum in _STOP:
        signal.signal(signum, lambda *_: None)

    def receive() -> None:
        while received := receiver.recv(1):
            if received[0] in _STOP:
                exit_on_signal(received[0])

    threading.Thread(target=receive, daemon=True).start()


@contextmanager
def lock_workdir(workdir: Path) -> Iterator[None]:
    """Keep other runs out of a folder. The system releases it however this process ends; programs it starts do not hold it."""
    workdir.mkdir(parents=True, exist_ok=True)
    for entry in workdir.iterdir():
        if entry.is_symlink():
            raise InputError(f"{entry}: must not be a link: a run writes only to its own folder; --workdir itself may be one")
    with os.fdopen(open_regular(workdir / ".lock", os.O_RDWR | os.O_CREAT | os.O_APPEND, at_most=_MAX_LOCK), "a+") as file:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"{workdir}: {holder} is training there; wait for it, or give another --workdir") from None
        except OSError as error:
            reason = f"cannot be locked ({error.strerror})"
            raise InputError(f"{workdir}: {reason}; give a --workdir on a file system that has locks") from error
        for partial in workdir.rglob(".*.partial"):  # left by a process that was killed while it wrote
            if is_partial(partial):
                partial.unlink()
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def is_training(workdir: Path) -> bool:
    """Return whether a run on this machine, of this process or another, holds the lock of a folder."""
    try:
        descriptor = open_regular(workdir / ".lock", os.O_RDWR)
    except (OSError, InputError):  # never locked, or not ours to write
        return False
    with os.fdopen(descriptor, "r+") as file:
        try:
            _lock(file)
        except OSError as error:  # any other: a file system without locks
            return isinstance(error, BlockingIOError | PermissionError)
    return False


def _lock(file: TextIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows, where a locked byte cannot be read: one far behind the text
        import msvcrt

        os.lseek(file.fileno(), 2**20, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        # Of the open file: lockf would drop this process's own lock as soon as it closes the file that it asked by.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
