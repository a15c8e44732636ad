"""TensorBoard's events of a run, in its workdir: scalars, pictures, the config as text and as hyperparameters."""

import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from gan_jax.files import name_in_errors

_SECONDS_BETWEEN_FLUSHES = 5.0


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
    from tensorboardX import summary
    from tensorboardX.proto import event_pb2, summary_pb2
    from tensorboardX.record_writer import RecordWriter


class TensorBoard:
    """Write the events of one process that trains to a file of its own; TensorBoard reads those of a workdir as one run.

    start: what was written of later steps is hidden.
    """

    def __init__(self, workdir: Path, *, start: int):
        # Not tensorboardX's SummaryWriter: on a full disk its thread prints a traceback, and the run continues without it.
        self._path = workdir / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{start}"
        self._records = RecordWriter(str(self._path))
        self._flushed, self._step = time.monotonic(), start
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        purge = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(step=start + 1, session_log=purge))

    def add_config(self, config: Mapping[str, Any], hparams: Mapping[str, Any]) -> None:
        """Add the config as text, and its entries as hyperparameters; their metrics are the scalars, by their last values."""
        text = "\n".join(f"    {line}" for line in json.dumps(config, indent=2).splitlines())  # Markdown's code block
        self._add(0, summary.text("config", text))
        entries = {
            name: entry if isinstance(entry, bool | int | float) else str(entry).encode(errors="backslashreplace").decode()
            for name, entry in hparams.items()  # a path may have bytes that are not UTF-8
        }
        _, begin, self._end = summary.hparams(entries, {})
        self._add(0, begin)

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add numbers of a step."""
        values = [summary_pb2.Summary.Value(tag=name, simple_value=number) for name, number in scalars.items()]
        self._add(step, summary_pb2.Summary(value=values))

    def add_picture(self, step: int, name: str, path: Path) -> None:
        """Add the picture in a file."""
        encoded = path.read_bytes()
        with Image.open(io.BytesIO(encoded)) as picture:
            width, height, channels = *picture.size, len(picture.getbands())
        image = summary_pb2.Summary.Image(width=width, height=height, colorspace=channels, encoded_image_string=encoded)
        self._add(step, summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, image=image)]))

    def close(self, *, complete: bool) -> None:
        """Close the file. complete: the run has reached its last step, and its hyperparameters are marked as done."""
        with name_in_errors(self._path), closing(self._records):
            if complete:
                self._add(self._step, self._end)

    def _add(self, step: int, added: summary_pb2.Summary) -> None:
        self._step = max(step, self._step)
        self._write(event_pb2.Event(step=step, summary=added))

    def _write(self, event: event_pb2.Event) -> None:
        event.wall_time = time.time()
        with name_in_errors(self._path):
            self._records.write(event.SerializeToString())
            if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
                self._records.flush()
                self._flushed = time.monotonic()
