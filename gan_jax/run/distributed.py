"""A run over several processes: they connect, compare their configs, and stop together."""

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed as distributed_service  # the one place that has the coordinator's keys
from jax.experimental import multihost_utils

from gan_jax.errors import InputError, one_line, shorten
from gan_jax.files import sha256_of

_connected, _shut_down = threading.Event(), threading.Event()
_leaving = threading.Lock()  # held by the thread that ends this process
_SECONDS_TO_NOTE = 20.0  # of silence, before a line says what is waited for
_SECONDS_TO_LEAVE = 10.0  # in which the others end too, before process 0 takes the coordinator away
_ENDED, _LEFT = "gan_jax/ended", "gan_jax/left"  # keys at the coordinator


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = 300,
    heartbeat_timeout: float = 20,
) -> None:
    """Connect to the other processes, before anything touches a device. Only process 0 keeps its standard output.

    coordinator: HOST:PORT at which process 0 listens. Slurm, Open MPI, GKE or a TPU pod supply what is not given.
    timeout: seconds until all processes must have connected. heartbeat_timeout: seconds without a heartbeat from one process
    after which the others exit.

    Raises:
        InputError: an address that is malformed or at which process 0 cannot listen, or no cluster to supply what is not given.
    """
    if coordinator:
        _check_address(coordinator, listens=process_id == 0)
    where = f"the coordinator {coordinator}" if coordinator else "the coordinator of the cluster"
    message = f"timeout: not all processes connected to {where} within {timeout:.0f} s; is process 0 running and its port open?"
    # The library's own timeout ends the process with a page of C++ messages; this one comes first.
    others = f"{num_processes or 'all'} processes at {where}, each with a --process_id of its own"
    note = f"waiting for {others}; this one gives up after {timeout:.0f} s (--connect_timeout)"
    timers = [threading.Timer(timeout, exit_process, (message, 1))]
    timers += [threading.Timer(_SECONDS_TO_NOTE, print, (note,), {"file": sys.stderr, "flush": True})]
    for timer in timers:
        timer.daemon = True
        timer.start()
    # The library waits in C++, where no Python handler runs; and its preemption service would take SIGTERM from the loop.
    handlers = {signum: signal.signal(signum, signal.SIG_DFL) for signum in (signal.SIGTERM, signal.SIGINT)}
    jax.config.update("jax_enable_preemption_service", False)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # one alone has number 0; under Slurm JAX would take the task's number
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            local_device_ids=[0] if visible and "," not in visible else None,
            cluster_detection_method=None if None in (coordinator, num_processes, process_id) else "deactivate",
            initialization_timeout=int(timeout) + 60,
            heartbeat_timeout_seconds=int(2 * heartbeat_timeout) + 1,
        )
    except Exception as error:  # whatever the detection of a cluster, an address or a socket raises
        remedy = "give --coordinator=HOST:PORT --num_processes=N --process_id=I, or start it under Slurm, Open MPI or on TPUs"
        raise InputError(f"--distributed: {str(error) or type(error).__name__}; {remedy}") from error
    finally:
        for timer in timers:
            timer.cancel()
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    print(f"process {jax.process_index()} of {jax.process_count()}: all processes are connected", file=sys.stderr, flush=True)
    if not is_primary():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _connected.set()
    threading.Thread(target=_exchange_heartbeats, args=(heartbeat_timeout,), daemon=True).start()
    threading.Thread(target=_follow, daemon=True).start()


def _check_address(coordinator: str, *, listens: bool) -> None:
    """Raise `InputError` where an address is none, or where process 0 could not listen at it: the library would crash."""
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and len(port) <= 5 and 1 <= int(port) < 2**16):
        raise InputError(f"--coordinator={shorten(coordinator)}: must be HOST:PORT")
    if not listens:
        return
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", int(port)))
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"--coordinator={coordinator}: process 0 cannot listen there: {reason}; give a free port"
            ) from error


def is_connected() -> bool:
    """Whether this process is one of several."""
    return _connected.is_set()


def is_primary() -> bool:
    """Whether this is process 0, which alone writes the files of a run."""
    return jax.process_index() == 0


def broadcast_from_primary(tree: Any) -> Any:
    """Return process 0's arrays, bit by bit, on all processes; each passes a tree of the same shapes and dtypes."""
    if jax.process_count() == 1:
        return tree
    arrays = jax.tree.map(np.asarray, tree)
    # As words, which every device can add: the library adds zeros, which would turn −0.0 into 0.0.
    as_words = jax.tree.map(lambda array: np.frombuffer(array.tobytes() + bytes(-array.nbytes % 4), np.uint32), arrays)
    received = multihost_utils.broadcast_one_to_all(as_words)

    def back(array: np.ndarray, data: Any) -> jax.Array:
        as_bytes = np.asarray(data).view(np.uint8)[: array.nbytes]
        return jnp.asarray(as_bytes.view(array.dtype).reshape(array.shape))

    return jax.tree.map(back, arrays, received)


def max_over_processes(number: int) -> int:
    """Return the largest of the processes' numbers."""
    return number if jax.process_count() == 1 else int(multihost_utils.process_allgather(np.int32(number)).max())


def assert_same(*settings: Any) -> None:
    """Raise `InputError` on all processes where their settings differ: one would wait for another for ever."""
    if jax.process_count() == 1:
        return
    digests = multihost_utils.process_allgather(np.frombuffer(bytes.fromhex(sha256_of(repr(settings))), np.uint8))
    different = np.flatnonzero((digests != digests[0]).any(axis=1))
    if len(different):
        raise InputError(f"process {different[0]} has another config or other data than process 0; give all processes the same")


def shutdown() -> None:
    """Wait for all processes to reach the end of the run, and disconnect."""
    if is_connected():
        multihost_utils.sync_global_devices("end of the run")
        _shut_down.set()
        _connected.clear()
        jax.distributed.shutdown()


def exit_process(message: str, status: int, *, wait: float = _SECONDS_TO_LEAVE) -> NoReturn:
    """Print the reason on standard error, tell the other processes, and exit; they exit too, each with a line."""
    _leaving.acquire()  # a thread that comes second waits here for the end
    name = f"process {jax.process_index()}: " if is_connected() else ""
    line = one_line(f"{name}{message}")
    print(f"error: {line}", file=sys.stderr, flush=True)
    if is_connected():
        _tell_others(line, status, wait)
    os._exit(status)


def is_lost_connection(error: Exception) -> bool:
    """Tell whether an error is that of a collective when another process is gone; Gloo raises it as a ValueError."""
    return isinstance(error, jax.errors.JaxRuntimeError) or bool(re.search(r"gloo|connection (closed|reset)", str(error), re.I))


def _client() -> Any:
    return distributed_service.global_state.client


def _tell_others(line: str, status: int, wait: float) -> None:
    """Let the others end too; process 0 waits until all have left, as they would crash without the coordinator that it runs."""
    end = time.monotonic() + wait
    with suppress(Exception):  # another process may have been the first to tell, or the coordinator is gone
        _client().key_value_set(_ENDED, json.dumps([line, status]))
    with suppress(Exception):
        _client().key_value_set(f"{_LEFT}/{jax.process_index()}", "")
    for index in range(1, jax.process_count()) if is_primary() else ():
        with suppress(Exception):  # a process that is gone
            _client().blocking_key_value_get(f"{_LEFT}/{index}", max(1, int(1000 * (end - time.monotonic()))))
    if is_primary():
        time.sleep(0.2)  # their last words reach the coordinator before their connections end


def _follow() -> None:
    """Exit when another process has ended with an error, and say which and why."""
    try:
        line, status = json.loads(_client().blocking_key_value_get(_ENDED, 2**31 - 1))
    except Exception:  # the coordinator is gone, or this process has shut down: the heartbeats tell
        return
    if _shut_down.is_set() or not _leaving.acquire(blocking=False):
        return
    print(f"error: process {jax.process_index()}: stopped, as the run has ended: {one_line(line)}", file=sys.stderr, flush=True)
    _tell_others(line, status, _SECONDS_TO_LEAVE)
    os._exit(status)


def _exchange_heartbeats(timeout: float) -> None:
    """Exit when another process has stopped answering: a collective that waits for it would wait for ever."""
    from orbax.checkpoint import multihost

    wait_at_barrier = multihost.get_barrier_sync_fn()
    for beat in count():
        try:
            wait_at_barrier(key=f"heartbeat {beat}", timeout_ms=int(timeout * 1000))
        except Exception as error:
            missing = re.search(r"task names:\s*([\d\s,]+)", str(error))
            who = f"process {', '.join(missing[1].split())}" if missing else "another process"
            if not _shut_down.is_set():
                message = f"missed heartbeat: no answer from {who} within {timeout:g} s; rerun the same command to resume"
                exit_process(message, 1, wait=timeout / 4)  # the library's own heartbeat must not come first
            return
        if _shut_down.wait(timeout / 4):
            return
