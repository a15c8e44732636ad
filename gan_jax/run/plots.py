"""Pictures of examples: grids of images, points over their density."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from gan_jax.data import DENSITIES
from gan_jax.errors import InputError
from gan_jax.files import write_atomic
from gan_jax.sampling import default_labels
from gan_jax.state import GAN, TrainState

_MIN_TILE = 64  # pixels: smaller images are enlarged, for people


def _as_tiles(images: np.ndarray) -> np.ndarray:
    """`[N, H, W, C]` -> what Pillow can show: grey `[N, H, W]`, colour `[N, H, W, 3]`; other channels side by side."""
    channels = images.shape[-1]
    if channels == 3:
        return images
    return np.concatenate([images[..., channel] for channel in range(channels)], axis=2)


def save_grid(images: np.ndarray, path: str | Path, *, columns: int | None = None) -> None:
    """Save images uint8 `[N, H, W, C]` as one PNG, row by row; columns: by default as many as rows, or one more.

    Raises:
        InputError: anything else, such as the floats of a batch (`gan_jax.data.batch.to_uint8` converts them).
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise InputError(f"images are {images.dtype} {list(images.shape)}: must be uint8 [N, H, W, C] (see to_uint8)")
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


def save_image(images: np.ndarray, path: str | Path) -> None:
    """Save images uint8 `[N, H, W, C]` side by side as one PNG, pixel by pixel."""
    image = np.concatenate(list(_as_tiles(images)), axis=1)
    write_atomic(path, lambda file: Image.fromarray(image).save(file, format="PNG"))


def save_pairs(samples: np.ndarray, neighbours: np.ndarray, path: str | Path) -> None:
    """Save each sample beside its nearest training image, uint8 `[N, H, W, C]` both, as one PNG: is it memorised?"""
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
    variables = {"params": state.params.disc, "batch_stats": state.stats.disc}

    def disc(points: np.ndarray) -> np.ndarray:
        logits = gan.networks.disc.apply(variables, points, None, train=False)
        return np.asarray(jax.nn.sigmoid(logits) if gan.objective.is_probability else logits)

    save_points(
        samples,
        path,
        **_density_of(dataset_name),
        disc=None if gan.num_classes or gan.packing > 1 or gan.networks.disc is None else disc,
        labels=default_labels(gan, len(samples)) if labels is None else labels,
        levels=[0.1, 0.25, 0.5, 0.75, 0.9] if gan.objective and gan.objective.is_probability else 6,
        title=f"{dataset_name}, step {int(state.step)}",
    )


def save_real(
    examples: np.ndarray, path: str | Path, *, dataset_name: str, labels: np.ndarray | None = None, columns: int | None = None
) -> None:
    """Save real examples as `save_samples` saves those of a generator."""
    if examples.ndim == 4:
        save_grid(examples, path, columns=columns)
    else:
        save_points(examples, path, **_density_of(dataset_name), labels=labels, title=f"{dataset_name}, real")


def _density_of(dataset_name: str) -> dict[str, Any]:
    density = DENSITIES[dataset_name]()
    return {
        "log_prob": lambda points: np.asarray(density.log_prob(jnp.asarray(points))),
        "extent": 1.4 * float(np.abs(density.means).max()),
    }


def save_points(
    points: np.ndarray,
    path: str | Path,
    *,
    log_prob: Callable[[np.ndarray], np.ndarray],
    extent: float,
    title: str,
    disc: Callable[[np.ndarray], np.ndarray] | None = None,
    levels: list[float] | int = 6,
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


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a matplotlib figure as a PNG."""
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=100))
