"""Read batches ahead of their steps, in worker processes, through grain."""

import atexit
import re
import signal
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gan_jax.errors import WorkerError
from gan_jax.interrupts import follow_parent

Fetched = dict[str, np.ndarray]

_AHEAD = 2  # steps that each worker holds ready


class Stream:
    """Results of `gather(order, step)` for consecutive steps, computed ahead in `workers` processes, or in a thread for 0.

    Any other step or order may be read too: reading ahead starts there again.
    """

    def __init__(self, gather: Callable[[Any, int], Fetched], workers: int):
        self._gather, self._workers = gather, workers
        self._next: tuple[Any, int] | None = None
        self._iterators: list[Any] = []  # one or none, in a list so that it can be closed when this object is gone
        self._at_exit = partial(_close, self._iterators)
        weakref.finalize(self, _finish, self._at_exit)  # `gather` must not lead back to this object

    def read(self, order: Any, step: int) -> Fetched:
        """Return what was gathered for a step.

        Raises:
            WorkerError: why a worker failed.
        """
        if self._next != (order, step):
            self.close()
            self._iterators.append(_read_ahead(partial(self._gather, order), step, self._workers))
            atexit.register(self._at_exit)  # registered after multiprocessing's own, so called before it
        self._next = None
        try:
            fetched = next(self._iterators[0])
        except Exception as error:  # the worker's own, or grain's where it died
            self.close()
            raise WorkerError(f"step {step}: the data stopped: {_reason(error)}") from error
        self._next = (order, step + 1)
        return {name: np.array(leaf) for name, leaf in fetched.items()}  # copied: grain's arrays are in shared memory

    def close(self) -> None:
        """Stop the workers; the next read starts new ones."""
        self._next = None
        _finish(self._at_exit)


def _finish(at_exit: Callable[[], None]) -> None:
    atexit.unregister(at_exit)
    at_exit()


def _close(iterators: list[Any]) -> None:
    while iterators:
        iterators.pop().close()


def _read_ahead(gather: Callable[[int], Fetched], start: int, workers: int) -> Iterator[Fetched]:
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # grain reads its flags, and only scripts parse any
        flags.FLAGS.mark_as_parsed()
    steps = grain.MapDataset.range(start, 2**40).map(gather)
    fetched = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=_AHEAD))
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=_AHEAD)
        fetched = fetched.mp_prefetch(options, worker_init_fn=follow_parent)
    return iter(fetched)


def _reason(error: Exception) -> str:
    """Say in one line what ended a worker: its own exception, or the exit code that grain reports."""
    died = re.search(r"exit code (-?\d+)", str(error))
    if not died:
        return f"{type(error).__name__}: {error}"
    code = int(died[1])
    if code >= 0:
        return f"a worker process exited with status {code}"
    hints = {
        signal.SIGKILL: ", as the system does when memory runs out",
        signal.SIGBUS: ": a file was truncated, or /dev/shm is full",
    }
    return f"a worker process was ended by {signal.Signals(-code).name}{hints.get(signal.Signals(-code), '')}"
