"""How fast is the training step, and how much of that do the closed-set convolutions give?

Times the config's step beside the same step built on plain `nn.Conv` and `nn.ConvTranspose`, the two interleaved (A B A B …):
a machine whose speed drifts slows both alike. Compilation is timed apart.

Command: python experiments/benchmark.py --config=experiments/configs/default.py --out=experiments/results/benchmark.jsonl
Expect: a ratio of 2 or more on a CPU, in about a minute on 2 cores.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
from absl import flags
from flax import linen as nn

from gan_jax import cli
from gan_jax.config import check_config, make_configured_dataset, make_gan, resolve
from gan_jax.data import Dataset
from gan_jax.errors import InputError
from gan_jax.evidence import append_row, hardware
from gan_jax.parallel import make_step
from gan_jax.state import GAN, Players, create_state

_CONFIG = cli.define_config()
_STEPS = flags.DEFINE_integer("steps", 10, "Steps in one timing.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timings of each variant.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "Append the row to this file of JSON lines.")


def plain_conv(features: int, kernel_size: int = 4, stride: int = 2, padding: int = 1, dtype: Any = None) -> nn.Conv:
    """The Flax layer that computes what `gan_jax.networks.conv.Conv` computes, from the same parameters."""
    return nn.Conv(features, (kernel_size, kernel_size), strides=stride, padding=padding, use_bias=False, dtype=dtype)


def plain_conv_transpose(
    features: int, kernel_size: int = 4, stride: int = 2, padding: int = 1, dtype: Any = None
) -> nn.ConvTranspose:
    """The Flax layer that computes what `gan_jax.networks.conv.ConvTranspose` computes, from the same parameters."""
    border = kernel_size - 1 - padding
    return nn.ConvTranspose(
        features,
        (kernel_size, kernel_size),
        strides=(stride, stride),
        padding=((border, border), (border, border)),
        use_bias=False,
        dtype=dtype,
        transpose_kernel=True,
    )


def with_plain_layers(gan: GAN) -> GAN:
    """The same recipe on Flax's own convolutions."""
    gen, disc = gan.networks
    return replace(gan, networks=Players(gen.clone(conv_transpose=plain_conv_transpose), disc.clone(conv=plain_conv)))


@dataclass
class Timing:
    """A step that keeps its state between timings. compile_seconds: tracing and compiling, by the first call."""

    compile_seconds: float
    run: Callable[[int], float]
    """Seconds for that many steps, device synchronised."""


def make_timing(gan: GAN, dataset: Dataset, seed: int) -> Timing:
    """Compile the step and run it once."""
    step = make_step(gan, dataset)
    rng = jax.random.key(seed)
    state = create_state(gan, rng)
    began = time.perf_counter()
    state, _ = step(state, [dataset.draw(seed, 0)], rng)
    compile_seconds = time.perf_counter() - began
    position = 1

    def run(steps: int) -> float:
        nonlocal state, position
        jax.block_until_ready(state)
        began = time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, [dataset.draw(seed, position)], rng)
            position += 1
        jax.block_until_ready(state)
        return time.perf_counter() - began

    return Timing(compile_seconds, run)


def main() -> None:
    config = _CONFIG.value
    check_config(config)
    if config.network.name != "dcgan":
        raise InputError(f"config.network.name={config.network.name}: the benchmark compares convolutions; take dcgan")
    jax.config.update("jax_enable_compilation_cache", False)  # what is timed is compiling, not reading
    gan, dataset = make_gan(config), make_configured_dataset(config)
    timings = {
        "gan_jax": make_timing(gan, dataset, config.seed),
        "plain flax": make_timing(with_plain_layers(gan), dataset, config.seed),
    }
    seconds: dict[str, list[float]] = {name: [] for name in timings}
    for timing in timings.values():
        timing.run(1)  # the first steps of a process are slower
    for _ in range(_REPEATS.value):
        for name, timing in timings.items():
            seconds[name].append(timing.run(_STEPS.value) / _STEPS.value)
    ratios = [plain / ours for ours, plain in zip(seconds["gan_jax"], seconds["plain flax"], strict=True)]

    size, width = config.data.image_size, config.network.dcgan.base_width
    print(f"DCGAN {size}×{size}, width {width}, batch {config.batch_size}, {config.network.dtype}; {hardware()}")
    for name, timing in timings.items():
        low, middle, high = min(seconds[name]), statistics.median(seconds[name]), max(seconds[name])
        print(
            f"{name:>12}: {1e3 * middle:7.2f} ms/step (min {1e3 * low:.2f}, max {1e3 * high:.2f}), "
            f"{config.batch_size * config.disc_steps / middle:.0f} images/s, compiled in {timing.compile_seconds:.1f} s"
        )
    spread = f"median {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})"
    print(f"plain flax / gan_jax, pair by pair: {spread}")
    if _OUT.value:
        row = {
            "benchmark": "convolutions",
            "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
            "seconds_per_step": seconds,
            "compile_seconds": {name: timing.compile_seconds for name, timing in timings.items()},
            "config": resolve(config),
        }
        append_row(_OUT.value, row)


if __name__ == "__main__":
    cli.run(main)
