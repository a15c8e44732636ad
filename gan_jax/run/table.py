"""Tables of runs: recipes that differ in entries of one config, each run trained or resumed, evaluated once, kept as a row."""

import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from gan_jax.configs import default
from gan_jax.errors import InputError, NonFiniteError
from gan_jax.evaluation.images import GeneratedImages
from gan_jax.evaluation.results import append_row, find_row
from gan_jax.files import read_jsonl, write_atomic_bytes
from gan_jax.run.compare import training_seconds
from gan_jax.run.config import resolve
from gan_jax.run.entries import shared_entries
from gan_jax.run.loop import train
from gan_jax.run.plots import save_figure
from gan_jax.run.restore import restore_run


class Recipe(NamedTuple):
    """A line of a table: its name, the entries in which it differs from the table's config, and the seeds of its runs."""

    name: str
    entries: dict[str, Any]
    seeds: tuple[int, ...]

    def make_config(self, config: ConfigDict, seed: int) -> ConfigDict:
        """Make the config of a run from a copy of the table's, which is updated, so that references are followed."""
        config.update_from_flattened_dict(self.entries | {"seed": seed})
        return config


class Curve(NamedTuple):
    """A metric of several runs over time: where it was measured `[T]`, and its values by run `[S, T]`."""

    times: np.ndarray
    values: np.ndarray


def own_entries(config: ConfigDict) -> dict[str, Any]:
    """Return, flat, the entries in which a config differs from the default one, without those that each host has for itself."""
    defaults = shared_entries(resolve(default.get_config()))
    return {key: entry for key, entry in shared_entries(resolve(config)).items() if defaults.get(key) != entry}


def make_row(
    path: Path, fields: dict[str, Any], config: ConfigDict, workdir: Path, evaluate: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return the row of a run in a file of rows; where there is none, train it, or resume it, evaluate it, and add the row.

    A row is known by its fields and by `own_entries` of its config, so that a new entry of the default config asks for no new
    run. It has the seconds of training, the metrics of the evaluations during training, by name and step, and the real-vs-real
    baseline of these; `ended` says how the run ended, and one whose numbers became nan or inf has no others.
    """
    fields = fields | {"entries": own_entries(config)}
    if not find_row(path, fields):
        try:
            train(config, workdir)
        except NonFiniteError as error:
            append_row(path, fields | {"ended": str(error)})
        else:
            append_row(path, fields | {"ended": "complete", **_history(workdir), **evaluate()})
    row = find_row(path, fields)
    assert row is not None
    return row


def _history(workdir: Path) -> dict[str, Any]:
    calls = read_jsonl(workdir / "runs.jsonl")
    history: dict[str, dict[str, float]] = {}
    for row in read_jsonl(workdir / "eval.jsonl"):
        for name in row.keys() - {"step"}:
            history.setdefault(name, {})[str(row["step"])] = row[name]
    seconds = training_seconds(read_jsonl(workdir / "metrics.jsonl", of_steps=True), calls)
    return {"training_seconds": seconds, "history": history, "real_baseline": calls[-1]["real_baseline"]}


def restored_samples(
    workdir: Path, num: int, which: str = "final", *, seed: int = 0, labels: np.ndarray | None = None
) -> GeneratedImages:
    """Return num samples of the last ("final") or the best ("best") step of a run, by the average of G where there is one.

    labels: int `[num]`, or None.

    Raises:
        InputError: the run there has not reached its last step.
    """
    config, gan, state = restore_run(workdir, which)
    if which == "final" and int(state.step) != config.num_steps:
        raise InputError(f"{workdir}: the run has {int(state.step)} steps, not {config.num_steps}; give another --runs")
    return GeneratedImages(gan, state, seed, num, labels=labels)


def make_curve(rows: Sequence[Mapping[str, Any]], metric: str) -> Curve:
    """Make the curve of a metric over the steps of runs that were evaluated at the same steps."""
    histories = [row["history"][metric] for row in rows]
    return Curve(np.array([int(step) for step in histories[0]]), np.array([list(each.values()) for each in histories]))


def with_flags(name: str, *settings: flags.FlagHolder[Any]) -> str:
    """Name the samples of a recipe by its name and those of these flags that are not at their defaults."""
    return ", ".join([name, *(f"{flag.name}={flag.value}" for flag in settings if flag.value != flag.default)])


def add_samples(path: Path, name: str, samples: np.ndarray) -> None:
    """Add the samples uint8 `[N, H, W, C]` of a recipe to the .npz file that a picture is drawn from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _holding(path.parent):
        arrays: dict[str, Any] = load_samples(path) | {name: samples}
        write_atomic_bytes(path, lambda file: np.savez_compressed(file, **arrays))


def load_samples(path: Path) -> dict[str, np.ndarray]:
    """Load what `add_samples` has added to a file, by name; nothing where there is no file."""
    return dict(np.load(path)) if path.exists() else {}


@contextmanager
def _holding(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, so that of two processes that change a file there neither loses what the other wrote."""
    try:
        import fcntl
    except ImportError:  # in Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # file systems without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def save_table_picture(
    path: Path,
    samples: Mapping[str, np.ndarray],
    curves: Mapping[str, Curve] | None = None,
    *,
    labels: tuple[str, str] = ("", ""),
    baseline: tuple[str, float] | None = None,
) -> None:
    """Save a line of samples uint8 `[N, H, W, C]` for each recipe and, below, curves of their means over runs, if any.

    Without samples, as where every run has diverged, nothing is saved. labels: of the curves' two axes. baseline: the label and
    height of a dashed line.
    """
    if not samples:
        return
    lines = sum(0.5 * images.shape[1] / images.shape[2] for images in samples.values()) + 0.2
    height = max(3.4, 0.2 * len(curves) + 1.0) if curves else 0.0  # a line of the legend for each
    figure = Figure(figsize=(9, lines + height), layout="constrained")
    parts: Any = figure.subfigures(2, height_ratios=[lines, height]) if curves else [figure]
    for axes, (name, images) in zip(parts[0].subplots(len(samples), squeeze=False)[:, 0], samples.items(), strict=True):
        row = np.concatenate(list(images), axis=1)
        axes.imshow(row[..., 0] if row.shape[-1] == 1 else row, cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        wrapped = "\n".join(textwrap.fill(line, 38) for line in name.split("\n"))
        axes.set_ylabel(wrapped, rotation=0, ha="right", va="center", fontsize=9)
    if curves:
        _plot_curves(parts[1].subplots(), curves, labels, baseline)
    save_figure(figure, path)


def _plot_curves(axes: Axes, curves: Mapping[str, Curve], labels: tuple[str, str], baseline: tuple[str, float] | None) -> None:
    for number, (name, curve) in enumerate(curves.items()):
        style = ("-", ":", "-.")[number // 10 % 3]  # there are ten colours
        axes.plot(curve.times, curve.values.mean(axis=0), marker=".", linestyle=style, label=name.replace("\n", " "))
    if baseline:
        axes.axhline(baseline[1], color="grey", linestyle="--", label=baseline[0])
    axes.set(yscale="log", xlabel=labels[0], ylabel=labels[1])
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
