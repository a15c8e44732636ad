"""Batches read ahead of their steps, in processes of their own, through grain."""

import atexit
import multiprocessing
import os
import re
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gan_jax.errors import WorkerError

Fetched = dict[str, np.ndarray]

_AHEAD = 2  # steps that each worker holds ready


class Stream:
    """`gather(order, step)` for steps that follow one another, computed ahead in `workers` processes, or in a thread for 0.

    It holds no state of its own: any other step, or order, starts reading there.
    """

    def __init__(self, gather: Callable[[Any, int], Fetched], workers: int):
        self._gather, self._workers = gather, workers
        self._next: tuple[Any, int] | None = None
        self._iterators: list[Any] = []  # one or none, in a list so that it can be closed when this object is gone
        weakref.finalize(self, _close, self._iterators)

    def read(self, order: Any, step: int) -> Fetched:
        """Return what was gathered for a step, or raise `WorkerError` with the reason why there is none."""
        if self._next != (order, step):
            self.close()
            self._iterators.append(_read_ahead(partial(self._gather, order), step, self._workers))
            atexit.register(_close, self._iterators)  # registered after multiprocessing's own, so called before it
        self._next = None
        try:
            fetched = next(self._iterators[0])
        except Exception as error:  # what the worker raised, or grain's word for its death
            self.close()
            raise WorkerError(f"step {step}: the data stopped: {_reason(error)}") from error
        self._next = (order, step + 1)
        return {name: np.array(leaf) for name, leaf in fetched.items()}  # copied: grain's own live in shared memory

    def close(self) -> None:
        """End the workers; the next read starts new ones."""
        self._next = None
        _close(self._iterators)


def _close(iterators: list[Any]) -> None:
    while iterators:
        iterators.pop().close()


def _read_ahead(gather: Callable[[int], Fetched], start: int, workers: int) -> Iterator[Fetched]:
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # grain reads its own, and outside of scripts nobody has parsed any
        flags.FLAGS.mark_as_parsed()
    steps = grain.MapDataset.range(start, 2**40).map(gather)
    fetched = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=_AHEAD))
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=_AHEAD)
        fetched = fetched.mp_prefetch(options, worker_init_fn=_begin_worker)
    return iter(fetched)


def _begin_worker(index: int, count: int) -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends: grain's workers would wait for it forever."""
    del index, count
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _reason(error: Exception) -> str:
    """What ended a worker, in a line: its own exception, or the exit code that grain found."""
    died = re.search(r"exit code (-?\d+)", str(error))
    if not died:
        return f"{type(error).__name__}: {error}"
    code = int(died[1])
    if code >= 0:
        return f"a worker process ended with status {code}"
    hints = {
        signal.SIGKILL: ", as the system does when memory runs out",
        signal.SIGBUS: ": a file was cut, or /dev/shm is full",
    }
    return f"a worker process was ended by {signal.Signals(-code).name}{hints.get(signal.Signals(-code), '')}"
