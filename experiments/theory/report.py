"""What the experiments share: a run gives a row of results; the table and the figure are functions of that row alone."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from gan_jax.errors import InputError
from gan_jax.evaluation.results import append_row, markdown, name_rows_in_errors
from gan_jax.files import read_jsonl
from gan_jax.run import cli
from gan_jax.run.plots import save_figure

_COMMITTED, _SCRATCH = "experiments/results/theory", "runs/theory"
_FULL = flags.DEFINE_boolean("full", False, "Run the long form, whose results are committed.")
_RESULTS = flags.DEFINE_string(
    "results", None, f"Folder for the row and the figure; {_COMMITTED} for --full and --redraw, {_SCRATCH} otherwise."
)
_REDRAW = flags.DEFINE_boolean("redraw", False, "Run nothing: draw the newest row again.")

Row = dict[str, Any]

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 9.5,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.5,
        "figure.dpi": 150,
        "savefig.dpi": 150,
    }
)


class Experiment(NamedTuple):
    """run: settings -> results. table: row -> lines of a table. plot: row -> figure. short, full: settings of the two forms.

    legend: what the marks, symbols and columns of the table mean, for the page.
    """

    name: str
    run: Callable[..., Mapping[str, Any]]
    table: Callable[[Row], Sequence[Mapping[str, Any]]]
    plot: Callable[[Row], Figure]
    short: Mapping[str, Any]
    full: Mapping[str, Any]
    legend: str = ""

    @property
    def question(self) -> str:
        """Return the first line of the script."""
        return (inspect.getdoc(inspect.getmodule(self.run)) or "").partition("\n")[0]


def make_figure(*, height: float) -> Figure:
    """Make a figure as wide as a column of a page, of this height in inches."""
    return Figure(figsize=(10, height), layout="constrained")


def folder() -> Path:
    """Return the folder of rows and figures, as the flags say."""
    return Path(_RESULTS.value or (_COMMITTED if is_full() or is_redrawn() else _SCRATCH))


def is_full() -> bool:
    """Return whether the flags ask for the long form."""
    return bool(_FULL.value)


def is_redrawn() -> bool:
    """Return whether the flags ask for the figures of rows that exist."""
    return bool(_REDRAW.value)


def plain(results: Any) -> Any:
    """Convert arrays of any framework, in any nesting, to lists of numbers with six digits, for JSON."""
    if isinstance(results, Mapping):
        return {name: plain(entry) for name, entry in results.items()}
    if isinstance(results, str | bool | int | None):
        return results
    if isinstance(results, list | tuple) and any(isinstance(entry, Mapping | str) for entry in results):
        return [plain(entry) for entry in results]
    array = np.asarray(results, np.float64)
    return float(f"{array:.6g}") if array.ndim == 0 else [plain(entry) for entry in array]


def perform(experiment: Experiment, *, full: bool, folder: str | Path) -> Row:
    """Run one form, append its row, save its figure, print its table; return the row."""
    settings = experiment.full if full else experiment.short
    print(f"\n{experiment.name}, {'long' if full else 'short'} form: {experiment.question}", flush=True)
    began = time.perf_counter()
    results = plain(experiment.run(**settings))
    seconds = round(time.perf_counter() - began, 1)
    row = {"form": "long" if full else "short", "settings": dict(settings), "seconds": seconds, **results}
    append_row(Path(folder) / f"{experiment.name}.jsonl", {"experiment": experiment.name, **row})
    _show(experiment, row, folder)
    return row


def newest_row(experiment: Experiment, folder: str | Path) -> Row:
    """Return the last row of the experiment in a folder."""
    path = Path(folder) / f"{experiment.name}.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run experiments/theory/{experiment.name}.py --results={folder} first")
    rows = read_jsonl(path)
    if not rows:
        raise InputError(f"{path} has no row: run experiments/theory/{experiment.name}.py --results={folder} again")
    return rows[-1]


def _show(experiment: Experiment, row: Row, folder: str | Path) -> None:
    path = Path(folder) / f"{experiment.name}.png"
    save_figure(experiment.plot(row), path)
    print(markdown(experiment.table(row)))
    print(f"{row['seconds']} s; {path}", flush=True)


def run(experiment: Experiment) -> None:
    """Run or redraw an experiment, as the flags say."""
    if is_redrawn():
        with name_rows_in_errors(folder() / f"{experiment.name}.jsonl"):
            _show(experiment, newest_row(experiment, folder()), folder())
    else:
        perform(experiment, full=is_full(), folder=folder())


def main(experiment: Experiment) -> None:
    """Run the script of one experiment."""
    cli.run(lambda: run(experiment))
