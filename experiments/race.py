"""Time our step beside the baselines and the machine's roofline bound, and make the row and the lines to print."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.evaluation.results import hardware
from gan_jax.penalties import PENALTIES
from gan_jax.run.config import make_configured_dataset, make_gan, resolve
from implementations import make_implementation, make_plain, make_sampler, make_synthetic, make_torch


class Race(NamedTuple):
    """What is timed, beside the recipe of a config.

    task: "step", or "sample": a batch by G alone. data: "synthetic" or "real". baselines: some of flax, torch. steps: in one
    timing. repeats: timings of each. torch_mode: compare only PyTorch's modes with this in their name. profile: a folder for
    a trace.
    """

    task: str = "step"
    data: str = "synthetic"
    steps_per_call: int = 1
    devices: int = 1
    baselines: tuple[str, ...] = ()
    steps: int = 10
    repeats: int = 7
    torch_mode: str | None = None
    profile: str | None = None


def measure_ceilings(dtype: str, *, tiny: bool = False) -> dict[str, float]:
    """Measure the best rates of a large matrix product (FLOP/s) and a large copy (bytes/s, read and written) in this process.

    tiny: of small ones, for a test of a script, which measure nothing.
    """
    on_cpu = jax.default_backend() == "cpu"
    side, copied = (64, 2**10) if tiny else (2048, 2**26) if on_cpu else (8192, 2**29)

    def best(function: Callable[[jax.Array], jax.Array], argument: jax.Array) -> float:
        seconds = []
        for _ in range(12):
            began = time.perf_counter()
            argument = function(argument).block_until_ready()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    matrix = (jax.random.normal(jax.random.key(0), (side, side)) / side**0.5).astype(dtype)
    product = best(jax.jit(lambda other: other @ matrix), matrix)
    copy = best(jax.jit(jnp.negative, donate_argnums=0), jnp.ones(copied))
    return {"flops_per_second": 2 * side**3 / product, "bytes_per_second": 8 * copied / copy}


def summary(numbers: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers), "all": numbers}


def measure(config: ConfigDict, race: Race, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """Time a recipe and return its row. ceilings: of `measure_ceilings`, for the config's dtype."""
    gan = make_gan(config)
    steps = max(race.steps // race.steps_per_call, 1) * race.steps_per_call
    if race.task == "sample":
        implementations = [make_sampler(gan, config)]
    else:
        dataset = make_synthetic(gan, config) if race.data == "synthetic" else make_configured_dataset(config)
        implementations = [make_implementation("gan_jax", gan, dataset, config, race.steps_per_call, race.devices)]
        if "flax" in race.baselines:
            implementations.append(make_plain(gan, dataset, config, race.steps_per_call, race.devices))
    if "torch" in race.baselines:
        implementations.append(make_torch(config, gan, steps, task=race.task, only=race.torch_mode))
    seconds: dict[str, list[float]] = {implementation.name: [] for implementation in implementations}
    for _ in range(race.repeats):
        for implementation in implementations:
            seconds[implementation.name].append(implementation.run(steps) / steps)
    if race.profile:
        with jax.profiler.trace(race.profile, create_perfetto_trace=True):
            implementations[0].run(steps)

    if race.task == "step":
        dataset.close()
    ours, images = implementations[0], config.batch_size * (gan.disc_steps if race.task == "step" else 1)
    flops = ours.facts["flops"]
    bounds = {
        # The ceilings are a device's; the parts of a CPU have its own together.
        "flops": flops / ceilings["flops_per_second"] / (1 if jax.default_backend() == "cpu" else race.devices),
        "bytes": ours.facts["least_bytes"] / ceilings["bytes_per_second"],
    }
    middle = statistics.median(seconds["gan_jax"])
    return {
        "benchmark": race.task,
        "size": config.data.image_size,
        "batch": config.batch_size,
        "dtype": config.network.dtype,
        "steps_per_call": race.steps_per_call,
        "data": race.data,
        "devices": race.devices,
        "steps": steps,
        "torch_mode": race.torch_mode,
        "images_per_second": {name: images / statistics.median(times) for name, times in seconds.items()},
        "seconds_per_step": {name: summary(times) for name, times in seconds.items()},
        "ratio": {
            name: summary([other / our for our, other in zip(seconds["gan_jax"], times, strict=True)])
            for name, times in seconds.items()
            if name != "gan_jax"
        },
        "ready_seconds": {implementation.name: implementation.ready_seconds for implementation in implementations},
        "facts": {implementation.name: implementation.facts for implementation in implementations},
        "model_flops": flops,
        "ceilings": dict(ceilings),
        "bound_seconds": bounds,
        "over_bound": middle / max(bounds.values()),
        "config": resolve(config),
    }


def describe(config: Mapping[str, Any]) -> str:
    """Name a recipe: 'dcgan of base_width 64, relativistic + r1 + r2'."""
    players = [config["network"][player] for player in ("gen", "disc")]
    names = dict.fromkeys(player["name"] for player in players)
    options = players[1][players[1]["name"]]
    size = next(f"{name} {options[name]}" for name in ("base_width", "width", "widths", "hidden") if name in options)
    penalties = [name for name in PENALTIES if config["penalty"][name]]
    return f"{' and '.join(names)} of {size}, {' + '.join([config['objective'], *penalties])}"


def show(row: dict[str, Any]) -> None:
    """The row as a few lines of the table."""
    what = f"{row['size']}×{row['size']}, batch {row['batch']}, {row['dtype']}, {row['steps_per_call']} a call, {row['data']}"
    what += f", {row['devices']} devices" if row["devices"] > 1 else ""
    print(f"\n{describe(row['config'])}, {what}; {hardware()}")
    for name, times in row["seconds_per_step"].items():
        low, middle, high = (1e3 * times[key] for key in ("min", "median", "max"))
        mode = f" ({row['facts'][name]['mode']})" if "mode" in row["facts"][name] else ""
        print(
            f"  {name:<8}{middle:9.2f} ms a {row['benchmark']} ({low:.2f} to {high:.2f}), "
            f"{row['images_per_second'][name]:8.0f} images/s, ready in {row['ready_seconds'][name]:.1f} s{mode}"
        )
    for name, ratio in row["ratio"].items():
        print(f"  gan_jax over {name}, pair by pair: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
    bounds, rates = row["bound_seconds"], row["ceilings"]
    print(
        f"  bound   {1e3 * max(bounds.values()):10.2f} ms a {row['benchmark']}: {row['model_flops'] / 1e9:.1f} GFLOP at "
        f"{rates['flops_per_second'] / 1e9:.0f} GFLOP/s take {1e3 * bounds['flops']:.2f}, "
        f"{row['facts']['gan_jax']['least_bytes'] / 1e6:.0f} MB at {rates['bytes_per_second'] / 1e9:.0f} GB/s "
        f"{1e3 * bounds['bytes']:.2f}"
    )
    peak = row["facts"]["gan_jax"].get("peak_bytes")
    memory = f", and at most {peak / 1e6:.0f} MB" if peak else ""
    print(f"  gan_jax takes {row['over_bound']:.2f} times the roofline bound{memory}")
