"""How good are the samples of a run, or images that anyone made? Distances to real images, each with all that it depends on.

Command: python experiments/evaluate.py --workdir=runs/mnist --features=classifier --metrics=frechet,kid,prdc,classes
--features=inception gives FID and KID (`make inception` first); classifier and pixels give numbers under their own names.
--npz=FILE or --folder=DIR with --config=FILE: images from elsewhere, beside that config's data set.
--real: real images that are not those compared to, a floor under every other row.
--neighbours: the samples that are nearest to a training image, beside it, as neighbours.png.
A run on points in the plane has mode statistics instead.
Each row goes to scores.jsonl in the workdir, or to --out=FILE.jsonl; those of the last call to evaluation.json beside it.
Ctrl-C loses nothing: features are kept in the cache until their row is there, and the same command goes on.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from gan_jax.data import DENSITIES, Transform, load_images, read_numpy
from gan_jax.errors import InputError, nearest
from gan_jax.evaluation.evaluator import (
    ImageSource,
    forget,
    generated_images,
    make_reference,
    means_and_errors,
    real_images,
    score,
)
from gan_jax.evaluation.features import FEATURES, hold_out
from gan_jax.evaluation.metrics import mode_statistics, nearest_neighbours
from gan_jax.evaluation.results import append_row
from gan_jax.files import write_atomic
from gan_jax.run import cli, plots
from gan_jax.run.config import check_config, load_configured_images
from gan_jax.run.loop import restore_run, restore_steps
from gan_jax.sampling import sample
from gan_jax.state import GAN, TrainState

_CONFIG = cli.define_config("experiments/configs/mnist.py")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of a run: its samples are measured, by its best and its final step.")
_NPZ = flags.DEFINE_string("npz", "", "Images to measure: .npy or .npz of uint8 [N, H, W, C].")
_FOLDER = flags.DEFINE_string("folder", "", "Images to measure: a folder of files, decoded as the config says.")
_REAL = flags.DEFINE_boolean("real", False, "Measure real images that are not among those compared to.")
_FEATURES = flags.DEFINE_string("features", "classifier", f"One of {', '.join(FEATURES)}.")
_METRICS = flags.DEFINE_list("metrics", [], "Some of frechet, kid, prdc, classes, diversity; default: what the features allow.")
_NUM = flags.DEFINE_integer("num", 0, "Images in a set; 0: 10000, on a CPU 2000, for Inception there 500.", lower_bound=0)
_NUM_REAL = flags.DEFINE_integer("num_real", 0, "Real images; 0: up to 10000, for Inception on a CPU as --num.", lower_bound=0)
_SEEDS = flags.DEFINE_integer("seeds", 0, "Sets of samples; 0: 3, for Inception on a CPU 1.", lower_bound=0)
_SPLIT = flags.DEFINE_string("split", "", "TFDS split of the real images; default: the one that the config trains on.")
_NEIGHBOURS = flags.DEFINE_boolean("neighbours", False, "Nearest training images too.")
_OUT = flags.DEFINE_string("out", "", "File for the rows, of JSON lines; default: WORKDIR/scores.jsonl.")

_MAX_REAL = 10_000
_MAX_LOOKED_AT, _PAIRS = 2000, 32  # samples whose neighbours are looked for, and drawn


class Choice(NamedTuple):
    """What the flags leave open, chosen. num, num_real: images a set; 0 real ones: as many as there are, up to 10,000."""

    num: int
    num_real: int
    seeds: int
    metrics: list[str]


def choose() -> Choice:
    """A CPU measures fewer, and says so."""
    name, cpu = _FEATURES.value, jax.default_backend() == "cpu"
    if name not in FEATURES:
        raise InputError(f"--features={name}: give one of {', '.join(FEATURES)}{nearest(name, FEATURES)}")
    slow = cpu and name == "inception"
    metrics = ["kid", "prdc"] if slow or name == "pixels" else ["frechet", "kid", "prdc"]
    choice = Choice(
        num=_NUM.value or (500 if slow else 2000 if cpu else 10_000),
        num_real=_NUM_REAL.value or (_NUM.value or 500 if slow else 0),
        seeds=_SEEDS.value or (1 if slow else 3),
        metrics=_METRICS.value or metrics + ["classes"] * (name == "classifier"),
    )
    if cpu:
        print(f"on a CPU: --num={choice.num} --seeds={choice.seeds} --metrics={','.join(choice.metrics)}", flush=True)
    return choice


def choose_real(config: ConfigDict, images: Any, num: int) -> tuple[ImageSource, str, Callable[[], tuple[ImageSource, str]]]:
    """Real images to compare to and their name; how to make others of the set. images: those that the config trains on."""
    name, trained_on = config.data.name, config.data.split
    split = _SPLIT.value or trained_on
    if split != trained_on:
        images = load_configured_images(config, split)[0]
    if name.startswith("tfds:"):
        other = trained_on if split != trained_on else "test"
        reference, words = real_images(images), f"{name} {split}"
        make_other = lambda: (real_images(load_configured_images(config, other)[0]), f"{name} {other}")  # noqa: E731
    else:
        learned, held_out = hold_out(len(images))
        reference, words = real_images(images, learned), f"{name}, {len(learned)} of {len(images)}"
        make_other = lambda: (real_images(images, held_out), f"{name}, the other {len(held_out)}")  # noqa: E731
    return reference.first(num or min(reference.num, _MAX_REAL)), words, make_other


def restored(workdir: str) -> Iterator[tuple[str, dict[str, Any], GAN, TrainState, bool]]:
    """The best and the final step of a run, once where they are one, by EMA and raw: (name, fields, gan, state, ema)."""
    steps = restore_steps(workdir)
    by_step = {int(state.step): (which, gan, state) for which, (gan, state) in steps.items()}
    if len(by_step) < len(steps):
        by_step = {step: ("best and final", gan, state) for step, (_, gan, state) in by_step.items()}
    for step, (which, gan, state) in by_step.items():
        for ema in (True, False) if state.ema is not None else (False,):
            fields = {"step": step, "which": which, "weights": "EMA" if ema else "raw"}
            name = f"step {step} ({which}), {fields['weights']} weights"
            yield name, {"workdir": workdir, **fields, "batch_norm": "running statistics"}, gan, state, ema


def describe(row: dict[str, Any]) -> str:
    """A line for people."""
    errors = row.get("standard_error", {})
    numbers = [
        f"{key} {mean:.4g}" + (f" ± {errors[key]:.1g}" if key in errors else "")
        for key, mean in row["mean"].items()
        if not key.startswith("class_share/")
    ]
    sets = f"{row['num']} images" if row["sets"] == 1 else f"{row['sets']} × {row['num']} images"
    return f"{row['samples']}, {sets}: {', '.join(numbers)}"


def measure_points(config: ConfigDict) -> Iterator[dict[str, Any]]:
    """Rows of mode statistics."""
    density, num, seeds = DENSITIES[config.data.name](), _NUM.value or 2500, _SEEDS.value or 3
    for name, fields, gan, state, ema in restored(_WORKDIR.value):
        sets = [sample(gan, state, jax.random.key(seed), num, ema=ema) for seed in range(seeds)]
        by_set = [mode_statistics(points, density.means, density.stddev)._asdict() for points in sets]
        yield fields | {"samples": name, "num": num, "real": config.data.name, **means_and_errors(by_set)}


def measure_images(config: ConfigDict) -> Iterator[dict[str, Any]]:
    """Rows of whatever images the flags name, the first with a look at its neighbours where that is asked for."""
    choice = choose()
    images, labels = load_configured_images(config)
    source, words, make_other = choose_real(config, images, choice.num_real)
    reference = make_reference(choice.metrics, FEATURES[_FEATURES.value](images, labels), source, words)
    for index, (name, fields, sources) in enumerate(measured(config, choice, make_other)):
        row = fields | score(reference, sources, name)
        if _NEIGHBOURS.value and index == 0:
            row["neighbours"] = look_at_neighbours(sources[0], images, rows_path().with_name("neighbours.png"))
        yield row
        for each in sources:
            forget(each, reference.features)


def measured(
    config: ConfigDict, choice: Choice, make_other: Callable[[], tuple[ImageSource, str]]
) -> Iterator[tuple[str, dict[str, Any], list[ImageSource]]]:
    """What the flags name, as (name, fields of its row, sets of images)."""
    if _REAL.value:
        other, words = make_other()
        yield words, {}, [other.first(_NUM.value or min(other.num, choice.num))]
    elif _NPZ.value:
        images = read_numpy(_NPZ.value)[0]
        if images[:_MAX_LOOKED_AT].max() <= 1:
            raise InputError(f"--npz={_NPZ.value}: grey levels from {images.min()} to {images.max()}: give 0 to 255")
        found = real_images(images)
        yield _NPZ.value, {}, [found.first(_NUM.value or found.num)]
    elif _FOLDER.value:
        data = config.data
        transform = Transform(data.image_size, data.channels, data.resize, data.background)
        found = real_images(load_images(f"folder:{_FOLDER.value}", transform)[0])
        yield _FOLDER.value, {"transform": transform.describe()}, [found.first(_NUM.value or found.num)]
    else:
        for name, fields, gan, state, ema in restored(_WORKDIR.value):
            yield name, fields, [generated_images(gan, state, seed, choice.num, ema=ema) for seed in range(choice.seeds)]


def look_at_neighbours(source: ImageSource, images: Any, path: Path) -> dict[str, float]:
    """Draw the samples that are nearest to a training image, by pixels; how near they are, beside real images to one another.

    Grey levels, root of the mean square. A median far below the real one's says that samples are copies.
    """
    samples = source.take(0, min(source.num, _MAX_LOOKED_AT))
    learned, held_out = hold_out(len(images))
    flat = [part.reshape(len(part), -1) for part in (samples, images, images[np.sort(learned)], images[held_out])]
    found, real = nearest_neighbours(flat[0], flat[1]), nearest_neighbours(flat[3], flat[2])
    closest = found.distances.argsort()[:_PAIRS]
    plots.save_pairs(samples[closest], images[found.indices[closest]], path)
    scale = flat[0].shape[1] ** 0.5
    numbers = {"least": found.distances.min(), "median": np.median(found.distances)}
    numbers |= {"real_least": real.distances.min(), "real_median": np.median(real.distances)}
    print(f"{path}: the {len(closest)} samples that are nearest to a training image, each beside it", flush=True)
    return {key: float(number / scale) for key, number in numbers.items()}


def rows_path() -> Path:
    """Where rows go."""
    if not (_WORKDIR.value or _OUT.value):
        raise InputError("--out: give a file for the rows, such as --out=scores.jsonl")
    return Path(_OUT.value or Path(_WORKDIR.value) / "scores.jsonl")


def main() -> None:
    named = [flag for flag in (_REAL, _NPZ, _FOLDER) if flag.value]
    if not (_WORKDIR.value or named):
        raise InputError("--workdir: give the folder of a run, or images by --npz, --folder or --real with --config")
    if _REAL.value and _NEIGHBOURS.value:
        raise InputError("--real and --neighbours: real images are their own neighbours; give one of them")
    if len(named) > 1:
        raise InputError(f"--{named[0].name} and --{named[1].name}: give one of them")
    path = rows_path()
    if _WORKDIR.value:
        config = restore_run(_WORKDIR.value)[0]
    else:
        config = _CONFIG.value
        check_config(config)
    rows = []
    for row in measure_points(config) if config.data.name in DENSITIES and not named else measure_images(config):
        append_row(path, row)
        rows.append(row)
        print(describe(row), *(f"warning: {note}" for note in row.get("notes", [])), sep="\n", flush=True)
    write_atomic(path.with_name("evaluation.json"), lambda file: file.write_text(json.dumps(rows, indent=2) + "\n"))
    print(f"rows: {path}")


if __name__ == "__main__":
    cli.run(main)
