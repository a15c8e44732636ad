"""What a run says while it goes: metrics as JSON lines and TensorBoard events, and progress on the console."""

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TextIO

import jax
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2
from tqdm import tqdm

from gan_jax.files import JsonlWriter, name_in_errors
from gan_jax.steps import Metrics

_SECONDS_BETWEEN_LINES = 5.0


class MetricBuffer:
    """Metrics on their way from the device, read a few calls late and many at once, so that reading never stalls it.

    It also holds the host back: at most `lag` calls are ahead of what the device has done.
    """

    def __init__(self, *, chunk: int, lag: int = 2):
        self._pending: deque[tuple[range, Metrics]] = deque()
        self._chunk, self._lag = chunk, lag

    def push(self, steps: range, metrics: Metrics) -> list[tuple[int, dict[str, float]]]:
        """Take the metrics `[len(steps)]` of one call; give back, oldest step first, those that have been read by now."""
        self._pending.append((steps, metrics))
        if len(self._pending) > self._lag:
            jax.block_until_ready(self._pending[-1 - self._lag][1])
        return self._read(self._chunk) if len(self._pending) >= self._chunk + self._lag else []

    def drain(self) -> list[tuple[int, dict[str, float]]]:
        """Wait for the device and give back everything that is left."""
        return self._read(len(self._pending))

    def _read(self, count: int) -> list[tuple[int, dict[str, float]]]:
        taken = [self._pending.popleft() for _ in range(count)]
        values = jax.device_get([metrics for _, metrics in taken])
        return [
            (step, {name: float(numbers[index]) for name, numbers in metrics.items()})
            for (steps, _), metrics in zip(taken, values, strict=True)
            for index, step in enumerate(steps)
        ]


class MetricLogger:
    """Numbers, to `metrics.jsonl`, `eval.jsonl` and TensorBoard in the workdir; see `JsonlWriter` for `start`."""

    def __init__(self, workdir: Path, *, start: int):
        self.metrics = JsonlWriter(workdir / "metrics.jsonl", start=start)
        self.evaluations = JsonlWriter(workdir / "eval.jsonl", start=start)
        self._folder = workdir / "tensorboard"
        self._folder.mkdir(exist_ok=True)
        # Not tensorboardX's SummaryWriter: its thread would meet a full disk with a traceback, and the run would go on without.
        self._events = EventsWriter(str(self._folder / "events"), f".{os.getpid()}.{start}")
        self._flushed = time.monotonic()
        purge = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # hides what came after `start`
        self._events.write_event(event_pb2.Event(wall_time=time.time(), step=start + 1, session_log=purge))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """What the step itself has measured."""
        self._write(self.metrics, step, numbers)

    def write_evaluation(self, step: int, numbers: Mapping[str, float]) -> None:
        """What samples drawn after the step have shown."""
        self._write(self.evaluations, step, numbers)

    def _write(self, rows: JsonlWriter, step: int, numbers: Mapping[str, float]) -> None:
        rows.write({"step": step, **numbers})
        with name_in_errors(self._folder):
            for name, number in numbers.items():
                values = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, simple_value=number)])
                self._events.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=values))
            if time.monotonic() - self._flushed > _SECONDS_BETWEEN_LINES:
                self._events.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Close them all."""
        with closing(self.metrics), closing(self.evaluations), name_in_errors(self._folder):
            self._events.close()


class Progress:
    """Steps/s, images/s, time left and V: a bar on a terminal, a plain line every few seconds elsewhere."""

    def __init__(self, *, total: int, images_per_step: int, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._total, self._images_per_step = total, images_per_step
        self._bar: tqdm | None = None
        self.begin(0)

    def begin(self, step: int) -> None:
        """Start the clock, and the bar: what came before, compilation above all, is in no rate."""
        self._first = self._done = step
        self._began = self._last_line = time.perf_counter()
        if self._stream.isatty() and step:
            self._bar = tqdm(initial=step, total=self._total, unit="step", file=self._stream, dynamic_ncols=True)

    def update(self, step: int) -> None:
        """The device has finished this step."""
        if self._bar is not None:
            self._bar.update(step - self._done)
        self._done = step

    def rate(self) -> float:
        """Steps/s since `begin`."""
        return (self._done - self._first) / max(time.perf_counter() - self._began, 1e-9)

    def report(self, step: int, value: float) -> None:
        """Show V(D, G) and the rates."""
        images = self.rate() * self._images_per_step
        if self._bar is not None:
            self._bar.set_postfix_str(f"{images:.0f} images/s, V={value:.3f}", refresh=False)
            return
        now = time.perf_counter()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or step == self._total:
            self._last_line = now
            left = (self._total - self._done) / max(self.rate(), 1e-9)
            print(
                f"step {step}/{self._total}  {self.rate():.1f} steps/s  {images:.0f} images/s  "
                f"{left:.0f} s left  V={value:.3f}",
                file=self._stream,
                flush=True,
            )

    def say(self, line: str) -> None:
        """A line between those of the progress."""
        tqdm.write(line, file=self._stream)
        self._stream.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
