"""What the scripts share: the flag `--config`, and errors that end in one line and an exit status."""

import errno
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from logging import WARNING, getLogger
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from gan_jax.errors import CollapseError, InputError, RunError, StoppedError, nearest, nearest_key, one_line, shorten
from gan_jax.interrupts import say_when_stopped
from gan_jax.run import distributed, saved
from gan_jax.run.checks import flatten
from gan_jax.run.console import mend_console
from gan_jax.run.runtime import enable_compilation_cache, exit_on_signals, keep_freed_memory

_COMPILATION_CACHE = flags.DEFINE_boolean("compilation_cache", True, "Cache compiled programs in the user's cache folder.")


_default_configs: list[str] = []  # put into argv: the library would parse a default of its own before `prepare` has checked it
_resumes: list[bool] = [False]  # whether the config of the run in --workdir comes before that
_given: list[bool] = [False]  # whether the command line has a config, or an entry of one


def define_config(default: str | None = None, *, resumes: bool = False) -> flags.FlagHolder[ConfigDict]:
    """Define the flag `--config=FILE`, a config file or a config as JSON, whose entries `--config.key=value` overrides.

    default: the file without the flag. resumes: where there is a run in `--workdir`, its config.json is that file.
    """
    _default_configs[:] = [default] if default else []
    _resumes[0] = resumes
    try:
        holder: flags.FlagHolder[ConfigDict] = config_flags.DEFINE_config_file(
            "config", None, "Config file; --config.key=value overrides an entry.", lock_config=True
        )
    except flags.Error as error:  # the library opens a --flagfile here
        fail(f"command line: {error}", 2)
    return holder


def config_is_given() -> bool:
    """Return whether the command line names a config, or overrides an entry of it."""
    return _given[0]


RESUMES = "before the end; rerun the same command to resume from the newest checkpoint, if any"
KEEPS_ROWS = "before the end; its rows are kept: rerun the same command for the rest"


def run(main: Callable[..., None], *, positional: bool = False, stopped: str = "") -> None:
    """Parse the flags and call `main`. Bad input prints one line and exits with status 2, a run that fails with 1.

    positional: `main` takes the arguments that are not flags, as a list; without it there must be none. stopped: what follows
    "stopped" in the line of a signal, such as `RESUMES`.
    """

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1 and not positional:
            fail(f"{argv[1]}: not a flag; flags begin with --, see --help", 2)
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.FATAL)  # what libraries log is not for the user; what they raise is
            getLogger("jax._src.xla_bridge").setLevel(WARNING)  # but this: a GPU is there, and JAX cannot use it
        keep_freed_memory()
        say_when_stopped(stopped)
        exit_on_signals()
        try:
            if _COMPILATION_CACHE.value:
                enable_compilation_cache()
            _run(partial(main, list(argv[1:])) if positional else main)
        except (InputError, RunError) as error:
            fail(str(error), error.status)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
            remedy = "; rerun the same command to resume from the newest checkpoint, if any" if full else ""
            fail(f"{error.filename or 'input or output'}: {error.strerror or error}{remedy}", 1 if full else 2)
        except Exception as error:
            if "RESOURCE_EXHAUSTED" in str(error):  # XLA's, with a page of all that is allocated
                remedy = "a smaller batch, network.dtype=bfloat16 or more devices need less; others may use this device too"
                fail(f"out of memory: {shorten(error, 200)}; {remedy}", 1)
            if not distributed.is_connected():
                raise
            if distributed.is_lost_connection(error):
                fail(f"{error}; if another process exited, its output says why; rerun the same command on all to resume", 1)
            traceback.print_exc()
            fail(f"{type(error).__name__}: {error}", 1)

    mend_console()
    app.run(guarded, flags_parser=_parse)


def _run(main: Callable[[], None]) -> None:
    """Call `main`, and disconnect where all processes have ended it in the same way."""
    try:
        main()
    except (CollapseError, StoppedError) as stop:
        distributed.shutdown()
        print(f"{'' if isinstance(stop, StoppedError) else 'error: '}{stop}", file=sys.stderr)
        sys.exit(stop.status)
    distributed.shutdown()


def fail(message: str, status: int) -> NoReturn:
    """Print one line on standard error and exit."""
    if distributed.is_connected():
        distributed.exit_process(message, status)
    print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(status)


def _parse(argv: list[str]) -> list[str]:
    """Parse absl's flags, with one line for what would be a traceback or a page of help."""
    names = _flag_names(argv)
    try:
        if "config" in flags.FLAGS and not {"help", "helpfull", "helpshort"}.intersection(names):
            _given[0] = any(name == "config" or "config." in name for name in names)
            if "config" not in names:
                argv[1:1] = [f"--config={path}" for path in _saved_configs(argv) or _default_configs]
            argv[:] = prepare(argv)
        rest: list[str] = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        fail(f"--{error.flagname}: no such flag{nearest(error.flagname, list(flags.FLAGS))}", 2)
    except (InputError, flags.Error) as error:
        fail(str(error), 2)
    except Exception as error:  # what the library raises from within; nothing but the command line is read here
        fail(f"command line: {type(error).__name__}: {shorten(error)}", 2)
    return rest


def _flag_names(argv: Sequence[str]) -> list[str]:
    return [argument.lstrip("-").partition("=")[0] if argument.startswith("-") else "" for argument in argv]


def _saved_configs(argv: Sequence[str]) -> list[str]:
    """Return the config.json of the run in `--workdir`, where that alone resumes it."""
    names = _flag_names(argv)
    if not _resumes[0] or "workdir" not in names:
        return []
    path = Path(_last_value(argv, "workdir")) / "config.json"
    return [str(path)] if path.is_file() else []


def _last_value(argv: Sequence[str], name: str) -> str:
    """Return what the last `--name=value`, or `--name value`, gives."""
    names = _flag_names(argv)
    position = len(names) - 1 - names[::-1].index(name)
    return argv[position].partition("=")[2] or "".join(argv[position + 1 : position + 2])


def prepare(argv: Sequence[str]) -> list[str]:
    """Check the overrides, and return the arguments as the library reads them: JSON by a config file, 1e4 for an integer."""
    config, prepared = check_overrides(argv), list(argv)
    for position, (argument, name) in enumerate(zip(argv, _flag_names(argv), strict=True)):
        has_value = "=" in argument
        place = position if has_value else position + 1
        if place == len(argv):
            break
        text = argument.partition("=")[2] if has_value else argv[place]
        if name == "config" and text.endswith(".json") and not text.startswith(f"{saved.__file__}:"):
            text = f"{saved.__file__}:{text}"
        elif name.startswith("config.") and type(config[name.removeprefix("config.")]) is int:
            text = _as_integer(text)
        else:
            continue
        prepared[place] = f"--{name}={text}" if has_value else text
    return prepared


def _as_integer(text: str) -> str:
    """Write a whole number such as 1e4 in digits; any other text stays as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and not text.lstrip("+-").isdecimal() and abs(number) < 2**53 else text


def check_overrides(argv: Sequence[str]) -> dict[str, Any]:
    """Return the flat config that `--config` names; raise `InputError` where it names none, or a `--config.key` no entry.

    The library raises an error from within for a wrong key; a value of a wrong type it refuses in one line.
    """
    names = _flag_names(argv)
    if "config" not in names:
        raise InputError("--config: give a config file, such as --config=experiments/configs/mnist.py")
    config = flatten(load_config(_last_value(argv, "config")).to_dict())
    for name in names:
        negated, dot, key = name.partition("config.")
        if dot and negated in ("", "no") and key not in config:
            entries = [entry for entry in config if entry.startswith(f"{key}.")]
            known = f"; its entries are {', '.join(entries)}" if entries else nearest_key(key, config)
            raise InputError(f"--{shorten(name)}: no such entry{known}")
    return config


def load_config(path: str) -> ConfigDict:
    """Return `get_config()` of a config file, or `get_config(ARGUMENT)` for FILE:ARGUMENT, or the config in FILE.json."""
    name, colon, argument = path.partition(":")
    file = Path(name)
    try:
        exists = file.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InputError(f"--config={shorten(path)}: {getattr(error, 'strerror', None) or error}") from error
    if not exists:
        folder = file if file.is_dir() else file.parent
        known = sorted(str(other) for other in folder.glob("*.py")) or ["experiments/configs/mnist.py"]
        raise InputError(f"--config={shorten(path)}: no such file; there is {', '.join(known)}")
    if not colon and file.suffix == ".json":
        try:
            return saved.get_config(path)
        except InputError as error:
            raise InputError(f"--config={shorten(path)}: {error}") from error
    try:
        config = runpy.run_path(str(file))["get_config"](*[argument] if colon else [])
    except Exception as error:  # whatever a config file raises, the line names the file
        raise InputError(f"--config={path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={path}: get_config() must return a ConfigDict")
    return config
