"""The ways in which a run ends early; scripts print each as one line, without a traceback, and exit with its status."""

import difflib
import signal
from collections.abc import Iterable


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
