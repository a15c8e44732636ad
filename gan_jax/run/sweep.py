"""Sweeps: the product of the values of some entries of a config, one run each."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run import cli
from gan_jax.run.config import check_config, resolve
from gan_jax.run.entries import changes

_OVERRIDE = re.compile(r"--?(config\.[^=]+)(?:=(.*))?", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"


class Run(NamedTuple):
    """A run of a sweep: its name, which is its folder's too, and the overrides `--config.key=value` of its config."""

    name: str
    overrides: tuple[str, ...]


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide a command line into the arguments that override entries of the config, and the others."""
    overrides = [argument for argument in argv if _OVERRIDE.fullmatch(argument)]
    return overrides, [argument for argument in argv if argument not in overrides]


def split_values(text: str) -> list[str]:
    """Split at the commas that are outside of brackets: '(64, 64),(128,)' has two values."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return values


def expand(overrides: Sequence[str]) -> list[Run]:
    """Make the runs of a sweep: all combinations of the values of each entry, the last entry's values in the innermost loop.

    A run is named by the entries that have several values: by the last part of their keys, or the whole where two are alike.

    Raises:
        InputError: an override without '=', an empty or repeated value, an entry that is given twice.
    """
    swept: dict[str, list[str]] = {}
    for argument in overrides:
        key, text = _OVERRIDE.fullmatch(argument).groups()  # type: ignore[union-attr]  # split_arguments has matched it
        values = split_values(text or "")
        if key in swept:
            raise InputError(f"--{key}: must be given once, with all its values: --{key}=A,B")
        if "" in values or len(set(values)) < len(values):
            raise InputError(f"{argument}: must be --{key}=VALUE, or several values with commas between them, none twice")
        swept[key] = values
    several = [key for key, values in swept.items() if len(values) > 1]
    last = [key.rpartition(".")[2] for key in several]
    titles = [part if last.count(part) == 1 else key.removeprefix("config.") for key, part in zip(several, last, strict=True)]
    runs = []
    for combination in itertools.product(*swept.values()):
        chosen = dict(zip(swept, combination, strict=True))
        name = ",".join(f"{title}={chosen[key]}" for key, title in zip(several, titles, strict=True)) or "run"
        runs.append(Run(re.sub(r"[^\w.,=+-]+", "_", name), tuple(f"--{key}={value}" for key, value in chosen.items())))
    if len({run.name for run in runs}) < len(runs):
        raise InputError("two runs would have the same folder: their values must differ in more than special characters")
    return runs


def make_config(path: str, run: Run) -> ConfigDict:
    """Make the config of a run from a config file, by the same parser as `train.py`, and check it.

    Raises:
        InputError: no such file or entry, a value of a wrong type, or a config that cannot be trained.
    """
    values, arguments = flags.FlagValues(), ["sweep", f"--config={path}", *run.overrides]
    arguments = cli.prepare(arguments)
    try:
        holder = config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=arguments)
        values(arguments)
        config: ConfigDict = holder.value
        check_config(config)
    except (flags.Error, InputError) as error:
        raise InputError(f"{run.name}: {error}") from error
    return config


def is_complete(workdir: Path, config: ConfigDict) -> bool:
    """Tell whether the run in a workdir has this config and has reached its last step."""
    calls = read_jsonl(workdir / "runs.jsonl")
    if not calls or calls[-1]["ended"] != "complete" or calls[-1]["to_step"] < config.num_steps:
        return False
    return not changes(calls[-1]["config"], resolve(config))
