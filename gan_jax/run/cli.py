"""What every script shares: `--config` flags whose mistakes end in one line, and errors that end without a traceback."""

import errno
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from gan_jax.errors import CollapseError, InputError, RunError, StoppedError, nearest
from gan_jax.run import distributed
from gan_jax.run.config import flatten
from gan_jax.run.runtime import exit_at_once, keep_compiled_programs, keep_freed_memory

_COMPILATION_CACHE = flags.DEFINE_boolean("compilation_cache", True, "Keep compiled programs in the user's cache folder.")


def define_config(default: str | None = None) -> flags.FlagHolder[ConfigDict]:
    """The flag `--config=FILE`, whose entries `--config.key=value` override."""
    holder: flags.FlagHolder[ConfigDict] = config_flags.DEFINE_config_file(
        "config", default, "Config file; --config.key=value overrides an entry.", lock_config=True
    )
    return holder


def run(main: Callable[[], None]) -> None:
    """Parse the flags and call `main`. Bad input prints one line and exits with 2, a run that cannot go on with 1."""

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            fail(f"{argv[1]}: not a flag; flags begin with --, see --help", 2)
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.FATAL)  # what libraries say in passing is not for the user; what they raise is
        if _COMPILATION_CACHE.value:
            keep_compiled_programs()
        keep_freed_memory()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, exit_at_once)
        try:
            try:
                main()
            except (CollapseError, StoppedError) as stop:  # on which all processes agree
                distributed.leave()
                print(f"{'' if isinstance(stop, StoppedError) else 'error: '}{stop}", file=sys.stderr)
                sys.exit(stop.status)
            distributed.leave()
        except (InputError, RunError) as error:
            fail(str(error), error.status)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
            kept = "; the same command goes on from the newest checkpoint, if one was saved" if full else ""
            fail(f"{error.filename or 'input or output'}: {error.strerror or error}{kept}", 1 if full else 2)
        except Exception as error:
            if not distributed.joined():
                raise
            if isinstance(error, jax.errors.JaxRuntimeError):  # which is how a collective says that a process is gone
                fail(f"{error}; if another process is gone, its own output says why, and the same command on all goes on", 1)
            traceback.print_exc()
            fail(f"{type(error).__name__}: {error}", 1)

    app.run(guarded, flags_parser=_parse)


def fail(message: str, status: int) -> None:
    """One line on standard error, and exit."""
    if distributed.joined():
        distributed.quit_all(message, status)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def _parse(argv: list[str]) -> list[str]:
    """absl's flags, with one line for what it would answer with a traceback or a page of help."""
    try:
        if "config" in flags.FLAGS:
            check_overrides(argv, getattr(flags.FLAGS["config"], "default_unparsed", None))  # a default has been parsed
        rest: list[str] = flags.FLAGS(argv)
        return rest
    except flags.UnrecognizedFlagError as error:
        fail(f"--{error.flagname}: no such flag{nearest(error.flagname, list(flags.FLAGS))}", 2)
    except (InputError, flags.Error) as error:
        fail(str(error), 2)
    raise AssertionError("unreachable")


def _arguments(argv: Sequence[str]) -> list[tuple[str, str | None]]:
    """`--key=entry` and `--key entry` alike, as (key, entry); None where nothing follows."""
    pairs = []
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if argument.startswith("-"):
            key, equals, entry = argument.lstrip("-").partition("=")
            bare = None if following is None or following.startswith("--") else following
            pairs.append((key, entry if equals else bare))
    return pairs


def check_overrides(argv: Sequence[str], default: str | None = None) -> None:
    """Raise `InputError` at the first `--config…` argument that the config file, or its default, cannot take."""
    arguments = _arguments(argv)
    keys = [key for key, _ in arguments]
    if {"help", "helpfull", "helpshort"}.intersection(keys):
        return
    paths = [entry for key, entry in arguments if key == "config"]
    path = paths[-1] if paths else default
    if not path:
        raise InputError("--config: give a config file, such as --config=experiments/configs/mnist.py")
    config = flatten(load_config(path).to_dict())
    for flag, entry in arguments:
        negated, _, key = flag.partition("config.")
        if not key or negated not in ("", "no"):
            continue
        if key not in config:
            sections = [name for name in config if name.startswith(f"{key}.")]
            known = f"; its entries are {', '.join(sections)}" if sections else nearest(key, config)
            raise InputError(f"--{flag}: no such entry{known}")
        _check_type(key, entry, config[key])


def _check_type(key: str, entry: str | None, default: object) -> None:
    """Raise `InputError` where an override cannot be read as the type of the entry's default."""
    readers: dict[type, tuple[Callable[[str], object], str]] = {
        bool: (_read_bool, "true or false"),
        int: (int, "a whole number"),
        float: (float, "a number"),
        tuple: (lambda text: [int(part) for part in text.strip("()[]").split(",") if part], "whole numbers such as 128,128"),
        str: (str, "a name"),
    }
    read, kind = readers[type(default)]
    if entry is None and isinstance(default, bool):
        return
    try:
        good = bool(entry) and read(entry or "") is not None
    except ValueError:
        good = False
    if not good:
        raise InputError(f"--config.{key}={entry or ''}: give {kind} (the file has {default})")


def _read_bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "t", "f", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "t", "1")


def load_config(path: str) -> ConfigDict:
    """`get_config()` of a config file; for FILE:ARGUMENT, `get_config(ARGUMENT)`."""
    name, colon, argument = path.partition(":")
    file = Path(name)
    if not file.is_file():
        folder = file if file.is_dir() else file.parent
        known = sorted(str(other) for other in folder.glob("*.py")) or ["experiments/configs/mnist.py"]
        raise InputError(f"--config={path}: no such file; there is {', '.join(known)}")
    try:
        config = runpy.run_path(str(file))["get_config"](*[argument] if colon else [])
    except Exception as error:  # whatever a config file does wrong, it is the file that is named
        raise InputError(f"--config={path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={path}: its get_config() gives no ConfigDict")
    return config
