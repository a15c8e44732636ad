"""The ways in which a run ends early; scripts print each as one line, without a traceback."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user: one line that names the thing and the remedy. Scripts exit with status 2."""


class NonFiniteError(FloatingPointError):
    """A loss or a leaf of the state is nan or inf; the last good checkpoint is kept. Scripts exit with status 1."""


class WorkerError(RuntimeError):
    """A process that loads data died or failed, and why; the last checkpoint is kept. Scripts exit with status 1."""


def nearest(name: str, allowed: Iterable[str], *, count: int = 1) -> str:
    """'; did you mean …?' with the allowed names that are nearest, or nothing where none is near."""
    matches = difflib.get_close_matches(name, list(allowed), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
