"""Runs beside one another: read from their workdirs, and grouped by the entries in which their configs differ."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.errors import InputError, shorten
from gan_jax.evaluation.evaluator import SELECTION_METRICS
from gan_jax.evaluation.metrics import is_of_one_class
from gan_jax.files import open_regular, read_jsonl
from gan_jax.run.entries import HISTORY, history_of, used_entries
from gan_jax.run.runtime import is_training
from gan_jax.state import Players

Row = dict[str, Any]
_MAX_CONFIG = 2**20  # bytes


class Run(NamedTuple):
    """A run as its workdir tells it.

    entries: those that its config uses, flat, without the seed. metrics, evaluations: the rows of metrics.jsonl and eval.jsonl.
    best: the step of the lowest selection metric, None where nothing was evaluated. numbers: the metrics of its evaluations at
    the best and the final step, by titles such as 'eval/js, final'. minutes: those of `training_seconds`.
    """

    name: str
    workdir: Path
    seed: int
    entries: dict[str, Any]
    metrics: list[Row]
    evaluations: list[Row]
    best: int | None
    numbers: dict[str, float]
    steps: int
    minutes: float
    ended: str


class Group(NamedTuple):
    """Runs that differ in their seeds alone. settings: the entries in which groups differ; a run without an entry has none."""

    settings: dict[str, Any]
    runs: list[Run]

    @property
    def name(self) -> str:
        """Return the settings as 'key=entry, …'."""
        return ", ".join(f"{key}={format_entry(entry)}" for key, entry in self.settings.items()) or "all runs"


def format_entry(entry: Any) -> str:
    """Format an entry of a config for people: floats to ten digits, nothing for None."""
    return "" if entry is None else f"{entry:.10g}" if isinstance(entry, float) else str(entry)


def find_workdirs(paths: Iterable[str | Path]) -> list[Path]:
    """Return the workdirs among these folders and directly in them, each once.

    Raises:
        InputError: a path that is neither the workdir of a run nor a folder of such.
    """
    workdirs: dict[Path, None] = {}
    for path in map(Path, paths):
        here = [path] if _is_run(path) else sorted(filter(_is_run, path.iterdir())) if path.is_dir() else []
        if not here:
            raise InputError(f"{path}: no run is there; it must be the workdir of a run, or a folder of workdirs")
        workdirs |= dict.fromkeys(each.resolve() for each in here)
    if not workdirs:
        raise InputError("no runs: give their workdirs, or a folder of them, such as runs/mnist runs/mnist_dcgan")
    return list(workdirs)


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def read_runs(paths: Iterable[str | Path]) -> list[Run]:
    """Read the runs that `find_workdirs` finds; their names are their paths from the folder that they share.

    Raises:
        InputError: no runs there, a run that cannot be read or has no rows yet, or runs on different data.
    """
    workdirs = find_workdirs(paths)
    shared = os.path.commonpath([workdir.parent for workdir in workdirs])
    runs = [_read_run(workdir, os.fsencode(workdir.relative_to(shared)).decode(errors="replace")) for workdir in workdirs]
    first, entry = runs[0], "data.name"
    for run in runs:
        if run.entries[entry] != first.entries[entry]:
            one, other = shorten(first.entries[entry]), shorten(run.entries[entry])
            kinds = f"{first.name} has config.{entry}={one}, {run.name} has {other}"
            raise InputError(f"{kinds}: must be the same, as metrics of different data cannot be compared")
    return runs


def _read_run(workdir: Path, name: str) -> Run:
    """Read a run, which may be a stranger's."""
    try:
        return _read_files(workdir, name)
    except InputError as error:
        raise error if str(workdir) in str(error) else InputError(f"{workdir}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = shorten(f"{type(error).__name__}: {error}")
        raise InputError(f"{workdir}: must have the config and the rows of a run of this version ({what})") from error


def _read_files(workdir: Path, name: str) -> Run:
    with os.fdopen(open_regular(workdir / "config.json", at_most=_MAX_CONFIG), encoding="utf-8") as file:
        config = json.load(file)
    entries = used_entries(config)
    seed = int(entries["seed"])
    entries |= {HISTORY: history_of(config)} if history_of(config) else {}  # another start is another experiment
    metrics, evaluations = (read_jsonl(workdir / f"{file}.jsonl", of_steps=True) for file in ("metrics", "eval"))
    calls, results = (read_jsonl(workdir / f"{file}.jsonl") for file in ("runs", "results"))
    if not (metrics or evaluations):
        every = shorten(entries["log_every"])
        raise InputError(f"{workdir}: the run has no rows yet; leave it out, or wait for config.log_every={every} steps")
    steps = max(row["step"] for row in metrics[-1:] + evaluations[-1:])
    best = _best_step(evaluations)
    numbers = _evaluated(evaluations, best) | _results(results, best, steps)
    entries = {key: entry for key, entry in entries.items() if key != "seed"}
    read = Run(
        name, workdir, seed, entries, metrics, evaluations, best, numbers, steps, training_seconds(metrics, calls) / 60, ""
    )
    return read._replace(ended=_how_ended(read, calls))


def measured(rows: Iterable[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Return the steps and finite values of a metric in rows of metrics.jsonl or eval.jsonl."""
    return [(row["step"], row[name]) for row in rows if is_number(row.get(name))]


def metric_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the metrics of rows in the order of their first appearance, the selection metric first, samples/… last."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "step"]
    return sorted(names, key=lambda name: (name not in SELECTION_METRICS, name.startswith("samples/")))


def is_number(entry: Any) -> bool:
    """Return whether an entry of JSON is a finite number."""
    return isinstance(entry, int | float) and isfinite(entry)


def _best_step(evaluations: Sequence[Row]) -> int | None:
    by_step = [pair for name in SELECTION_METRICS for pair in measured(evaluations, name)]
    return min(by_step, key=lambda pair: pair[1])[0] if by_step else None


def _evaluated(rows: Sequence[Row], best: int | None) -> dict[str, float]:
    """Return each metric of eval.jsonl at the best step, and when it was last measured; the diversity of pictures only then."""
    numbers: dict[str, float] = {}
    for name in metric_names(rows):
        by_step = dict(measured(rows, name))
        if best in by_step and name.startswith("eval/"):
            numbers[f"{name}, best"] = by_step[best]
        if by_step:
            numbers[f"{name}, final"] = by_step[max(by_step)]
    return numbers


def _results(rows: Sequence[Row], best: int | None, final: int) -> dict[str, float]:
    """Return what evaluate.py has last said of the best and the final step, with the averaged weights where there are such.

    The numbers of samples and real images and the features are in the title: what was measured with others is not comparable.
    """
    of_run = [row for row in rows if "which" in row]
    weights = "EMA" if any(row["weights"] == "EMA" for row in of_run) else "raw"
    numbers: dict[str, float] = {}
    for row in (row for row in of_run if row["weights"] == weights):
        beside = f"{row['num_real']} of {row['real']}" if "num_real" in row else row["real"]
        beside += f" by {row['features']}" if "features" in row else ""
        for which in [which for which, step in (("best", best), ("final", final)) if step == row["step"]]:
            for name, number in row["mean"].items():
                if is_number(number) and not is_of_one_class(name):
                    numbers[f"{name} of {row['num']} samples beside {beside}, {which}"] = number
    return numbers


def training_seconds(metrics: Sequence[Row], calls: Sequence[Row]) -> float:
    """Return the seconds of all calls that trained; those of one whose end is not recorded follow from its last rate."""
    seconds, recorded, last = 0.0, 0, metrics[-1]["step"] if metrics else 0
    spans = [(call.get("from_step"), call["to_step"], call["seconds"]) for call in calls]
    for start, stop, took in [*spans, (last, last, 0.0)]:
        start = recorded if start is None else start
        beyond = [row for row in metrics if recorded < row["step"] <= start and row["steps_per_second"]]
        seconds += took + ((start - recorded) / beyond[-1]["steps_per_second"] if beyond else 0.0)
        recorded = max(recorded, stop)
    return seconds


def _how_ended(run: Run, calls: Sequence[Row]) -> str:
    if is_training(run.workdir):
        return "running"
    return calls[-1]["ended"] if calls and calls[-1]["to_step"] >= run.steps else "no end recorded"


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group runs by the entries in which their configs differ, in the order of their first runs.

    Raises:
        InputError: two runs of the same config and seed, which would count twice in a mean over seeds.
    """
    keys = dict.fromkeys(key for run in runs for key in run.entries)
    differing = [key for key in keys if len({_identity(run, key) for run in runs}) > 1]
    names = _fold_players(runs, differing)
    groups: dict[tuple[str, ...], Group] = {}
    for run in runs:
        settings = {name: run.entries[key] for name, key in names.items() if key in run.entries}
        group = groups.setdefault(tuple(_identity(run, key) for key in differing), Group(settings, []))
        for other in group.runs:
            if other.seed == run.seed:
                raise InputError(f"{other.name} and {run.name} have the same config and seed {run.seed}: leave one out")
        group.runs.append(run)
    return list(groups.values())


def _identity(run: Run, key: str) -> str:
    return json.dumps(run.entries[key]) if key in run.entries else ""


def _fold_players(runs: Sequence[Run], keys: Sequence[str]) -> dict[str, str]:
    """Map names to keys; an entry that both players have alike in every run has one name, 'optimizer.learning_rate'."""
    names: dict[str, str] = {}
    for key in keys:
        section, player, option = (*key.split(".", 2), "", "")[:3]
        both = [f"{section}.{each}.{option}" for each in Players._fields]
        alike = player in Players._fields and all(len({_identity(run, each) for each in both}) == 1 for run in runs)
        names.setdefault(f"{section}.{option}" if alike else key, key)
    return names
