"""How fast is the training step of a recipe, beside a baseline that does the same work and beside what the machine can do?

The recipe is that of a config, with any networks, objective and penalties. The PyTorch baseline (`baselines/torch_step.py`) is
an independent implementation; it is timed only once its parameters, FLOPs and losses of a step are shown to equal ours.
--task=sample times sampling from the generator alone.

There is one row for each combination of --size, --batch, --dtype, --steps_per_call, --data (synthetic: one batch that stays on
the device; real: the config's dataset) and --devices, over which the batch is split (CPU devices share the cores).
Implementations run interleaved (A B A B …), so that a machine whose speed drifts slows all alike; ratios are taken pair by
pair. Compilation is timed separately, without the compilation cache. The roofline bound of a step is the larger of two times:
the FLOPs of its model over the rate of a large matrix product, and the bytes that it has to move (state in and out, batch in)
over the rate of a large copy, both measured here.

Command: python experiments/benchmark.py --config=gan_jax/configs/default.py --size=32,64 --baseline=torch
Expect: on 2 CPU cores 1 to 3 minutes a row, most of it the comparison of PyTorch's modes; a ratio of 1.1 to 1.4 over
PyTorch and of 4 to 8 over Flax's own layers (--baseline=flax). --plot=ROWS.jsonl plots such rows as a PNG of that name.
"""

import itertools
import os
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict

from gan_jax.configs import default
from gan_jax.errors import InputError
from gan_jax.evaluation.results import append_row
from gan_jax.networks import DTYPES
from gan_jax.run import cli
from gan_jax.run.config import check_config, make_gan
from implementations import check_baselines
from plot_benchmark import save_throughput
from race import Race, measure, measure_ceilings, show

BASELINES = ("flax", "torch")
_CONFIG = cli.define_config(default.__file__)
_SIZE = flags.DEFINE_list("size", None, "Image sizes; default: the config's.")
_BATCH = flags.DEFINE_list("batch", None, "Batch sizes; default: the config's.")
_DTYPE = flags.DEFINE_list("dtype", None, "Among float32, bfloat16; default: the config's.")
_STEPS_PER_CALL = flags.DEFINE_list("steps_per_call", ["1"], "Steps in one dispatch to the device.")
_DATA = flags.DEFINE_list("data", ["synthetic"], "Among synthetic, real: see above.")
_DEVICES = flags.DEFINE_list("devices", ["1"], "Numbers of devices that the batch is split over.")
_BASELINE = flags.DEFINE_list("baseline", [], f"Baselines to compare with, among {', '.join(BASELINES)}.")
_TASK = flags.DEFINE_enum("task", "step", ["step", "sample"], "Time a training step, or sampling a batch from G alone.")
_TORCH_MODE = flags.DEFINE_string("torch_mode", None, "Time only those PyTorch modes whose names contain this.")
_STEPS = flags.DEFINE_integer("steps", 10, "Steps in each timing.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timings of each implementation.", lower_bound=1)
_PROFILE = flags.DEFINE_string("profile", None, "Folder for a trace, for TensorBoard or Perfetto.")
_OUT = flags.DEFINE_string("out", None, "File of JSON lines that the rows are appended to.")
_PLOT = flags.DEFINE_string("plot", None, "Measure nothing: plot the rows of this file.")


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
    os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")  # neither side reads what it compiled before
    if "torch" in _BASELINE.value:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # three quarters of a GPU's memory would be JAX's
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
    plain = _DATA.value == ["synthetic"] and _DEVICES.value == ["1"] and _STEPS_PER_CALL.value == ["1"]
    if _TASK.value == "sample" and ("flax" in _BASELINE.value or not plain):
        needless = "--data, --devices, --steps_per_call and --baseline=flax"
        raise InputError(f"--task=sample times G alone on one device: leave out {needless}")
    if _TORCH_MODE.value and "torch" not in _BASELINE.value:
        raise InputError(f"--torch_mode={_TORCH_MODE.value}: must be left out without --baseline=torch")
    if "real" in _DATA.value and "torch" in _BASELINE.value:
        raise InputError("--data=real --baseline=torch: PyTorch has synthetic images alone; leave out one of the two")
    if any(devices > jax.device_count() for *_, devices in combinations):
        raise InputError(f"--devices={','.join(_DEVICES.value)} must be at most {jax.device_count()}, the devices here")
    jax.config.update("jax_enable_compilation_cache", False)  # what is timed is compiling, not reading
    settings = Race(
        task=_TASK.value,
        baselines=tuple(_BASELINE.value),
        steps=_STEPS.value,
        repeats=_REPEATS.value,
        torch_mode=_TORCH_MODE.value,
        profile=_PROFILE.value,
    )
    races = []
    for size, batch, dtype, steps_per_call, data, devices in combinations:
        with config.unlocked():
            config.data.image_size, config.batch_size, config.network.dtype = size, batch, dtype
        check_config(config)
        check_baselines(config, make_gan(config), settings.baselines)
        race = settings._replace(data=data, steps_per_call=steps_per_call, devices=devices)
        races.append((ConfigDict(config.to_dict()), race))
    ceilings = {dtype: measure_ceilings(dtype) for dtype in {config.network.dtype for config, _ in races}}
    for config, race in races:
        row = measure(config, race, ceilings[config.network.dtype])
        show(row)
        if _OUT.value:
            append_row(_OUT.value, row)


if __name__ == "__main__":
    cli.run(main)
