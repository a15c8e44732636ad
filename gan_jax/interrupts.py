"""Signals outside of the training loop, such as during imports, which take seconds: they end the script in one line.

Worker processes leave them to their parent.
"""

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

_stopped = ["before it began"]


def say_when_stopped(words: str) -> None:
    """Set what a signal's line says after "stopped": what is kept, and how to resume the script."""
    _stopped[0] = words


def exit_on_signal(signum: int, frame: object = None) -> None:
    """Handle a signal outside of the training loop, where there is nothing to save."""
    del frame
    line = f"{signal.Signals(signum).name}: stopped {_stopped[0]}".rstrip() + "\n"
    with suppress(OSError):  # where nobody reads it
        os.write(2, line.encode())
    os._exit(128 + signum)


def _is_own_script() -> bool:
    """Whether this process runs `python -m gan_jax.…` or a script of the checkout, not a program that imports the package."""
    package = Path(__file__).parent
    script = getattr(sys.modules["__main__"], "__file__", None)
    as_module = sys.argv[:1] == ["-m"] and any(word.startswith(package.name) for word in sys.orig_argv)
    return as_module or (script is not None and (package.parent / "experiments") in Path(script).resolve().parents)


if _is_own_script() and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, exit_on_signal)


def follow_parent(*_: object) -> None:
    """Begin a worker process: it leaves Ctrl-C to its parent, and exits when that ends, in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
