"""Where the metrics of a run go: JSON lines, TensorBoard events, the console."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

import jax

from gan_jax.files import JsonlWriter, name_in_errors
from gan_jax.steps import Metrics


@contextmanager
def _no_new_import_of(name: str) -> Iterator[None]:
    """Let an import of a module that is not yet imported fail inside, as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _no_new_import_of("torch"):  # tensorboardX imports it where it finds it, for annotations: two seconds at every start
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2, summary_pb2

_SECONDS_BETWEEN_LINES = 5.0


class MetricBuffer:
    """Metrics on their way from the device, read `chunk` calls at once and `lag` calls late, so that reading never stalls it.

    The host is at most `lag` calls ahead of the device.
    """

    def __init__(self, *, chunk: int, lag: int = 2):
        self._pending: deque[tuple[range, Metrics]] = deque()
        self._chunk, self._lag = chunk, lag

    def push(self, steps: range, metrics: Metrics) -> list[tuple[int, dict[str, float]]]:
        """Add the metrics `[len(steps)]` of one call; return (step, metrics) of those that were read, in order."""
        self._pending.append((steps, metrics))
        if len(self._pending) > self._lag:
            jax.block_until_ready(self._pending[-1 - self._lag][1])
        return self._read(self._chunk) if len(self._pending) >= self._chunk + self._lag else []

    def flush(self) -> list[tuple[int, dict[str, float]]]:
        """Wait for the device and return the rest."""
        return self._read(len(self._pending))

    def _read(self, count: int) -> list[tuple[int, dict[str, float]]]:
        calls = [self._pending.popleft() for _ in range(count)]
        values = jax.device_get([metrics for _, metrics in calls])
        return [
            (step, {name: float(numbers[index]) for name, numbers in metrics.items()})
            for (steps, _), metrics in zip(calls, values, strict=True)
            for index, step in enumerate(steps)
        ]


class MetricWriter:
    """Write metrics to metrics.jsonl, evaluations to eval.jsonl, and both to TensorBoard; see `JsonlWriter` for `start`."""

    def __init__(self, workdir: Path, *, start: int):
        self.metrics = JsonlWriter(workdir / "metrics.jsonl", start=start)
        self.evaluations = JsonlWriter(workdir / "eval.jsonl", start=start)
        self._unfinished_path, self._start = workdir / "unfinished.jsonl", start
        self._unfinished = JsonlWriter(self._unfinished_path, start=start) if self._unfinished_path.exists() else None
        self._folder = workdir / "tensorboard"
        self._folder.mkdir(exist_ok=True)
        # Not tensorboardX's SummaryWriter: on a full disk its thread prints a traceback, and the run continues without it.
        self._events = EventsWriter(str(self._folder / "events"), f".{os.getpid()}.{start}")
        self._flushed = time.monotonic()
        purge = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # hides what came after `start`
        self._events.write_event(event_pb2.Event(wall_time=time.time(), step=start + 1, session_log=purge))

    def write(self, file: JsonlWriter, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row to one of the two files, and to TensorBoard."""
        file.write({"step": step, **metrics})
        with name_in_errors(self._folder):
            values = [summary_pb2.Summary.Value(tag=name, simple_value=number) for name, number in metrics.items()]
            event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values))
            self._events.write_event(event)
            if time.monotonic() - self._flushed > _SECONDS_BETWEEN_LINES:
                self._events.flush()
                self._flushed = time.monotonic()

    def keep_unfinished(self, step: int, sums: Mapping[str, float]) -> None:
        """Keep the sums of an interval that ends after this step in unfinished.jsonl, which few runs have."""
        self._unfinished = self._unfinished or JsonlWriter(self._unfinished_path, start=self._start)
        if step not in [row["step"] for row in self._unfinished.rows[-1:]]:  # a checkpoint may be saved twice
            self._unfinished.rows.append({"step": step, **sums})
            self._unfinished.write(self._unfinished.rows[-1])

    def unfinished(self, step: int) -> dict[str, float]:
        """Return the sums that were kept at a step; none where an interval ends there."""
        rows = self._unfinished.rows if self._unfinished else []
        return next((row for row in rows if row["step"] == step), {})

    def close(self) -> None:
        """Close all files."""
        unfinished = closing(self._unfinished) if self._unfinished else nullcontext()
        with closing(self.metrics), closing(self.evaluations), unfinished, name_in_errors(self._folder):
            self._events.close()


class Progress:
    """Print the rates, the time left and the value of the game every few seconds; a terminal shows the newest line alone."""

    def __init__(self, *, total: int, images_per_step: int, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._total, self._images_per_step, self._in_line = total, images_per_step, False
        self.start_clock(0)

    def start_clock(self, step: int) -> None:
        """Count steps and seconds from here: no rate includes compilation."""
        self._first = self._newest = step
        self._began = self._reported = time.perf_counter()

    def update(self, step: int) -> None:
        """Set the newest step."""
        self._newest = step

    def rates(self) -> dict[str, float]:
        """Return steps/s and images/s since `start_clock`."""
        rate = (self._newest - self._first) / max(time.perf_counter() - self._began, 1e-9)
        return {"steps_per_second": rate, "images_per_second": rate * self._images_per_step}

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of a step: V where D's output is a probability, else D's objective and the gap of its logits."""
        if step < self._total and time.perf_counter() - self._reported < _SECONDS_BETWEEN_LINES:
            return
        rate, images = self.rates().values()
        gap = metrics["logits/real"] - metrics["logits/fake"]
        value = (
            f"V={metrics['value']:.3f}" if "value" in metrics else f"objective={-metrics['loss/disc']:.3f} logit_gap={gap:.3f}"
        )
        left = (self._total - self._newest) / max(rate, 1e-9)
        line = f"step {step}/{self._total}  {rate:.1f} steps/s  {images:.0f} images/s  {left:.0f} s left  {value}"
        self._reported = time.perf_counter()
        if self._stream.isatty():
            self._in_line = True
            print(f"\r\033[K{line}", end="", file=self._stream, flush=True)
        else:
            self.print(line)

    def print(self, line: str) -> None:
        """Print a line that stays."""
        self.close()
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """End the line that a terminal shows."""
        if self._in_line:
            print(file=self._stream, flush=True)
        self._in_line = False
