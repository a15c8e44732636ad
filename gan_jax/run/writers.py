"""Where the metrics of a run go: JSON lines, trackers such as TensorBoard's events, the console."""

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TextIO

import jax

from gan_jax.files import JsonlWriter
from gan_jax.steps import Metrics

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


class Tracker(Protocol):
    """Where numbers and pictures go beside the files of a run."""

    def add_config(self, config: Mapping[str, Any], hparams: Mapping[str, Any]) -> None:
        """Add the config, whole and as the flat entries that the run uses."""

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add numbers of a step."""

    def add_picture(self, step: int, name: str, path: Path) -> None:
        """Add the picture in a file."""

    def close(self, *, complete: bool) -> None:
        """Close it. complete: the run has reached its last step."""


class MetricWriter:
    """Write metrics to metrics.jsonl, evaluations to eval.jsonl, and both to trackers; see `JsonlWriter` for `start`."""

    def __init__(self, workdir: Path, *, start: int, trackers: Sequence[Tracker] = ()):
        self.metrics = JsonlWriter(workdir / "metrics.jsonl", start=start)
        self.evaluations = JsonlWriter(workdir / "eval.jsonl", start=start)
        self._unfinished_path, self._start = workdir / "unfinished.jsonl", start
        self._unfinished = JsonlWriter(self._unfinished_path, start=start) if self._unfinished_path.exists() else None
        self._trackers = trackers

    def write(self, file: JsonlWriter, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row to one of the two files, and to the trackers."""
        file.write({"step": step, **metrics})
        for tracker in self._trackers:
            tracker.add_scalars(step, metrics)

    def add_picture(self, step: int, name: str, path: Path) -> None:
        """Add the picture in a file to the trackers."""
        for tracker in self._trackers:
            tracker.add_picture(step, name, path)

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

    def close(self, *, complete: bool = False) -> None:
        """Close all files. complete: the run has reached its last step."""
        with ExitStack() as closing_all:
            for file in filter(None, (self.metrics, self.evaluations, self._unfinished)):
                closing_all.callback(file.close)
            for tracker in self._trackers:
                closing_all.callback(tracker.close, complete=complete)


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
