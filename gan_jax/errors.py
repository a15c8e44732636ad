"""Errors that end a run early; scripts print each as one line, without a traceback, and exit with its status."""

import difflib
import signal
from collections.abc import Collection, Iterable
from typing import Any


class InputError(ValueError):
    """Bad input from the user: one line that names the thing and the remedy."""

    status = 2


class RunError(RuntimeError):
    """A run that cannot continue, through no mistake of its config; the last checkpoint is kept."""

    status = 1


class NonFiniteError(RunError):
    """A loss or a leaf of the state is nan or inf."""


class CollapseError(RunError):
    """The collapse watch (`config.watch`) reports a failure, and its action is to stop."""


class WorkerError(RunError):
    """A process that loads data died or failed; the message says why."""


class SaveError(RunError):
    """A checkpoint could not be written; the message says why."""


class StoppedError(RunError):
    """A signal asked the run to stop, and it did so at the end of a step, with a checkpoint."""

    def __init__(self, number: int, message: str):
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.status = 128 + number


def nearest(name: str, allowed: Iterable[str], *, count: int = 1) -> str:
    """Return '; did you mean …?' with the nearest allowed names, or '' where none is near."""
    matches = difflib.get_close_matches(name, list(allowed), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""


def nearest_key(key: str, keys: Collection[str]) -> str:
    """Do the same for keys such as optimizer.gen.lr: first those whose last part is similar, or has it as initials (lr)."""
    last = {each: each.rpartition(".")[2] for each in keys}
    wanted = key.rpartition(".")[2]
    alike = {part for part in last.values() if "".join(word[:1] for word in part.split("_")) == wanted}
    alike |= set(difflib.get_close_matches(wanted, set(last.values()), n=3, cutoff=0.6))
    candidates = [each for each in keys if last[each] in alike]
    if not candidates:
        return nearest(key, keys)
    return f"; did you mean {max(candidates, key=lambda each: difflib.SequenceMatcher(None, key, each).ratio())}?"


def shorten(entry: Any, length: int = 100) -> str:
    """Format any value for an error message: within a line, and not too long."""
    if isinstance(entry, int) and entry.bit_length() > 64:
        return f"an integer of {entry.bit_length()} bits"  # Python refuses to print the largest
    try:
        text = str(entry)
    except Exception as error:  # whatever an object of the user does
        text = f"{type(entry).__name__} ({type(error).__name__})"
    return one_line(text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)")


def one_line(text: str) -> str:
    """Return a text as one line, without control characters for a terminal."""
    return "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
