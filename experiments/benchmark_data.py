"""What does the data path cost the training step, and do streamed images come faster than the step takes them?

Random images of the config's shape, once on the device and once in a file that workers read. Four timings, interleaved
(A B C D A B C D …): the step on resident images, the step on streamed ones, and each data path alone, without a step. The
resident path makes indices on the host, gathers images on the device and waits for them; the streamed path ends with the images
on the host. The file has just been written, so that it is read from the page cache, as a dataset that fits there is after its
first epoch.

Command: python experiments/benchmark_data.py --config=gan_jax/configs/default.py --out=rows.jsonl
Expect: the resident path takes less than 0.02 of the step, and streamed images come a hundred times faster than a CPU's step;
one minute on 2 cores.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
from absl import flags

from gan_jax.configs import default
from gan_jax.data import Dataset, from_arrays
from gan_jax.evaluation.results import append_row, hardware
from gan_jax.parallel import make_step
from gan_jax.run import cli
from gan_jax.run.config import check_config, make_gan, resolve
from gan_jax.state import GAN, create_state

_CONFIG = cli.define_config(default.__file__)
_IMAGES = flags.DEFINE_integer("images", 20_000, "Number of images in the dataset.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 10, "Steps in each timing of a step.", lower_bound=1)
_FETCHES = flags.DEFINE_integer("fetches", 200, "Fetches of a step's data in each timing of a data path.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Number of timings of each kind.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "File of JSON lines that the row is appended to.")

Timing = Callable[[], float]
"""Seconds for one step, or for the data of one."""

_WARM_UP = 16  # fetches: more than the workers hold ready when a timing begins


def make_step_timing(gan: GAN, dataset: Dataset, steps: int) -> Timing:
    """The compiled step with its data, after a first call."""
    step_fn = make_step(gan, dataset, 0)
    state, _ = step_fn(create_state(gan, jax.random.key(0)), 0)
    step = 1

    def seconds() -> float:
        nonlocal state, step
        jax.block_until_ready(state)
        began = time.perf_counter()
        for _ in range(steps):
            state, _ = step_fn(state, step)
            step += 1
        jax.block_until_ready(state)
        return (time.perf_counter() - began) / steps

    return seconds


def make_fetch_timing(gan: GAN, dataset: Dataset, fetches: int, *, gather: bool) -> Timing:
    """Time the data alone: what the host does and, with `gather`, what the device does then."""
    load = jax.jit(dataset.load)
    step = 0

    def fetch(count: int) -> float:
        nonlocal step
        began = time.perf_counter()
        for _ in range(count):
            fetched = dataset.fetch(1, step, gan.batches_per_step)
            step += 1
            if gather:
                jax.block_until_ready(load(dataset.arrays, fetched))
        return (time.perf_counter() - began) / count

    def seconds() -> float:
        fetch(_WARM_UP)
        return fetch(fetches)

    return seconds


def main() -> None:
    config = _CONFIG.value
    check_config(config)
    gan = make_gan(config)
    options = {"batch_size": config.batch_size, "flip": config.data.flip}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        shape = (max(_IMAGES.value, config.batch_size), *gan.sample_shape)
        np.save(path, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        mapped = np.load(path, mmap_mode="r")
        resident = from_arrays(mapped, resident_mib=2**20, **options)
        with (
            closing(from_arrays(mapped, resident_mib=0, workers=config.data.workers, **options)) as streamed,
            closing(from_arrays(mapped, resident_mib=0, workers=config.data.workers, **options)) as alone,
        ):
            timings = {
                "step, resident": make_step_timing(gan, resident, _STEPS.value),
                "step, streamed": make_step_timing(gan, streamed, _STEPS.value),
                "resident path": make_fetch_timing(gan, resident, _FETCHES.value, gather=True),
                "streamed path": make_fetch_timing(gan, alone, _FETCHES.value, gather=False),
            }
            rounds = [{name: timing() for name, timing in timings.items()} for _ in range(_REPEATS.value + 1)][1:]

    seconds = {name: [each[name] for each in rounds] for name in timings}
    median = {name: statistics.median(values) for name, values in seconds.items()}
    images = config.batch_size * gan.batches_per_step

    def pairs(numerator: str, denominator: str) -> dict[str, float]:
        ratios = [each[numerator] / each[denominator] for each in rounds]
        return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}

    ratios = {
        "resident path / step": pairs("resident path", "step, resident"),
        "streamed images / images the step takes": pairs("step, resident", "streamed path"),
        "step on streamed images / on resident ones": pairs("step, streamed", "step, resident"),
    }
    (height, width, _), base_width = gan.sample_shape, config.network.dcgan.base_width
    print(f"{config.network.name} {height}×{width}, width {base_width}, batch {config.batch_size}; {hardware()}")
    for name, values in seconds.items():
        print(
            f"{name:>15}: {1e3 * median[name]:8.3f} ms (min {1e3 * min(values):.3f}, max {1e3 * max(values):.3f}), "
            f"{images / median[name]:.0f} images/s"
        )
    for name, ratio in ratios.items():
        print(f"{name}: median {ratio['median']:.4g} (min {ratio['min']:.4g}, max {ratio['max']:.4g})")
    if _OUT.value:
        row = {
            "benchmark": "data path",
            "ratios": ratios,
            "streamed_images_per_second": images / median["streamed path"],
            "seconds": seconds,
            "config": resolve(config),
        }
        append_row(_OUT.value, row)


if __name__ == "__main__":
    cli.run(main)
