"""Write the curves of `growth.py` as a table and a picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gan_jax.evaluation.results import markdown
from gan_jax.memory import format_bytes
from gan_jax.run.plots import save_figure


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the last two points `(x, y)` on logarithmic axes; nan for one point."""
    if len(points) < 2:
        return math.nan
    (x, y), (later_x, later_y) = points[-2:]
    return math.log(later_y / y) / math.log(later_x / x)


def by_curve(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the newest row's device by curve, in the order of x."""
    newest = [row for row in rows if row["device"] == rows[-1]["device"]]
    names = dict.fromkeys(row["curve"] for row in newest)
    return {name: sorted((row for row in newest if row["curve"] == name), key=lambda row: row["x"]) for name in names}


def make_page(rows: list[dict[str, Any]]) -> str:
    """Write the curves as a table."""
    lines = []
    for name, points in by_curve(rows).items():
        for row in points:
            lines.append({"curve": name, "x": f"{row['x']:,} {row['unit']}", "seconds": f"{row['seconds']:.3g}"})
            lines[-1] |= {"memory": format_bytes(row["bytes"]), "exponent": "", "expected": ""}
        lines[-1] |= {"exponent": f"{exponent([(row['x'], row['seconds']) for row in points]):.2f}"}
        lines[-1] |= {"expected": points[-1]["expected"]}
    return (
        "# How time and memory grow with the work\n\n"
        f"Written by `experiments/growth.py` from [its rows](growth.jsonl), on {rows[-1]['device']}. The exponent is "
        "the slope of the last two points, seconds over x, on logarithmic axes: 1 means proportional; it is smaller than "
        "expected where a fixed cost dominates. Steps are those of a DCGAN, of width 32, with batches of 64 images of 32 × 32 "
        "where x is not one of these. The memory of a step is what its compiled program takes at its peak; any other is the "
        "largest resident size of the process, less that after its imports. *Precision to coverage*: precision, recall, "
        "density and coverage. *Start*: until the first batch from a memory-mapped file, which is copied to the device or "
        f"streamed by two worker processes.\n\n{markdown(lines)}\n"
    )


def save_picture(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw the seconds of each curve on logarithmic axes."""
    drawn = by_curve(rows)
    figure = Figure(figsize=(10, 8), layout="constrained")
    panels = figure.subplots(3, 3).flat
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    for axes, (name, points) in zip(panels, drawn.items(), strict=False):
        axes.plot([row["x"] for row in points], [row["seconds"] for row in points], "o-")
        axes.set(xscale="log", yscale="log", title=name, xlabel=points[-1]["unit"], ylabel="seconds")
        axes.xaxis.set_minor_formatter(NullFormatter())  # over less than a decade they would overlap
    save_figure(figure, path)
