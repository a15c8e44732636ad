"""How do time and memory grow with the work? Measure curves, and write the exponent of each.

The curves are seconds and memory of: a training step over batch size, width and image size; the Fréchet distance, and
precision, recall, density and coverage ("precision to coverage"), over the number of images, with 2,048 features as Inception
has; the start until the first batch over the size of a dataset in a memory-mapped file, copied to the device or streamed
by two worker processes; saving and restoring a checkpoint over the number of parameters. Each point is measured in a process
of its own. Its memory is the largest resident size less that after the imports (Linux); that of a step is what its compiled
program takes at its peak. The exponent is the slope of the last two points on logarithmic axes: 1 means proportional.

Command: python experiments/growth.py
It takes about 20 minutes on 2 cores, 9 of them for precision to coverage of 50,000 images, 1 GB in a temporary folder and up to
4 GB of memory. Resumable: a point that has its row is not measured again. Writes growth.jsonl, .md and .png in --results;
--curves=step runs the curves whose names contain it; --redraw writes page and picture from the rows; --points=2 measures only
the two smallest points.
"""

import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from gan_jax.configs import default
from gan_jax.data import Dataset, make_dataset
from gan_jax.errors import InputError
from gan_jax.evaluation.metrics import frechet_distance, moments, precision_recall
from gan_jax.evaluation.results import append_row, find_row, hardware, name_rows_in_errors
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.interrupts import follow_parent
from gan_jax.memory import format_bytes
from gan_jax.run import cli
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import make_gan
from gan_jax.state import abstract_state, create_state
from implementations import make_implementation, make_synthetic
from plot_growth import make_page, save_picture

_CURVES = flags.DEFINE_string("curves", "", "Measure only the curves whose names contain this.")
_POINTS = flags.DEFINE_integer("points", 10, "Number of points of each curve, from the smallest, at most.", lower_bound=2)
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder for the rows, the page and the picture.")
_REDRAW = flags.DEFINE_boolean("redraw", False, "Measure nothing: write the page and the picture from the rows.")

Measured = dict[str, float]
"""Seconds, and bytes where memory is measured."""

FEATURES = 2048
REPEATS = 3


def time_step(*, batch: int = 64, width: int = 32, size: int = 32) -> Measured:
    """Time a step of a DCGAN; bytes are those that its program takes at its peak."""
    config = _dcgan(width)
    config.batch_size, config.data.image_size = batch, size
    gan = make_gan(config)
    step = make_implementation("gan_jax", gan, make_synthetic(gan, config), config, 1, 1)
    steps = max(1, min(20, round(1.0 / step.run(1))))
    return {"seconds": statistics.median(step.run(steps) / steps for _ in range(REPEATS)), "bytes": step.facts["peak_bytes"]}


def time_frechet(number: int) -> Measured:
    """Time the Fréchet distance of so many features and as many others."""
    real, fake = _draw_features(number)
    warnings.simplefilter("ignore")  # of a number that fewer rows than features make wrong: it is not looked at
    return _time(lambda: frechet_distance(moments(real), moments(fake)))


def time_prdc(number: int) -> Measured:
    """Time precision, recall, density and coverage of so many features and as many others."""
    real, fake = _draw_features(number)
    return _time(lambda: precision_recall(real, fake))


def _draw_features(number: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).standard_normal((number, FEATURES), np.float32) for seed in range(2)]


def time_start(number: int, *, streamed: bool) -> Measured:
    """Time a dataset of so many images of 32 × 32 in an .npy file, from its name to the first batch."""
    resident: Any = {"resident_mib": 0} if streamed else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        with path.open("wb") as file:  # rather than a memory map, whose pages would count as memory
            header = {"descr": "|u1", "fortran_order": False, "shape": (number, 32, 32, 1)}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, number, 10_000):
                count = min(10_000, number - first)
                file.write(np.random.default_rng(first).bytes(count * 32 * 32))
        return _time(lambda: _first_batch(make_dataset(f"numpy:{path}", batch_size=64, **resident)))


def _first_batch(dataset: Dataset) -> None:
    jax.block_until_ready(jax.jit(dataset.load)(dataset.arrays, dataset.fetch(0, 0, 1)).images)  # as a run does
    dataset.close()


def time_checkpoint(width: int, *, read: bool) -> Measured:
    """Time the saving of a DCGAN's state, or its reading and verifying."""
    gan = make_gan(_dcgan(width))
    state = jax.block_until_ready(create_state(gan, jax.random.key(0)))

    def save(folder: str) -> None:
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(state, {})

    def restore(folder: str) -> None:
        with Checkpoints(folder, read_only=True) as checkpoints:
            found = checkpoints.find()
            assert found
            found.restore(abstract_state(gan))

    with tempfile.TemporaryDirectory() as folder:
        if not read:
            return _time(lambda: save(folder))
        save(folder)
        return _time(lambda: restore(folder))


def _dcgan(width: int) -> ConfigDict:
    config = default.get_config()
    config.network.dcgan.base_width = width
    return config


def parameters(width: int) -> int:
    """Count the parameters of both players of a DCGAN."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_state(make_gan(_dcgan(width))).params))


def _time(work: Callable[[], object]) -> Measured:
    began = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - began}


def in_process(measure: Callable[[], Measured]) -> Measured:
    """Measure, in a process that does nothing else, and add the memory that was taken beyond that of the imports."""
    before = _peak_bytes()
    measured = measure()
    return {"bytes": _peak_bytes() - before, **measured}


def _peak_bytes() -> int:
    # VmHWM, as ru_maxrss begins with that of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


class Curve(NamedTuple):
    """A curve: the unit of x, its points `(x, what measures it)`, and the exponents of seconds that are to be expected."""

    unit: str
    points: list[tuple[int, Callable[[], Measured]]]
    expected: str


def curves() -> dict[str, Curve]:
    """Return all curves by name."""
    numbers, widths = (1_000, 5_000, 10_000, 20_000, 50_000), (8, 16, 32, 64, 128)
    by_parameters = [(parameters(width), width) for width in widths]
    return {
        "step over batch": Curve(
            "images", [(n, partial(time_step, batch=n)) for n in (8, 16, 32, 64, 128, 256)], "1: each image costs the same"
        ),
        "step over width": Curve(
            "channels next to the image",
            [(n, partial(time_step, width=n)) for n in widths],
            "2: a convolution's products are inputs × outputs",
        ),
        "step over image size": Curve(
            "pixels a side",
            [(n, partial(time_step, size=n)) for n in (16, 32, 64, 128)],
            "2: pixels are its square, and each doubling adds a layer of twice the width",
        ),
        "Fréchet distance": Curve(
            "images",
            [(n, partial(time_frechet, n)) for n in numbers],
            "0 to 1: moments, and one matrix root",
        ),
        "precision to coverage": Curve("images", [(n, partial(time_prdc, n)) for n in numbers], "2: all pairs"),
        "start, on the device": Curve(
            "images",
            [(n, partial(time_start, n, streamed=False)) for n in (10**3, 10**4, 10**5, 10**6)],
            "0 to 1: all are read and copied",
        ),
        "start, streamed": Curve(
            "images",
            [(n, partial(time_start, n, streamed=True)) for n in (10**3, 10**4, 10**5, 10**6)],
            "0 to 1: a mapped file, and the order of an epoch",
        ),
        "checkpoint saved": Curve(
            "parameters",
            [(n, partial(time_checkpoint, width, read=False)) for n, width in by_parameters],
            "1: bytes",
        ),
        "checkpoint read": Curve(
            "parameters",
            [(n, partial(time_checkpoint, width, read=True)) for n, width in by_parameters],
            "1: bytes",
        ),
    }


def measure_points(path: Path) -> None:
    """Measure the points that have no row, each in a process of its own."""
    chosen = {name: curve for name, curve in curves().items() if _CURVES.value in name}
    if not chosen:
        raise InputError(f"--curves={_CURVES.value}: must be in the name of one of: {'; '.join(curves())}")
    for name, curve in chosen.items():
        for x, measure in curve.points[: _POINTS.value]:
            fields = {"curve": name, "x": x, "device": hardware()}
            if find_row(path, fields):
                continue
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), follow_parent) as pool:
                measured = pool.submit(in_process, measure).result()
            append_row(path, fields | {"unit": curve.unit, "expected": curve.expected} | measured)
            print(f"{name}, {x:,} {curve.unit}: {measured['seconds']:.3g} s, {format_bytes(measured['bytes'])}", flush=True)


def main() -> None:
    path = Path(_RESULTS.value) / "growth.jsonl"
    if not _REDRAW.value:
        measure_points(path)
    rows = read_jsonl(path)
    if not rows:
        raise InputError(f"{path} has no rows to draw; leave out --redraw")
    with name_rows_in_errors(path):
        write_atomic(path.with_suffix(".md"), partial(Path.write_text, data=make_page(rows)))
        save_picture(path.with_suffix(".png"), rows)
    print(f"{path.with_suffix('.md')}, {path.with_suffix('.png')}")


if __name__ == "__main__":
    cli.run(main, stopped=cli.KEEPS_ROWS)
