"""Pictures of a run: grids of images, points over their density, curves, an animation."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from gan_jax.data import DENSITIES
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.objectives import OBJECTIVES, VALUE_AT_EQUILIBRIUM, VALUE_WHEN_DISJOINT, Objective, js_bound_of_value
from gan_jax.sampling import default_labels
from gan_jax.state import GAN, TrainState

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
    scale = max(1, _MIN_TILE // min(images.shape[1:3]))
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


def save_samples(
    gan: GAN,
    state: TrainState,
    samples: np.ndarray,
    path: str | Path,
    *,
    dataset_name: str,
    labels: np.ndarray | None = None,
    columns: int | None = None,
) -> None:
    """Save images as a grid of so many columns, points as a scatter over the density of their dataset.

    Points get the contours of D where there is one that judges single points without labels, or the colours of their labels:
    int `[N]`, by default those of `default_labels`.
    """
    if gan.is_image:
        save_grid(samples, path, columns=columns)
        return
    density = DENSITIES[dataset_name]()
    variables = {"params": state.params.disc, "batch_stats": state.stats.disc}

    def disc(points: np.ndarray) -> np.ndarray:
        logits = gan.networks.disc.apply(variables, points, None, train=False)
        return np.asarray(jax.nn.sigmoid(logits) if gan.objective.is_probability else logits)

    save_points(
        samples,
        path,
        log_prob=lambda points: np.asarray(density.log_prob(jnp.asarray(points))),
        disc=None if gan.num_classes or gan.packing > 1 or gan.networks.disc is None else disc,
        labels=default_labels(gan, len(samples)) if labels is None else labels,
        levels=[0.1, 0.25, 0.5, 0.75, 0.9] if gan.objective and gan.objective.is_probability else 6,
        extent=1.4 * float(np.abs(density.means).max()),
        title=f"{dataset_name}, step {int(state.step)}",
    )


def save_points(
    points: np.ndarray,
    path: str | Path,
    *,
    log_prob: Callable[[np.ndarray], np.ndarray],
    disc: Callable[[np.ndarray], np.ndarray] | None,
    levels: list[float] | int,
    extent: float,
    title: str,
    labels: np.ndarray | None = None,
) -> None:
    """Save points `[N, 2]` over their density (grey) with the contours of D, on the square [-extent, extent]².

    log_prob, disc: `[M, 2] -> [M]`; disc may be None. levels: of the contours, or how many. labels: int `[N]`, as colours.
    """
    ticks = np.linspace(-extent, extent, 200, dtype=np.float32)
    plane = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    flat = plane.reshape(-1, 2)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    # Narrow modes would vanish between pixels: what is drawn is the density's shape, not its height.
    density = np.maximum(log_prob(flat).reshape(plane.shape[:2]), -60.0)
    axes.contourf(ticks, ticks, density, levels=np.linspace(-60.0, max(float(density.max()), 0.0), 12), cmap="Greys")
    if disc is not None:
        values = disc(flat).reshape(plane.shape[:2])
        contours = axes.contour(ticks, ticks, values, levels=levels, cmap="coolwarm", linewidths=0.8)
        axes.clabel(contours, fontsize=6)
    colours = {"c": labels, "cmap": "rainbow"} if labels is not None else {"color": "tab:green"}
    axes.scatter(points[:, 0], points[:, 1], s=3, alpha=0.5, **colours)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", title=title)
    save_figure(figure, path)


def _plot_series(axes: Axes, rows: Sequence[dict[str, Any]], names: dict[str, str]) -> None:
    """Each named metric, faint, and its running median over a twentieth of the run."""
    rows = [row for row in rows if names.keys() <= row.keys()]
    width = max(1, len(rows) // 20)
    for name, label in names.items():
        steps = np.array([row["step"] for row in rows])
        values = np.array([row[name] for row in rows])
        (line,) = axes.plot(steps, values, alpha=0.25, linewidth=0.7)
        windows = np.lib.stride_tricks.sliding_window_view(values, width)
        middle = steps[(width - 1) // 2 :][: len(windows)]
        axes.plot(middle, np.median(windows, axis=-1), color=line.get_color(), label=label)


_PANELS = (
    {"value": "V(D, G)"},
    {"loss/disc": "loss of D", "loss/gen": "loss of G"},
    {"prob/real": "D(x)", "prob/fake": "D(G(z))"},
    {"logits/real": "logits of real", "logits/fake": "logits of fake"},
)


def draw_curves(rows: Sequence[dict[str, Any]], objective: Objective | None = None) -> Figure:
    """Draw curves of the rows of metrics.jsonl: V, losses, D(x) and logits, as far as the rows have them.

    With the objective, the losses have dashed lines where it puts them at equilibrium.
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
        axes.legend(loc="best", fontsize=8)
    axes.set_xlabel("step (updates of G)")
    return figure


def _mark_value(axes: Axes) -> None:
    """Mark 0 and −log 4; the right-hand axis is the lower bound of the JSD that V gives, from 0 to log 2."""
    axes.axhline(VALUE_WHEN_DISJOINT, color="grey", linestyle=":", label="0: D separates real from fake")
    axes.axhline(VALUE_AT_EQUILIBRIUM, color="grey", linestyle="--", label="−log 4: equilibrium")
    there_and_back: Any = (js_bound_of_value, lambda bound: 2 * bound + VALUE_AT_EQUILIBRIUM)  # of arrays
    right = axes.secondary_yaxis("right", functions=there_and_back)
    right.set(ylabel="(V + log 4)/2 ≤ JSD", yticks=[0.0, 0.2, 0.4, float(np.log(2))], yticklabels=["0", "0.2", "0.4", "log 2"])


def _mark_losses(axes: Axes, objective: Objective) -> None:
    """Mark both players' losses at equilibrium, as far as they are determined there: D's is the negative of its objective."""
    disc, gen = objective.equilibrium
    for loss, line in zip((None if disc is None else -disc, gen), list(axes.lines)[1::2], strict=True):
        if loss is not None:
            label = f"{line.get_label()} at equilibrium: {loss:.3g}"
            axes.axhline(loss, color=line.get_color(), linestyle="--", linewidth=1, label=label)


def save_run_plots(workdir: Path) -> list[Path]:
    """Save curves and animation from the files of a run; return the paths of the newest pictures."""
    frames, rows = find_frames(workdir / "samples"), read_jsonl(workdir / "metrics.jsonl", of_steps=True)
    pictures = frames[-1:]
    if any({"loss/disc", "loss/gen"} <= row.keys() for row in rows):
        save_figure(draw_curves(rows, _saved_objective(workdir)), workdir / "curves.png")
        pictures.append(workdir / "curves.png")
    if frames and save_animation(frames, workdir / "training.gif"):
        pictures.append(workdir / "training.gif")
    return pictures


def find_frames(folder: Path) -> list[Path]:
    """Find the pictures that a run has saved, by step; other files there, and what a link leads to, are the user's."""
    if folder.is_symlink():
        return []
    frames = [path for path in folder.glob("*.png") if re.fullmatch(r"\d{8,}", path.stem)]
    return sorted(frames, key=lambda path: int(path.stem))


def _saved_objective(workdir: Path) -> Objective | None:
    """Return the objective of the run; None where its config has another than those of the package."""
    return OBJECTIVES.get(json.loads((workdir / "config.json").read_text())["objective"])


def save_animation(frames: Sequence[Path], path: str | Path, *, seconds: float = 8.0) -> bool:
    """Pictures of equal size as a looping GIF, at most 60 of them, evenly chosen; the last one is held.

    Those that cannot be read are named and left out; returns whether there is any other.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MAX_FRAMES)).round().astype(int))
    images = [image for image in (_open_frame(frames[index]) for index in chosen) if image is not None]
    if not images:
        return False
    each = int(1000 * seconds / len(images))
    durations = [each] * (len(images) - 1) + [max(each, 2000)]
    write_atomic(
        path,
        lambda file: images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0),
    )
    return True


def _open_frame(path: Path) -> Image.Image | None:
    """Open a picture with a palette; print a line and return None where it is damaged or none."""
    try:
        with Image.open(path) as image:
            return image.convert("P", palette=Image.Palette.ADAPTIVE)
    except Exception as error:  # Pillow raises anything on damaged bytes
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else (str(error) or type(error).__name__)
        print(f"{path}: damaged ({reason}); training.gif is without it", file=sys.stderr, flush=True)
        return None


def save_figure(figure: Figure, path: str | Path) -> None:
    """A matplotlib figure as a PNG."""
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=100))
