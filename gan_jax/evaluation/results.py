"""Rows of results as JSON lines, each with its provenance; means over seeds, and how numbers are printed."""

import math
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import is_of_one_class
from gan_jax.files import append_jsonl, read_jsonl

QUALITY = {"high_quality": "of high quality", "confident": "confident"}
"""Share of the samples that are worth counting as a mode's -> what they are."""

_CHANGED = ("diff", "--name-only", "HEAD", "--", ":/", ":(top,exclude)experiments/results")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
_PLACES = 6  # of a decimal fraction, at most


def _commit() -> str:
    """Return the commit of the running code, -dirty where files other than rows differ, 'unknown' outside a checkout."""

    def git(*command: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # fails where another repository, which does not track it, is around it
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git(*_CHANGED) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def hardware() -> str:
    """Describe the kind and number of devices: 'cpu x86_64, 2 cores', 'NVIDIA H100 80GB HBM3 × 1'."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.device_kind} × {jax.device_count()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
        widest = next((flag for flag in ("avx512f", "avx2") if flag in text), "")
        model = " ".join([*names[:1], *([widest] if widest else [])]) or model
    return f"cpu {model}, {cores} core{'' if cores == 1 else 's'}"


def provenance() -> dict[str, Any]:
    """Return the commit, the hardware and the versions that a row is made with."""
    return {
        "commit": _commit(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def append_row(path: str | Path, row: dict[str, Any]) -> None:
    """Append a row, with its provenance, to a file of JSON lines."""
    append_jsonl(Path(path), row | provenance())


def find_row(path: str | Path, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the newest row with these fields in a file of JSON lines; None where there is none."""
    rows = [row for row in read_jsonl(path) if all(row.get(key) == entry for key, entry in fields.items())]
    return rows[-1] if rows else None


@contextmanager
def name_rows_in_errors(path: str | Path) -> Iterator[None]:
    """Within it, a row without what is read of it is an `InputError` that names their file."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: a row has a missing or wrong field ({what}); remove that row") from error


def hardware_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the hardware of rows, each kind once; the plural of older rows is put right."""
    return list(dict.fromkeys(row["hardware"].replace(", 1 cores", ", 1 core") for row in rows))


def mean_and_error(numbers: Any) -> tuple[float, float]:
    """Return the mean over seeds `[S]` and its standard error, nan for one seed."""
    array = np.asarray(numbers, np.float64)
    differences = array - array[0]  # of equal numbers exactly 0, which their standard deviation is not
    error = np.std(differences, ddof=1) / np.sqrt(len(array)) if len(array) > 1 else np.nan
    return float(np.mean(array)), float(error)


def over_seeds(by_seed: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the fields of a row for metrics by seed: seeds, mean and, of several, standard error and the metrics by seed."""
    columns = {key: mean_and_error([metrics[key] for metrics in by_seed]) for key in by_seed[0]}
    row: dict[str, Any] = {"seeds": len(by_seed), "mean": {key: mean for key, (mean, _) in columns.items()}}
    if len(by_seed) > 1:
        row |= {"standard_error": {key: error for key, (_, error) in columns.items()}, "by_seed": list(by_seed)}
    return row


def format_metrics(metrics: Mapping[str, float], errors: Mapping[str, float] | None = None) -> str:
    """Format metrics by name as 'fid 29.6 ± 0.4, precision 0.71'; the numbers of single classes are left out.

    Modes are quoted with the share of samples that are worth counting: a stray makes a mode count too.
    """
    shown = {name: number for name, number in metrics.items() if not is_of_one_class(name)}
    after = {name: f" ± {error:.1g}" for name, error in (errors or {}).items()}
    for prefix in {name.removesuffix("modes") for name in shown if name.rpartition("/")[2] == "modes"}:
        for quality, words in QUALITY.items():
            if f"{prefix}{quality}" in shown:
                after[f"{prefix}modes"] = f"{after.get(f'{prefix}modes', '')} ({shown.pop(f'{prefix}{quality}'):.1%} {words})"
    return ", ".join(f"{name} {number:.4g}{after.get(name, '')}" for name, number in shown.items())


def format_number(number: float, error: float = math.nan) -> str:
    """Format a number to the first digit of its standard error, '29.6 ± 0.4', and from 10 on to units, '528 ± 55'.

    Where the error is nan or 0, the number has three digits. Where it is below 1e-6, both have an exponent.
    """
    if not math.isfinite(number):
        return str(number)
    known = error > 0 and math.isfinite(error)
    last = _exponent(f"{error:.0e}") if known else _exponent(f"{number:.2e}") - 2  # of the last digit
    places = max(0, -last)
    if places > _PLACES:
        digits = max(0, _exponent(f"{number:e}") - last) if number else 0
        return f"{number:.{digits}e} ± {error:.0e}" if known else f"{number:.3g}"
    text = f"{number:.{0 if number == int(number) and not known else places}f}"
    return f"{text} ± {error:.{places}f}" if known else text


def _exponent(text: str) -> int:
    return int(text.partition("e")[2])


def plus_minus(numbers: Any) -> str:
    """Format numbers by seed `[S]` as mean ± standard error, '0.123 ± 0.004'; of one seed the number alone."""
    mean, error = mean_and_error(numbers)
    shown = f"{mean:.3g}" if abs(mean) < 999.5 else f"{mean:.0f}"
    return f"{shown} ± 0" if error == 0 else format_number(mean, error)


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Format the lines of a table as Markdown, numbers to four digits; no entry can end its cell or its line."""
    rows = [[f"{entry:.4g}" if isinstance(entry, float) else str(entry) for entry in line.values()] for line in lines]
    escaped = [[" ".join(cell.replace("|", r"\|").splitlines()) for cell in cells] for cells in [list(lines[0]), *rows]]
    table = [escaped[0], ["---"] * len(lines[0]), *escaped[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)
