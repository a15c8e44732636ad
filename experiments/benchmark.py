"""How fast is the training step, beside a baseline that does the same work and beside what the machine can do?

One row for each combination of --size, --batch, --dtype, --steps_per_call, --data (synthetic: one batch that lies on the
device; real: the config's dataset) and --devices, over which the batch is split (of a CPU, they share its cores).
Implementations run interleaved (A B A B …), so that a machine whose speed drifts slows all of them alike, and ratios are taken
pair by pair.
Compilation is timed apart, without the cache of compiled programs.

The roofline bound of a step is the larger of two times: its FLOPs over the rate of a large matrix product, and the bytes that
it has to move (state in and out, batch in) over the rate of a large copy, both measured here. FLOPs are those of the model,
whatever tricks save some of them.

Command: python experiments/benchmark.py --config=gan_jax/configs/default.py --size=32,64 --baseline=torch
Expect: on 2 CPU cores 1 to 3 minutes a row, most of it the comparison of PyTorch's modes; a ratio of about 1 to 1.2 over
PyTorch and of 3 to 7 over Flax's own layers (--baseline=flax). --plot=ROWS.jsonl draws such rows as a PNG of that name.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from baselines.plain_flax import with_plain_layers
from costs import model_flops
from gan_jax import Batch
from gan_jax.configs import default
from gan_jax.data import Dataset, Fetched
from gan_jax.errors import InputError
from gan_jax.evaluation.results import append_row, hardware
from gan_jax.networks import DTYPES
from gan_jax.parallel import make_step
from gan_jax.run import cli
from gan_jax.run.config import check_config, make_configured_dataset, make_gan, resolve
from gan_jax.state import GAN, create_state
from gan_jax.steps import example_keys, sample_latents, train_step
from plot_benchmark import save_throughput

BASELINES = ("flax", "torch")
_CONFIG = cli.define_config(default.__file__)
_SIZE = flags.DEFINE_list("size", None, "Image sizes; default: the config's.")
_BATCH = flags.DEFINE_list("batch", None, "Batch sizes; default: the config's.")
_DTYPE = flags.DEFINE_list("dtype", None, "float32, bfloat16; default: the config's.")
_STEPS_PER_CALL = flags.DEFINE_list("steps_per_call", ["1"], "Steps in one dispatch.")
_DATA = flags.DEFINE_list("data", ["synthetic"], "synthetic, real.")
_DEVICES = flags.DEFINE_list("devices", ["1"], "Numbers of devices to split the batch over, as config.parallel says.")
_BASELINE = flags.DEFINE_list("baseline", [], f"Beside what: {', '.join(BASELINES)}.")
_TORCH_MODE = flags.DEFINE_string("torch_mode", None, "Compare only PyTorch's modes that have this in their name.")
_STEPS = flags.DEFINE_integer("steps", 10, "Steps in one timing.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timings of each implementation.", lower_bound=1)
_PROFILE = flags.DEFINE_string("profile", None, "Write a trace of a few steps into this folder, for TensorBoard or Perfetto.")
_OUT = flags.DEFINE_string("out", None, "Append the rows to this file of JSON lines.")
_PLOT = flags.DEFINE_string("plot", None, "Draw the rows of this file, and measure nothing.")


@dataclass(frozen=True)
class Implementation:
    """Something that trains. ready_seconds: until its first step was done, compilation included."""

    name: str
    ready_seconds: float
    run: Callable[[int], float]
    """Seconds for that many steps, device synchronised."""
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class SyntheticImages:
    """A dataset of one step's batches, which lie on the device as the step wants them: no gather, no conversion."""

    arrays: jax.Array

    @property
    def batch_size(self) -> int:
        return self.arrays.shape[1]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.arrays.shape[2:]

    @property
    def num_classes(self) -> int:
        return 0

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        return {"index": np.broadcast_to(np.arange(self.batch_size), (num_batches, self.batch_size))}

    def load(self, arrays: Any, fetched: Mapping[str, Any]) -> Batch:
        # A device's part; XLA drops a slice of the whole.
        index = fetched["index"]
        return Batch(jax.lax.dynamic_slice_in_dim(arrays, index[0, 0], index.shape[1], axis=1))

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        return self.load(self.arrays, self.fetch(seed, step, num_batches))

    def close(self) -> None:
        pass


def make_synthetic(config: ConfigDict, num_batches: int) -> SyntheticImages:
    """Make uniform noise in [-1, 1] `[num_batches, B, S, S, C]`."""
    size = config.data.image_size
    shape = (num_batches, config.batch_size, size, size, config.data.channels)
    return SyntheticImages(jax.random.uniform(jax.random.key(config.seed), shape, minval=-1.0))


def make_implementation(
    name: str, gan: GAN, dataset: Dataset, config: ConfigDict, steps_per_call: int, devices: int
) -> Implementation:
    """Compile the step and run it once."""
    over = {"parallel": config.parallel, "sync_batch_norm": config.sync_batch_norm, "devices": jax.devices()[:devices]}
    step_fn, seed = make_step(gan, dataset, config.seed, **over), config.seed
    state = create_state(gan, jax.random.key(seed))
    step = 0

    def call() -> None:
        nonlocal state, step
        state, _ = step_fn(state, step, steps_per_call)
        step += steps_per_call

    def run(steps: int) -> float:
        jax.block_until_ready(state)
        began = time.perf_counter()
        for _ in range(steps // steps_per_call):
            call()
        jax.block_until_ready(state)
        return time.perf_counter() - began

    ready_seconds = run(steps_per_call)
    run(steps_per_call)  # the first steps of a process are slower
    compiled = step_fn.lower(state, 0, steps_per_call).compile()  # the one that has just run
    memory: Any = compiled.memory_analysis()
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes - memory.alias_size_in_bytes
    batch = jax.eval_shape(lambda: dataset.batches(seed, 0, gan.batches_per_step).images)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    facts = {"peak_bytes": peak, "least_bytes": 2 * state_bytes + batch.size * batch.dtype.itemsize // devices}
    return Implementation(name, ready_seconds, run, facts)


def make_torch(config: ConfigDict, gan: GAN, steps: int) -> Implementation:
    """PyTorch in its fastest mode, once it is shown to do the same work."""
    try:
        from baselines import torch_dcgan
    except ImportError as error:
        raise InputError(f"--baseline=torch: {error}; install the extra: pip install 'gan_jax[bench]'") from error
    players = [(config.network[player], config.optimizer[player].name) for player in ("gen", "disc")]
    dcgan_of_2016 = all(
        (network.name, network.dcgan.norm, optimizer) == ("dcgan", "batch", "adam") for network, optimizer in players
    )
    if not (dcgan_of_2016 and gan.objective.is_probability) or config.augment or gan.ema or gan.num_classes:
        raise InputError(
            "--baseline=torch is an unconditional dcgan with batch norm, adam and the objectives of 2014, "
            "without augmentation and average"
        )
    real = np.asarray(make_synthetic(config, 1).arrays)
    recipe = torch_dcgan.Recipe(
        shape=_shape(config),
        disc_steps=config.disc_steps,
        objective=config.objective,
        dtype=config.network.dtype,
        adam=[(player.learning_rate, player.b1, player.b2) for player in (config.optimizer.gen, config.optimizer.disc)],
        real=real[0],
    )
    rng = jax.random.key(config.seed)
    state = create_state(gan, rng)
    facts = same_work(torch_dcgan.Trainer(recipe, torch_dcgan.Mode(False), state.params), gan, state)
    mode, ready_seconds, run = torch_dcgan.fastest(recipe, state.params, steps, _TORCH_MODE.value)
    return Implementation("torch", ready_seconds, run, facts | {"mode": str(mode)})


def _shape(config: ConfigDict) -> tuple[int, int, int, int]:
    """Image size, channels, base width, latent dimension."""
    return config.data.image_size, config.data.channels, config.network.dcgan.base_width, config.latent_dim


def same_work(baseline: Any, gan: GAN, state: Any) -> dict[str, Any]:
    """Parameters and FLOPs must be equal; so must the losses of a step from equal weights, to 1e-4 (in float32)."""
    import torch

    recipe = baseline.recipe
    shape: tuple[int, int, int, int] = recipe.shape
    counts = [sum(leaf.size for leaf in jax.tree.leaves(params)) for params in state.params]
    baseline_counts = [sum(leaf.numel() for leaf in network.parameters()) for network in (baseline.gen, baseline.disc)]
    rng = jax.random.key(0)
    step_rng = jax.random.fold_in(rng, 0)
    keys = [jax.random.fold_in(step_rng, update) for update in range(recipe.disc_steps + 1)]
    latents = [np.array(sample_latents(example_keys(key, "latents", len(recipe.real)), gan.latent_dim)) for key in keys]
    baseline_losses = [loss.item() for loss in baseline.step(*(torch.from_numpy(z).to(baseline.device) for z in latents))]
    batches = Batch(jnp.stack([jnp.asarray(recipe.real)] * recipe.disc_steps))
    _, metrics = jax.jit(partial(train_step, gan))(state, batches, rng)
    losses = [float(metrics["loss/disc"]), float(metrics["loss/gen"])]
    flops = model_flops(*shape, len(recipe.real), recipe.disc_steps)
    facts = {"parameters": baseline_counts, "flops": baseline.flops(), "losses": {"ours": losses, "baseline": baseline_losses}}
    tolerance = 1e-4 if recipe.dtype == "float32" else 3e-2
    if counts != baseline_counts or flops != facts["flops"] or not np.allclose(losses, baseline_losses, rtol=tolerance):
        raise RuntimeError(f"the baseline does other work: parameters {counts}, FLOPs {flops}, losses {losses} against {facts}")
    return facts


def measure_ceilings(dtype: str) -> dict[str, float]:
    """The best rates of a large matrix product (FLOP/s) and a large copy (bytes/s, read and written) in this process."""
    on_cpu = jax.default_backend() == "cpu"
    side, copied = (2048, 2**26) if on_cpu else (8192, 2**29)

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


def measure(config: ConfigDict, data: str, steps_per_call: int, devices: int, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """The row of one combination."""
    gan = make_gan(config)
    dataset = make_synthetic(config, gan.batches_per_step) if data == "synthetic" else make_configured_dataset(config)
    steps = max(_STEPS.value // steps_per_call, 1) * steps_per_call
    implementations = [make_implementation("gan_jax", gan, dataset, config, steps_per_call, devices)]
    if "flax" in _BASELINE.value:
        implementations.append(make_implementation("flax", with_plain_layers(gan), dataset, config, steps_per_call, devices))
    if "torch" in _BASELINE.value:
        implementations.append(make_torch(config, gan, steps))
    seconds: dict[str, list[float]] = {implementation.name: [] for implementation in implementations}
    for _ in range(_REPEATS.value):
        for implementation in implementations:
            seconds[implementation.name].append(implementation.run(steps) / steps)
    if _PROFILE.value:
        with jax.profiler.trace(_PROFILE.value, create_perfetto_trace=True):
            implementations[0].run(steps)

    ours, images = implementations[0], config.batch_size * config.disc_steps
    flops = model_flops(*_shape(config), config.batch_size, config.disc_steps, border=False)
    bounds = {
        # The ceilings are a device's; the parts of a CPU have its own together.
        "flops": flops / ceilings["flops_per_second"] / (1 if jax.default_backend() == "cpu" else devices),
        "bytes": ours.facts["least_bytes"] / ceilings["bytes_per_second"],
    }
    middle = statistics.median(seconds["gan_jax"])
    return {
        "benchmark": "step",
        "size": config.data.image_size,
        "batch": config.batch_size,
        "dtype": config.network.dtype,
        "steps_per_call": steps_per_call,
        "data": data,
        "devices": devices,
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


def show(row: dict[str, Any]) -> None:
    """The row as a few lines of the table."""
    what = f"{row['size']}×{row['size']}, batch {row['batch']}, {row['dtype']}, {row['steps_per_call']} a call, {row['data']}"
    what += f", {row['devices']} devices" if row["devices"] > 1 else ""
    print(f"\nDCGAN {what}, width {row['config']['network']['dcgan']['base_width']}; {row['hardware']}")
    for name, times in row["seconds_per_step"].items():
        low, middle, high = (1e3 * times[key] for key in ("min", "median", "max"))
        mode = f" ({row['facts'][name]['mode']})" if "mode" in row["facts"][name] else ""
        print(
            f"  {name:<8}{middle:9.2f} ms/step ({low:.2f} to {high:.2f}), {row['images_per_second'][name]:8.0f} images/s, "
            f"ready in {row['ready_seconds'][name]:.1f} s{mode}"
        )
    for name, ratio in row["ratio"].items():
        print(f"  gan_jax over {name}, pair by pair: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
    bounds, rates = row["bound_seconds"], row["ceilings"]
    print(
        f"  bound   {1e3 * max(bounds.values()):10.2f} ms/step: {row['model_flops'] / 1e9:.1f} GFLOP at "
        f"{rates['flops_per_second'] / 1e9:.0f} GFLOP/s take {1e3 * bounds['flops']:.2f}, "
        f"{row['facts']['gan_jax']['least_bytes'] / 1e6:.0f} MB at {rates['bytes_per_second'] / 1e9:.0f} GB/s "
        f"{1e3 * bounds['bytes']:.2f}"
    )
    peak = row["facts"]["gan_jax"]["peak_bytes"] / 1e6
    print(f"  gan_jax takes {row['over_bound']:.2f} times the roofline bound, and at most {peak:.0f} MB")


def _whole_numbers(flag: Any, default: int) -> list[int]:
    texts = flag.value or [str(default)]
    if not all(text.isdecimal() and int(text) >= 1 for text in texts):
        raise InputError(f"--{flag.name}={','.join(texts)} must be integers ≥ 1")
    return [int(text) for text in texts]


def _names(flag: Any, allowed: tuple[str, ...], default: str | None = None) -> list[str]:
    names = flag.value or ([default] if default else [])
    for name in names:
        if name not in allowed:
            raise InputError(f"--{flag.name}={name} must be one of {', '.join(allowed)}")
    return list(names)


def main() -> None:
    if _PLOT.value:
        save_throughput(Path(_PLOT.value))
        return
    config = ConfigDict(_CONFIG.value)
    _names(_BASELINE, BASELINES)
    combinations = list(
        itertools.product(
            _whole_numbers(_SIZE, config.data.image_size),
            _whole_numbers(_BATCH, config.batch_size),
            _names(_DTYPE, DTYPES, config.network.dtype),
            _whole_numbers(_STEPS_PER_CALL, 1),
            _names(_DATA, ("synthetic", "real")),
            _whole_numbers(_DEVICES, 1),
        )
    )
    jax.config.update("jax_num_cpu_devices", max(devices for *_, devices in combinations))
    if any(devices > jax.device_count() for *_, devices in combinations):
        raise InputError(f"--devices={','.join(_DEVICES.value)} must be at most {jax.device_count()}")
    jax.config.update("jax_enable_compilation_cache", False)  # what is timed is compiling, not reading
    configs = []
    for size, batch, dtype, steps_per_call, data, devices in combinations:
        with config.unlocked():
            config.data.image_size, config.batch_size, config.network.dtype = size, batch, dtype
        check_config(config)
        if not isinstance(size, int) or size & (size - 1):
            raise InputError(f"--size={size}: must be powers of two: the FLOPs of squares of such sides are counted")
        if {config.network.gen.name, config.network.disc.name} != {"dcgan"}:
            raise InputError(f"config.network.name={config.network.name} must be dcgan for the benchmark")
        gan = make_gan(config)
        if gan.penalties or gan.objective.paired or gan.packing > 1:
            raise InputError("the benchmark counts the FLOPs of a step without penalties, pairs and packing: leave them out")
        configs.append((ConfigDict(config.to_dict()), data, steps_per_call, devices))
    ceilings = {dtype: measure_ceilings(dtype) for dtype in {config.network.dtype for config, *_ in configs}}
    for config, data, steps_per_call, devices in configs:
        row = measure(config, data, steps_per_call, devices, ceilings[config.network.dtype])
        show(row | {"hardware": hardware()})
        if _OUT.value:
            append_row(_OUT.value, row)


if __name__ == "__main__":
    cli.run(main)
