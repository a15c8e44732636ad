"""Tables of a comparison of runs, and its page: one HTML file without network or library, whose data is never markup."""

import base64
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax.evaluation.results import mean_and_error, plus_minus
from gan_jax.files import open_regular
from gan_jax.run.compare import Group, Run, format_entry, is_number, measured, metric_names
from gan_jax.run.pictures import find_frames

MAX_POINTS = 500  # of a curve
MAX_PICTURES = 20  # of a run
MAX_MIB = 16  # of all pictures, as PNG files; a page is a third larger


class Cell(NamedTuple):
    """A cell of a table: what it shows, the number that it is sorted by, if any, and what was measured, by run."""

    text: str
    number: float | None = None
    values: tuple[float, ...] = ()


Line = dict[str, Cell]


def tabulate(groups: Sequence[Group]) -> list[Line]:
    """Tabulate groups, a line each: settings, training seeds, metrics over these, steps, minutes, how the runs ended."""
    lines = []
    for group in groups:
        seeds, steps = ", ".join(str(run.seed) for run in group.runs), sorted({run.steps for run in group.runs})
        counts = Counter(run.ended for run in group.runs)
        numbers = {name: [run.numbers[name] for run in group.runs if name in run.numbers] for name in _titles(groups)}
        line = {"runs": _text(len(group.runs)), "training seeds": Cell(seeds)}
        line |= {name: _over_seeds(values, len(group.runs)) for name, values in numbers.items()}
        line["steps"] = Cell(" to ".join(str(step) for step in (steps[0], steps[-1])[: len(steps)]), steps[-1])
        line["minutes"] = _over_seeds([run.minutes for run in group.runs], len(group.runs))
        line["ended"] = Cell(", ".join(f"{count} {ended}" for ended, count in counts.items()))
        lines.append(_settings(groups, group) | line)
    return lines


def tabulate_runs(groups: Sequence[Group]) -> list[Line]:
    """Tabulate the runs of all groups, a line each."""
    lines = []
    for group in groups:
        for run in group.runs:
            line = {"run": Cell(run.name)} | _settings(groups, group) | {"training seed": _text(run.seed)}
            line |= {name: _number(run.numbers.get(name)) for name in _titles(groups)}
            line |= {"best step": _text(run.best), "steps": _text(run.steps), "minutes": _number(run.minutes)}
            lines.append(line | {"ended": Cell(run.ended)})
    return lines


def _titles(groups: Sequence[Group]) -> list[str]:
    """Return the titles of the runs' numbers by metric, the best step's before the final one's."""
    titles = dict.fromkeys(name for group in groups for run in group.runs for name in run.numbers)
    metrics = dict.fromkeys(name.rpartition(", ")[0] for name in titles)
    return [f"{name}, {which}" for name in metrics for which in ("best", "final") if f"{name}, {which}" in titles]


def _settings(groups: Sequence[Group], group: Group) -> Line:
    keys = dict.fromkeys(key for each in groups for key in each.settings)
    return {key: _text(group.settings.get(key, "")) for key in keys}


def _text(entry: Any) -> Cell:
    return Cell(format_entry(entry), float(entry) if is_number(entry) else None)


def _number(number: float | None) -> Cell:
    return Cell("") if number is None else Cell(f"{number:.4g}", number, (number,))


def _over_seeds(values: Sequence[float], runs: int) -> Cell:
    if not values:
        return Cell("")
    of = "" if len(values) == runs else f" ({len(values)} of {runs})"
    return Cell(plus_minus(values) + of, mean_and_error(values)[0], tuple(values))


def as_text(lines: Iterable[Line]) -> list[dict[str, str]]:
    """Return what the cells of a table show."""
    return [{name: cell.text for name, cell in line.items()} for line in lines]


def as_numbers(lines: Sequence[Line]) -> list[dict[str, str | float]]:
    """Return a table for programs: of what was measured the mean and, in a column of its own, the SE over training seeds."""
    measured_columns = {name for line in lines for name, cell in line.items() if cell.values}
    rows: list[dict[str, str | float]] = []
    for line in lines:
        row: dict[str, str | float] = {}
        for name, cell in line.items():
            mean, error = mean_and_error(cell.values) if cell.values else (float("nan"), float("nan"))
            numbers = {f"{name}, mean": mean, f"{name}, SE over training seeds": error}
            shown = {column: "" if isnan(number) else number for column, number in numbers.items()}
            row |= shown if name in measured_columns else {name: cell.text}
        rows.append(row)
    return rows


def make_page(groups: Sequence[Group]) -> str:
    """Make the HTML page of a comparison from the template and the script beside this file."""
    template, script = (Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "js"))
    text = json.dumps(_page_data(groups), allow_nan=False, separators=(",", ":"))
    before, _, after = template.replace("PAGE_SCRIPT", script).partition("PAGE_DATA")
    return before + text.replace("<", r"\u003c") + after  # no entry can end the element that holds the data


def _page_data(groups: Sequence[Group]) -> dict[str, Any]:
    runs = [run for group in groups for run in group.runs]
    pictures, real, bound = _embed_pictures(runs)
    of_group = [index for index, group in enumerate(groups) for _ in group.runs]
    return {
        "groups": [group.name for group in groups],
        "runs": [
            {"name": run.name, "group": index, "curves": _curves(run), "pictures": each}
            for run, index, each in zip(runs, of_group, pictures, strict=True)
        ],
        "real": real,
        "bounds": {"points": f"At most {MAX_POINTS} points of each curve, evenly spaced.", "pictures": bound},
        "tables": {
            "settings": _table(tabulate(groups), range(len(groups))),
            "runs": _table(tabulate_runs(groups), of_group),
            "differences": _table(_differences(groups), repeat(None)),
            "shared": _table(_shared(runs), repeat(None)),
        },
    }


def _table(lines: Sequence[Line], groups: Iterable[int | None]) -> dict[str, Any]:
    rows = [
        {"group": group, "cells": [[cell.text, cell.number] for cell in line.values()]}
        for line, group in zip(lines, groups, strict=False)
    ]
    return {"columns": list(lines[0]) if lines else [], "rows": rows}


def _differences(groups: Sequence[Group]) -> list[Line]:
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    return [{"entry": Cell(key)} | {group.name: _text(group.settings.get(key)) for group in groups} for key in keys]


def _shared(runs: Sequence[Run]) -> list[Line]:
    entries = runs[0].entries.items()
    return [
        {"entry": Cell(key), "all runs": _text(entry)}
        for key, entry in entries
        if all(run.entries.get(key, ...) == entry for run in runs)
    ]


def _curves(run: Run) -> dict[str, dict[str, list[list[float]]]]:
    """Return the steps and values of each metric by file and name, thinned, to six digits."""
    curves: dict[str, dict[str, list[list[float]]]] = {}
    for file, rows in (("metrics.jsonl", run.metrics), ("eval.jsonl", run.evaluations)):
        for name in metric_names(rows):
            points = _thinned(measured(rows, name), MAX_POINTS)
            if points:
                curves.setdefault(file, {})[name] = [[step for step, _ in points], [float(f"{y:.6g}") for _, y in points]]
    return curves


def _thinned(entries: Sequence[Any], at_most: int) -> list[Any]:
    """Return so many entries, evenly chosen, the last one among them."""
    chosen = np.unique(np.linspace(len(entries) - 1, 0, min(len(entries), at_most)).round().astype(int))
    return [entries[index] for index in chosen]


def _embed_pictures(runs: Sequence[Run]) -> tuple[list[list[tuple[int, str]]], list[tuple[str, str]], str]:
    """Return the steps and data URIs of each run's samples, names and URIs of different real images, and what was left out."""
    paths = {run.workdir / "real.png": run.name for run in reversed(runs)}
    real = {_read(path): name for path, name in paths.items() if path.exists() and path.stat().st_size <= MAX_MIB * 2**20}
    left = MAX_MIB * 2**20 - sum(map(len, real))
    real, share = (real, left // len(runs)) if left >= 0 else ({}, MAX_MIB * 2**20 // len(runs))
    there = [find_frames(run.workdir / "samples") for run in runs]
    chosen = [_affordable(paths, share) for paths in there]
    pictures = [[(int(path.stem), _data_uri(_read(path))) for path in paths] for paths in chosen]
    counts = f"{sum(map(len, chosen))} of {sum(map(len, there))} pictures"
    bound = f"{counts}: at most {MAX_PICTURES} of a run, evenly spaced, and {MAX_MIB} MiB of all runs."
    return pictures, [(name, _data_uri(file)) for file, name in real.items()], bound


def _read(path: Path) -> bytes:
    """Read a picture; a link in a stranger's workdir would carry a file of ours into a page that others are given."""
    with os.fdopen(open_regular(path, at_most=MAX_MIB * 2**20), "rb") as file:
        return file.read()


def _affordable(paths: Sequence[Path], share: int) -> list[Path]:
    """Return as many pictures, evenly chosen, as the share of bytes and `MAX_PICTURES` allow."""
    sizes = {path: path.stat().st_size for path in paths}
    choices = (_thinned(paths, count) for count in range(min(len(paths), MAX_PICTURES), 0, -1))
    return next((chosen for chosen in choices if sum(sizes[path] for path in chosen) <= share), [])


def _data_uri(file: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"
