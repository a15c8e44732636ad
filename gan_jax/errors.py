"""The ways in which a run ends early; scripts print each as one line, without a traceback, and exit with its status."""

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
    """The GAN has failed in a way that `config.watch` names, and the config says to stop there."""


class WorkerError(RunError):
    """A process that loads data died or failed, and why."""


class SaveError(RunError):
    """A checkpoint could not be written, and why."""


class StoppedError(RunError):
    """A signal asked the run to stop, and it did so at the end of a step, with a checkpoint."""

    def __init__(self, number: int, message: str):
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.status = 128 + number


def nearest(name: str, allowed: Iterable[str], *, count: int = 1) -> str:
    """'; did you mean …?' with the allowed names that are nearest, or nothing where none is near."""
    matches = difflib.get_close_matches(name, list(allowed), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""


def nearest_key(key: str, keys: Collection[str]) -> str:
    """The same for keys such as optimizer.gen.lr: those whose last part is alike, or has it as its initials, come first."""
    last = {each: each.rpartition(".")[2] for each in keys}
    wanted = key.rpartition(".")[2]
    alike = {part for part in last.values() if "".join(word[:1] for word in part.split("_")) == wanted}
    alike |= set(difflib.get_close_matches(wanted, set(last.values()), n=3, cutoff=0.6))
    candidates = [each for each in keys if last[each] in alike]
    if not candidates:
        return nearest(key, keys)
    return f"; did you mean {max(candidates, key=lambda each: difflib.SequenceMatcher(None, key, each).ratio())}?"


def shorten(entry: Any, length: int = 100) -> str:
    """Show any value in an error message: within a line, and not too long."""
    if isinstance(entry, int) and entry.bit_length() > 64:
        return f"an integer of {entry.bit_length()} bits"  # Python refuses to print the largest
    try:
        text = str(entry)
    except Exception as error:  # whatever an object of the user does
        text = f"{type(entry).__name__} ({type(error).__name__})"
    return one_line(text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)")


def one_line(text: str) -> str:
    """Return a text as one line, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
