"""Curves of a run: V, losses, D(x), logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gan_jax.objectives import VALUE_AT_EQUILIBRIUM, VALUE_WHEN_DISJOINT, Objective, js_bound_of_value

_OUTERMOST = 0.02  # of the values, at either end, that an axis may leave out
_TICKS_APART = 0.1  # of the height of an axis, at least
_PANELS = (
    {"value": "V(D, G)"},
    {"loss/disc": "loss of D", "loss/gen": "loss of G"},
    {"prob/real": "D(x)", "prob/fake": "D(G(z))"},
    {"logits/real": "logits of real", "logits/fake": "logits of fake"},
)


def _plot_series(axes: Axes, rows: Sequence[dict[str, Any]], names: dict[str, str]) -> None:
    """Plot each named metric, faint, and its running median over a twentieth of the run."""
    rows = [row for row in rows if names.keys() <= row.keys()]
    width = max(1, len(rows) // 20)
    for name, label in names.items():
        steps = np.array([row["step"] for row in rows])
        values = np.array([row[name] for row in rows])
        (line,) = axes.plot(steps, values, alpha=0.25, linewidth=0.7)
        windows = np.lib.stride_tricks.sliding_window_view(values, width)
        middle = steps[(width - 1) // 2 :][: len(windows)]
        axes.plot(middle, np.median(windows, axis=-1), color=line.get_color(), label=label)


def draw_curves(rows: Sequence[dict[str, Any]], objective: Objective | None = None) -> Figure:
    """Draw curves of the rows of metrics.jsonl: V, losses, D(x) and logits, as far as the rows have them.

    With the objective, the losses have dashed lines where it puts them at equilibrium. An axis that a few extreme values would
    stretch is clipped, and says so.
    """
    panels = [names for names in _PANELS if any(names.keys() <= row.keys() for row in rows)]
    figure = Figure(figsize=(8, 2.7 * len(panels)), layout="constrained")
    for names, axes in zip(panels, figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], strict=True):
        _plot_series(axes, rows, names)
        if "value" in names:
            _mark_value(axes)
        if "loss/disc" in names and objective:
            _mark_losses(axes, objective)
        if "prob/real" in names:
            axes.axhline(0.5, color="grey", linestyle="--")
            axes.set_ylim(-0.02, 1.02)
        else:
            _clip(axes, np.array([row[name] for row in rows if names.keys() <= row.keys() for name in names]))
        if "value" in names:
            _add_bound_axis(axes)
        # Above the axes: no curve is under it, wherever it goes.
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8, frameon=False, borderaxespad=0.2)
    axes.set_xlabel("step (updates of G)")
    return figure


def _clip(axes: Axes, values: np.ndarray) -> None:
    """Leave the outermost values off the axis where they would take more than half of it; marked lines stay on it."""
    lowest, low, high, highest = np.quantile(values, [0, _OUTERMOST, 1 - _OUTERMOST, 1])
    marked = [float(np.ravel(line.get_ydata())[0]) for line in axes.lines if line.get_linestyle() in ("--", ":")]
    low, high = min([low, *marked]), max([high, *marked])
    if max(highest, high) - min(lowest, low) <= 2 * (high - low):
        return
    margin = 0.1 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    outside = int(np.sum((values < low - margin) | (values > high + margin)))
    text = f"axis clipped: {outside} of {len(values)} values lie outside"
    axes.text(0.995, 0.98, text, transform=axes.transAxes, ha="right", va="top", fontsize=7, color="grey")


def _mark_value(axes: Axes) -> None:
    """Mark 0 and −log 4."""
    axes.axhline(VALUE_WHEN_DISJOINT, color="grey", linestyle=":", label="0: D separates real from fake")
    axes.axhline(VALUE_AT_EQUILIBRIUM, color="grey", linestyle="--", label="−log 4: equilibrium")


def _add_bound_axis(axes: Axes) -> None:
    """Add a right-hand axis: the lower bound of the JSD that V gives, with as many ticks from 0 to log 2 as have room."""
    there_and_back: Any = (js_bound_of_value, lambda bound: 2 * bound + VALUE_AT_EQUILIBRIUM)  # of arrays
    right = axes.secondary_yaxis("right", functions=there_and_back)
    apart = _TICKS_APART * float(np.ptp(axes.get_ylim())) / 2  # V goes twice as far as the bound
    shown: dict[float, str] = {}
    for tick, label in {float(np.log(2)): "log 2", 0.0: "0", 0.2: "0.2", 0.4: "0.4"}.items():
        if all(abs(tick - other) >= apart for other in shown):
            shown[tick] = label
    right.set(ylabel="(V + log 4)/2 ≤ JSD", yticks=list(shown), yticklabels=list(shown.values()))


def _mark_losses(axes: Axes, objective: Objective) -> None:
    """Mark both players' losses at equilibrium, as far as they are determined there: D's is the negative of its objective."""
    disc, gen = objective.equilibrium
    for loss, line in zip((None if disc is None else -disc, gen), list(axes.lines)[1::2], strict=True):
        if loss is not None:
            label = f"{line.get_label()} at equilibrium: {loss:.3g}"
            axes.axhline(loss, color=line.get_color(), linestyle="--", linewidth=1, label=label)
