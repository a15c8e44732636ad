"""What Orbax does not do by itself: refuse paths that it misreads, clean up after a kill, and fail in one line."""

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from gan_jax.errors import InputError

_PARTIAL_SAVE = re.compile(r"(0|[1-9]\d*)(\.orbax-checkpoint-tmp.*)?")
_PARTS = {"state", "record", "metrics", "_CHECKPOINT_METADATA"}  # of a save that is not committed; anything else is the user's


def check_path(path: Path) -> None:
    """Raise `InputError` where Orbax would take the path for a pattern of others, or TensorStore for an URL."""
    bad = [letter for letter in "[]*?\\" if letter in str(path.absolute()) and letter not in (os.sep, os.altsep)]
    if bad:
        raise InputError(f"{path}: a folder of checkpoints must have no {bad[0]} in its path; rename it, or give a link to it")


def remove_partial_saves(directory: Path) -> None:
    """Remove what a process that was killed in a save has left, and nothing else: not the user's copies and links."""
    for entry in directory.iterdir():
        is_folder = _PARTIAL_SAVE.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink()
        if is_folder and {path.name.partition(".orbax")[0] for path in entry.iterdir()} <= _PARTS:
            shutil.rmtree(entry)


@cache
def silence_late_transfers() -> None:
    """When a save or a restore fails, its other transfers end after its event loop: each would print a traceback."""
    report = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = report_others


def reason_of(error: BaseException) -> str:
    """What a library raised, in a few words: the operating system's own message where it is quoted, else the first line."""
    system = re.search(r"([^:]+) \[os_error_code", str(error))
    lines = [system[1]] if system else str(error).splitlines()
    return f"{type(error).__name__}: {lines[0].strip()[:200]}" if lines else type(error).__name__
