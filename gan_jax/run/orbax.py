"""What Orbax does not do by itself: refuse paths that it misreads, clean up after a kill, and fail in one line."""

import errno
import json
import logging
import os
import re
import shutil
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

from gan_jax.errors import InputError
from gan_jax.files import write_atomic

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_PARTIAL_SAVE = re.compile(r"(0|[1-9]\d*)(\.orbax-checkpoint-tmp.*)?")
_PARTS = {"state", "record", "metrics", "_CHECKPOINT_METADATA"}  # of a save that is not committed; anything else is the user's


def check_path(path: Path) -> None:
    """Raise `InputError` where Orbax would take the path for a pattern of others, TensorStore for a URL, or it is not UTF-8."""
    text = str(path.absolute())
    bad = [letter for letter in "[]*?\\" if letter in text and letter not in (os.sep, os.altsep)]
    bad += ["byte that is not UTF-8"] if any("\ud800" <= letter <= "\udfff" for letter in text) else []
    if bad:
        raise InputError(f"{path}: a folder of checkpoints must have no {bad[0]} in its path; rename it, or give a link to it")


def remove_partial_saves(directory: Path) -> None:
    """Remove what a process that was killed in a save has left, and nothing else: not the user's copies and links."""
    for entry in directory.iterdir():
        is_folder = _PARTIAL_SAVE.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink()
        if is_folder and {path.name.partition(".orbax")[0] for path in entry.iterdir()} <= _PARTS:
            shutil.rmtree(entry)


def reload(manager: Any) -> bool:
    """Let a manager look into its folder again, and return whether the steps there have changed."""
    before = set(manager.all_steps())
    manager.reload()
    return set(manager.all_steps()) != before


def write_json_item(folder: Path, item: Any) -> None:
    """Replace an item of a committed checkpoint, as `JsonCheckpointHandler` would have written it."""
    write_atomic(folder / "metadata", lambda file: file.write_text(json.dumps(item)))


@cache
def silence_late_transfers() -> None:
    """Print nothing of transfers that fail after the one that is reported: each would be a traceback, now or at the exit."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    report_unraisable, report_in_thread = sys.unraisablehook, threading.excepthook

    def is_late(error: BaseException | None) -> bool:
        is_full = isinstance(error, OSError) and error.errno in _FULL
        return is_full or str(error) == "Event loop is closed" or "os_error_code" in str(error)

    def report_others(unraisable: Any) -> None:
        if not is_late(unraisable.exc_value):
            report_unraisable(unraisable)

    def report_other_threads(arguments: Any) -> None:
        if not is_late(arguments.exc_value):
            report_in_thread(arguments)

    sys.unraisablehook, threading.excepthook = report_others, report_other_threads


def reason_of(error: BaseException) -> str:
    """What a library raised, in a few words: the operating system's own message where there is one, else the first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(error)):  # TensorStore's, behind a page of its settings
        return os.strerror(int(code[1]))
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0].strip()[:200]}" if lines else type(error).__name__
