"""Standard output and error of a script: whatever becomes of those who read them, the run continues with its files."""

import os
import sys
from typing import Any, TextIO


class _Stream:
    """A stream whose letters can all be written, and which is silent from when it cannot be written to."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        getattr(stream, "reconfigure", lambda **options: None)(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _silence(self) -> None:
        """Send what is still in the buffer, and all that comes, to nowhere: a broken pipe, a full disk, a lost terminal."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


def mend_console() -> None:
    """Make standard output and error safe to print to: closed, in ASCII, or a pipe that nobody reads any more."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed: the next file that is opened would get its number, and all that libraries print
            try:
                os.fstat(descriptor)
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            stream = open(os.devnull, "w")  # noqa: PTH123, SIM115
        setattr(sys, name, _Stream(stream))
