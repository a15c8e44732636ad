"""What a number must carry to be believed: commit, versions, hardware, fingerprints; and rows of results as JSON lines."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.files import append_jsonl, read_jsonl

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def _commit() -> str:
    """The commit of the code that runs, with -dirty where files differ from it; 'unknown' outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        folder = Path(__file__).parent
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def hardware() -> str:
    """The device and how many of it: 'cpu x86_64, 2 cores', 'NVIDIA H100 80GB HBM3 × 1'."""
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
    return f"cpu {model}, {cores} cores"


def evidence() -> dict[str, Any]:
    """Commit, package versions, Python and hardware of this process."""
    return {
        "commit": _commit(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def append_row(path: str | Path, row: dict[str, Any]) -> None:
    """Add a row, with its evidence, to a file of JSON lines."""
    append_jsonl(Path(path), row | evidence())


def find_row(path: str | Path, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The newest row of a file that has these fields, or None: what was measured is not measured again."""
    found = [row for row in read_jsonl(path) if all(row.get(key) == entry for key, entry in fields.items())]
    return found[-1] if found else None


def mean_and_error(numbers: Any) -> tuple[float, float]:
    """Mean over seeds `[S]` and its standard error; one seed has none (nan)."""
    array = np.asarray(numbers, np.float64)
    error = np.std(array, ddof=1) / np.sqrt(len(array)) if len(array) > 1 else np.nan
    return float(np.mean(array)), float(error)


def plus_minus(numbers: Any) -> str:
    """'0.123 ± 0.004' of numbers by seed `[S]`."""
    mean, error = mean_and_error(numbers)
    return f"{mean:.3g}" if np.isnan(error) else f"{mean:.3g} ± {float(f'{error:.1g}'):g}"


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Lines of a table as Markdown; numbers in four digits."""
    rows = [[f"{entry:.4g}" if isinstance(entry, float) else str(entry) for entry in line.values()] for line in lines]
    header = [list(lines[0]), ["---"] * len(lines[0])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in header + rows)
