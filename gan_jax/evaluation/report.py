"""A row of results as a table for people: digits that mean something, the baseline beside them, and what a number hides."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.evaluation.metrics import is_of_one_class
from gan_jax.evaluation.results import QUALITY, format_number
from gan_jax.files import read_jsonl

_FEW = 0.05  # a recall below which precision says nothing
_THOUSANDTHS = "kid"  # what ends so is quoted × 10³


class Baseline(NamedTuple):
    """What a perfect generator would have: how it is called, and its numbers by metric."""

    title: str
    mean: Mapping[str, float]


def find_baseline(path: str | Path, row: Mapping[str, Any]) -> Baseline | None:
    """Find the baseline of a row: in itself, or in the newest row that `--real` has added for its data and features."""
    if "perfect_sampler" in row:
        return Baseline("perfect sampler", row["perfect_sampler"]["mean"])
    if row.get("baseline"):
        return None
    found = [each for each in read_jsonl(path) if each.get("baseline") and _compared(each) == _compared(row)]
    return Baseline(f"real vs real, {found[-1]['num']}", found[-1]["mean"]) if found else None


def _compared(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return which data a row is compared with, without the number of images, and by which features."""
    return str(row.get("real")).partition(",")[0], row.get("features"), row.get("weights_sha256")


def format_table(row: Mapping[str, Any], baseline: Baseline | None = None) -> str:
    """Format a row of results: a line for each metric, with its error, the baseline's number and a note where there is one.

    The numbers of single classes are left out. Kernel distances are quoted × 10³.
    """
    mean, errors = row["mean"], dict(row.get("standard_error", {}))
    of_subsets = {name: f"{name}_standard_error" for name in mean if f"{name}_standard_error" in mean}
    if row["seeds"] == 1:
        errors |= {name: mean[of] for name, of in of_subsets.items()}
    header = ["metric", _describe_error(row), *([baseline.title] if baseline else []), ""]
    lines = [header]
    for name, number in mean.items():
        if is_of_one_class(name) or name in of_subsets.values():
            continue
        scale = 1000 if name.endswith(_THOUSANDTHS) else 1
        cells = [f"{name} × 10³" if scale > 1 else name, format_number(scale * number, scale * errors.get(name, math.nan))]
        if baseline:
            cells.append(format_number(scale * baseline.mean[name]) if name in baseline.mean else "")
        lines.append([*cells, _NOTES[name](mean) if name in _NOTES else ""])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _describe_error(row: Mapping[str, Any]) -> str:
    if row["seeds"] > 1:
        return f"mean ± standard error over {row['seeds']} seeds of samples"
    return "number, of a kernel distance ± standard error over its subsets"


def _note_on_precision(mean: Mapping[str, float]) -> str:
    recall = mean.get("recall", 1.0)
    return f"says nothing: with recall {recall:.2g} the samples may all be alike" if recall < _FEW else ""


def _note_on_modes(mean: Mapping[str, float]) -> str:
    share = next((f"{mean[name]:.1%} of samples are {words}" for name, words in QUALITY.items() if name in mean), "")
    return f"one sample makes a mode count; {share}" if share else ""


_NOTES: dict[str, Callable[[Mapping[str, float]], str]] = {
    "precision": _note_on_precision,
    "density": _note_on_precision,
    "modes": _note_on_modes,
}
