"""Many processes, one run: they find one another, agree, and stop together. A process alone passes through all of it."""

import hashlib
import json
import os
import re
import signal
import sys
import threading
from itertools import count
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from gan_jax.errors import InputError

_BEAT, _SILENCE = 5, 20  # seconds between signs of life, and without one until the others stop
_joined, _left = threading.Event(), threading.Event()


def connect(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None, *, patience: float = 300
) -> None:
    """Join the other processes of the run; before anything touches a device. Process 0 alone keeps its standard output.

    coordinator: HOST:PORT at which process 0 listens. What is not given is what Slurm, Open MPI, GKE or a TPU pod says.
    patience: seconds until all have come.
    """
    if coordinator and not re.fullmatch(r".+:\d+", coordinator):
        raise InputError(f"--distributed: --coordinator={coordinator}: give HOST:PORT")
    given = (coordinator, num_processes, process_id)
    where = f"the coordinator {coordinator}" if coordinator else "the coordinator that the cluster names"
    absent = f"not all processes met at {where} within {patience:.0f} s: is process 0 there, and can its port be reached?"
    # The library's own timeout ends the process with a page of C++; this one comes first.
    timer = threading.Timer(patience, quit_all, (f"--distributed: {absent}", 1))
    timer.daemon = True
    timer.start()
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}  # it waits in C++
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, which is the loop's own to handle
    try:
        jax.distributed.initialize(
            *given,
            cluster_detection_method=None if None in given else "deactivate",
            initialization_timeout=int(patience) + 60,
            heartbeat_timeout_seconds=2 * _SILENCE,
        )
    except Exception as error:  # whatever a cluster's detection, an address or a socket does
        remedy = "give --coordinator=HOST:PORT --num_processes=N --process_id=I, or start it under Slurm, Open MPI or on TPUs"
        raise InputError(f"--distributed: {str(error) or type(error).__name__}; {remedy}") from error
    finally:
        timer.cancel()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    print(f"process {jax.process_index()} of {jax.process_count()}: all have met", file=sys.stderr, flush=True)
    if jax.process_index():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _joined.set()
    threading.Thread(target=_watch, daemon=True).start()


def joined() -> bool:
    """Is this one of the processes of a run?"""
    return _joined.is_set()


def first() -> bool:
    """Is this the process that writes what the run leaves behind?"""
    return jax.process_index() == 0


def of_first(tree: Any) -> Any:
    """Process 0's arrays, to the bit, on all processes; every other gives a tree of the same shapes and dtypes."""
    if jax.process_count() == 1:
        return tree
    arrays = jax.tree.map(np.asarray, tree)
    # As bytes: a broadcast is a sum with zeros, which would turn −0 into 0.
    data = multihost_utils.broadcast_one_to_all(
        np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in jax.tree.leaves(arrays)])
    )
    ends = np.cumsum([leaf.nbytes for leaf in jax.tree.leaves(arrays)])[:-1]
    parts = iter(np.split(data, ends))
    return jax.tree.map(
        lambda leaf: jax.numpy.asarray(np.frombuffer(next(parts).tobytes(), leaf.dtype).reshape(leaf.shape)), arrays
    )


def largest(number: int) -> int:
    """The largest of what the processes give: what one of them asks for, all do, and at the same step."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def agree(settings: Any) -> None:
    """Raise `InputError` on all processes where they were not all given the same: one would wait for another for ever."""
    if jax.process_count() == 1:
        return
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest()
    all_digests = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    others = [index for index, other in enumerate(all_digests) if not np.array_equal(other, all_digests[0])]
    if others:
        raise InputError(f"process {others[0]} has another config, or other data, than process 0: give all the same")


def leave() -> None:
    """Wait until all processes are at the end of the run, and part."""
    if joined():
        multihost_utils.sync_global_devices("the end")
        _left.set()
        _joined.clear()
        jax.distributed.shutdown()


def quit_all(message: str, status: int) -> NoReturn:
    """Say why on standard error and exit at once; the other processes see this one gone, and stop too."""
    name = f"process {jax.process_index()}: " if joined() else ""
    print(f"error: {name}{' '.join(message.split())}", file=sys.stderr, flush=True)
    os._exit(status)


def _watch() -> None:
    """Stop this process when another no longer answers: the collective that waits for it never would."""
    from orbax.checkpoint import multihost

    wait = multihost.get_barrier_sync_fn()
    for beat in count():
        try:
            wait(key=f"alive {beat}", timeout_ms=_SILENCE * 1000)
        except Exception as error:
            silent = re.search(r"task names:\s*([\d\s,]+)", str(error))
            who = f"process {', '.join(silent[1].split())}" if silent else "another process"
            if not _left.is_set():
                again = "the same command on all hosts goes on from the newest checkpoint"
                quit_all(f"{who} has been silent for {_SILENCE} s, it or its host died; {again}", 1)
            return
        if _left.wait(_BEAT):
            return
