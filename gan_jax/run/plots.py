"""Pictures of a run: grids of images, points over their density, curves, an animation. Files out, nothing else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from gan_jax.files import write_atomic
from gan_jax.objectives import VALUE_AT_EQUILIBRIUM, VALUE_WHEN_DISJOINT

_MIN_TILE = 64  # pixels: smaller images are enlarged, for people
_MAX_FRAMES = 60


def _as_tiles(images: np.ndarray) -> np.ndarray:
    """`[N, H, W, C]` -> what Pillow can show: grey `[N, H, W]`, colour `[N, H, W, 3]`; other channels side by side."""
    channels = images.shape[-1]
    if channels == 3:
        return images
    return np.concatenate([images[..., channel] for channel in range(channels)], axis=2)


def save_grid(images: np.ndarray, path: str | Path, *, columns: int | None = None) -> None:
    """Images uint8 `[N, H, W, C]` as one PNG, row by row."""
    count = len(images)
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    scale = max(1, _MIN_TILE // images.shape[1])
    tiles = _as_tiles(images).repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = tiles.shape[1] + 2, tiles.shape[2] + 2
    canvas = np.full((rows * height + 2, columns * width + 2, *tiles.shape[3:]), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height + 2, index % columns * width + 2
        canvas[top : top + height - 2, left : left + width - 2] = tile
    write_atomic(path, lambda file: Image.fromarray(canvas).save(file, format="PNG"))


def save_pairs(samples: np.ndarray, neighbours: np.ndarray, path: str | Path) -> None:
    """Each sample with its nearest training image on its right, uint8 `[N, H, W, C]` both, as one PNG: is it memorised?"""
    save_grid(np.concatenate([samples, neighbours], axis=2), path, columns=int(np.ceil(np.sqrt(len(samples) / 2))))


def save_points(
    points: np.ndarray,
    path: str | Path,
    *,
    log_prob: Callable[[np.ndarray], np.ndarray],
    disc_prob: Callable[[np.ndarray], np.ndarray],
    extent: float,
    title: str,
) -> None:
    """Points `[N, 2]` over their density (grey) with D's contours, on the square [-extent, extent]².

    log_prob, disc_prob: `[M, 2] -> [M]`, the data's log density and D(x).
    """
    ticks = np.linspace(-extent, extent, 200, dtype=np.float32)
    plane = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    flat = plane.reshape(-1, 2)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    # Narrow modes would vanish between pixels: what is drawn is the density's shape, not its height.
    density = np.maximum(log_prob(flat).reshape(plane.shape[:2]), -60.0)
    axes.contourf(ticks, ticks, density, levels=np.linspace(-60.0, max(float(density.max()), 0.0), 12), cmap="Greys")
    levels = [0.1, 0.25, 0.5, 0.75, 0.9]
    contours = axes.contour(
        ticks, ticks, disc_prob(flat).reshape(plane.shape[:2]), levels=levels, cmap="coolwarm", linewidths=0.8, vmin=0, vmax=1
    )
    axes.clabel(contours, fontsize=6)
    axes.scatter(points[:, 0], points[:, 1], s=3, color="tab:green", alpha=0.5)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", title=title)
    save_figure(figure, path)


def _plot_series(axes: Axes, rows: Sequence[dict[str, Any]], names: dict[str, str]) -> None:
    """Each named metric, faint, and its running median over a twentieth of the run."""
    width = max(1, len(rows) // 20)
    for name, label in names.items():
        steps = np.array([row["step"] for row in rows])
        values = np.array([row[name] for row in rows])
        (line,) = axes.plot(steps, values, alpha=0.25, linewidth=0.7)
        windows = np.lib.stride_tricks.sliding_window_view(values, width)
        middle = steps[(width - 1) // 2 :][: len(windows)]
        axes.plot(middle, np.median(windows, axis=-1), color=line.get_color(), label=label)


def _to_js_bound(values: Any) -> Any:
    return (values - VALUE_AT_EQUILIBRIUM) / 2


def save_curves(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """The run's curves: V with its marks 0 and -log 4, both losses, D(x) and D(G(z)). rows: those of metrics.jsonl.

    The right-hand axis of V is the lower bound of the JSD that it gives, from 0 to log 2.
    """
    figure = Figure(figsize=(8, 8), layout="constrained")
    top, middle, bottom = figure.subplots(3, sharex=True)
    _plot_series(top, rows, {"value": "V(D, G)"})
    top.axhline(VALUE_WHEN_DISJOINT, color="grey", linestyle=":", label="0: D separates them")
    top.axhline(VALUE_AT_EQUILIBRIUM, color="grey", linestyle="--", label="−log 4: equilibrium")
    top.set_ylabel("nats")
    bound = top.secondary_yaxis("right", functions=(_to_js_bound, lambda js: 2 * js + VALUE_AT_EQUILIBRIUM))
    bound.set(ylabel="(V + log 4)/2 ≤ JSD", yticks=[0.0, 0.2, 0.4, float(np.log(2))], yticklabels=["0", "0.2", "0.4", "log 2"])
    _plot_series(middle, rows, {"loss/disc": "loss of D", "loss/gen": "loss of G"})
    middle.set_ylabel("nats")
    _plot_series(bottom, rows, {"prob/real": "D(x)", "prob/fake": "D(G(z))"})
    bottom.axhline(0.5, color="grey", linestyle="--")
    bottom.set(ylabel="probability", ylim=(-0.02, 1.02), xlabel="step (updates of G)")
    for axes in (top, middle, bottom):
        axes.legend(loc="best", fontsize=8)
    save_figure(figure, path)


def save_animation(frames: Sequence[Path], path: str | Path, *, seconds: float = 8.0) -> None:
    """Pictures of equal size as a looping GIF, at most 60 of them, evenly chosen; the last one is held."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MAX_FRAMES)).round().astype(int))
    images = [Image.open(frames[index]).convert("P", palette=Image.Palette.ADAPTIVE) for index in chosen]
    each = int(1000 * seconds / len(images))
    durations = [each] * (len(images) - 1) + [max(each, 2000)]
    write_atomic(
        path,
        lambda file: images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0),
    )


def save_figure(figure: Figure, path: str | Path) -> None:
    """A matplotlib figure as a PNG."""
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=100))
