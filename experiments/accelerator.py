"""How fast, precise and deterministic is training on this machine's accelerator, and how good are its samples?

--part=benchmark: throughput at batch 64, 256, 1024, at 32×32 and 64×64, in float32 and bfloat16, with 1, 10 and 100 steps per
dispatch; with one step per dispatch also that of PyTorch in its best mode and of Flax's own convolutions, whose gradients are
lax's; peak memory and the roofline. The modern recipes (R1 + R2, spectral norm, R3GAN) at 32×32, and the data path.
--part=precision: configs/mnist_dcgan.py in float32 and bfloat16: losses of the same 200 steps, and the distance after 2,000.
--part=determinism: `reproduce.py` with and without XLA's deterministic kernels.
--part=quality: the run of `make train`: the distance of its samples to real images, and its seconds.

Command: python experiments/accelerator.py --part=benchmark, or `make accelerator PART=benchmark`
Without --part all parts run. A part stops before a job that would not end within --minutes, and resumes when it is started
again: a job that has its row in --results is not run again. Writes accelerator.jsonl and .md; --redraw writes the page from the
rows; --tiny tests the script on a CPU in minutes and measures nothing. Not run on an accelerator yet.
"""

import gc
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from ml_collections import ConfigDict

from accelerator_page import make_page
from configs import cifar10_sngan, mnist, mnist_dcgan
from gan_jax.configs import default
from gan_jax.errors import InputError, NonFiniteError, RunError, shorten
from gan_jax.evaluation.results import append_row, find_row, hardware, name_rows_in_errors
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.run import cli
from gan_jax.run.loop import train
from race import Race, describe, measure, measure_ceilings, show

_PART = flags.DEFINE_enum("part", None, ["benchmark", "precision", "determinism", "quality"], "Part to run; default: all.")
_MINUTES = flags.DEFINE_float(
    "minutes", 8.0, "Time limit in minutes: a job that would exceed it is not started, but for the first.", lower_bound=0.0
)
_BASELINES = flags.DEFINE_list("baselines", ["torch", "flax"], "Baselines, among torch (needs the extra `bench`) and flax.")
_TORCH_MODE = flags.DEFINE_string("torch_mode", None, "Race only those PyTorch modes whose names contain this.")
_TINY = flags.DEFINE_boolean("tiny", False, "Test the script with tiny jobs that measure nothing; their rows are marked.")
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder for the rows and the page.")
_REDRAW = flags.DEFINE_boolean("redraw", False, "Measure nothing: write the page from the rows.")

HERE = Path(__file__).parent
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


class Job(NamedTuple):
    """What makes one row: the fields by which it is known, and the rest."""

    fields: dict[str, Any]
    make: Callable[[], dict[str, Any]]


def adapt(config: ConfigDict) -> ConfigDict:
    """Shrink a config where --tiny is set."""
    if _TINY.value:
        for player in ("gen", "disc"):
            options = config.network[player]
            options.dcgan.base_width, options.resnet.width = 4, 4
            options.r3gan.update(widths=(8,), blocks=1, group_size=4)
        config.data.update(name="mnist5k", image_size=16, channels=1)
        config.update(batch_size=8, num_steps=4, eval_num=100, eval_every=4, sample_every=4, log_every=1)
    return config


def r3gan() -> ConfigDict:
    """The networks of R3GAN, width 96 at each resolution, on the images of CIFAR-10's shape."""
    config = default.get_config()
    config.network.name, config.objective, config.latent_dim = "r3gan", "relativistic", 64
    config.penalty.r1 = config.penalty.r2 = 1.0
    config.data.channels = 3
    return config


def _raced(config: ConfigDict, race: Race, **fields: Any) -> Job:
    def make() -> dict[str, Any]:
        row = measure(config, race, measure_ceilings(config.network.dtype, tiny=_TINY.value))
        show(row)
        return row

    return Job(fields | {"recipe": describe(config), "baselines": list(race.baselines), "torch_mode": race.torch_mode}, make)


def benchmark() -> Iterator[Job]:
    """Throughput: the cases that are compared with others first."""
    race = Race(steps=2, repeats=2) if _TINY.value else Race(steps=100)
    race = race._replace(torch_mode=_TORCH_MODE.value)
    sizes, batches, calls = ((16,), (8,), (1, 2)) if _TINY.value else ((32, 64), (64, 256, 1024), (1, 10, 100))
    for call, batch, size, dtype in itertools.product(calls, batches, sizes, ("float32", "bfloat16")):
        config = adapt(mnist_dcgan.get_config())
        config.data.image_size, config.batch_size, config.network.dtype = size, batch, dtype
        config.network.dcgan.base_width = 4 if _TINY.value else 64
        baselines = tuple(_BASELINES.value) if call == 1 else ()
        raced = race._replace(steps_per_call=call, baselines=baselines, steps=max(race.steps, call))
        yield _raced(config, raced, what="step", size=size, batch=batch, dtype=dtype, steps_per_call=call)
    for name, make in (("DCGAN", mnist.get_config), ("SN-ResNet", cifar10_sngan.get_config), ("R3GAN", r3gan)):
        config = adapt(make())
        baselines = tuple(baseline for baseline in _BASELINES.value if baseline == "torch")
        yield _raced(config, race._replace(baselines=baselines), what=name)
    small = ["--images=100", "--steps=1", "--fetches=2", "--config.network.dcgan.base_width=4"] if _TINY.value else []
    yield Job({"what": "data path"}, partial(run_script, "benchmark_data.py", f"--config={default.__file__}", *small))


def precision() -> Iterator[Job]:
    """The same run in both dtypes."""
    for dtype in ("float32", "bfloat16"):
        config = adapt(mnist_dcgan.get_config())
        config.network.dtype = dtype
        if not _TINY.value:
            config.update(num_steps=2000, eval_every=2000, log_every=1)
        yield Job({"what": "precision", "dtype": dtype}, partial(trained, config, losses=200))


def quality() -> Iterator[Job]:
    """The default run."""
    yield Job({"what": "quality"}, partial(trained, adapt(mnist.get_config()), losses=0))


def determinism() -> Iterator[Job]:
    """The same bits twice, and after kill -9, with the kernels that XLA chooses and with deterministic ones."""
    for flag in ("", DETERMINISTIC):
        small = ["--steps=4", "--config.network.dcgan.base_width=4", "--config.network.disc.dcgan.base_width=4"]
        arguments = [f"--config={mnist.__file__}", "--devices=", *(small if _TINY.value else ["--steps=2000"])]
        yield Job({"what": "determinism", "flag": flag}, partial(run_script, "reproduce.py", *arguments, flag=flag))


PARTS: dict[str, Callable[[], Iterator[Job]]] = {
    "benchmark": benchmark,
    "precision": precision,
    "determinism": determinism,
    "quality": quality,
}


def trained(config: ConfigDict, *, losses: int) -> dict[str, Any]:
    """Train in a folder of its own: seconds, the last evaluation, and the losses of the first steps."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(config, Path(folder))
        except NonFiniteError as error:  # a result too
            return {"ended": str(error)}
        (run,) = read_jsonl(Path(folder) / "runs.jsonl")
        rows = read_jsonl(Path(folder) / "metrics.jsonl")
        evaluations = read_jsonl(Path(folder) / "eval.jsonl")
    seconds = {name: run[name] for name in ("seconds", "compile_seconds", "to_step")}
    first = [[row["loss/disc"], row["loss/gen"]] for row in rows[:losses]]
    return seconds | {"evaluation": evaluations[-1], "losses": first}


def run_script(name: str, *arguments: str, flag: str = "") -> dict[str, Any]:
    """Run one of our scripts in a process of its own, with a flag of XLA: its row, and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        xla_flags = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), flag]))
        # In the cache a second process would find the kernels that the first has chosen by timing.
        environment = os.environ | {"XLA_FLAGS": xla_flags, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        if torch := sys.modules.get("torch"):
            gc.collect()  # trainers are in cycles
            torch.cuda.empty_cache()
        command = [sys.executable, str(HERE / name), *arguments, f"--out={out}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout, end="", flush=True)
        message = shorten("".join(done.stderr.splitlines()[-1:]))
        if not out.exists():
            raise RunError(f"{name} ended with status {done.returncode} and without a row: {message}")
        return json.loads(out.read_text().splitlines()[-1]) | {"status": done.returncode, "error": message}


def run(path: Path) -> None:
    """Run the jobs of the chosen parts that have no row, while they fit."""
    began, longest = time.monotonic(), 0.0
    names = [_PART.value] if _PART.value else list(PARTS)
    if jax.default_backend() == "cpu" and not _TINY.value:
        raise InputError("JAX sees no accelerator: install it with pip install -e '.[cuda]', or test the script with --tiny")
    if unknown := set(_BASELINES.value) - {"torch", "flax"}:
        raise InputError(f"--baselines={','.join(sorted(unknown))} must be some of torch, flax")
    if "benchmark" in names and "torch" in _BASELINES.value and importlib.util.find_spec("torch") is None:
        raise InputError("--baselines=torch: PyTorch is not installed; install the extra `bench`, or give --baselines=flax")
    common = {"tiny": _TINY.value, "device": hardware()}
    jobs = [Job({"part": name, **common, **job.fields}, job.make) for name in names for job in PARTS[name]()]
    missing = [job for job in jobs if not find_row(path, job.fields)]
    for number, job in enumerate(missing):
        if number and time.monotonic() - began + longest > 60 * _MINUTES.value:
            print(f"{len(jobs) - len(missing) + number} of {len(jobs)} rows are there; rerun the same command for the rest")
            return
        job_began = time.monotonic()
        append_row(path, job.fields | {"row": job.make()})
        longest = max(longest, time.monotonic() - job_began)
    print(f"all {len(jobs)} rows of {', '.join(names)} are there")


def main() -> None:
    # PyTorch and the scripts that are started here share the device's memory, of which JAX alone would take three quarters.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if not _TINY.value:
        jax.config.update("jax_enable_compilation_cache", False)  # the seconds until a first step are those of compiling
    path = Path(_RESULTS.value) / "accelerator.jsonl"
    if not _REDRAW.value:
        run(path)
    rows = read_jsonl(path)
    if not rows:
        raise InputError(f"{path} has no rows to draw; leave out --redraw")
    with name_rows_in_errors(path):
        text = make_page(rows)
    write_atomic(path.with_suffix(".md"), lambda file: file.write_text(text))
    print(path.with_suffix(".md"))


if __name__ == "__main__":
    cli.run(main, stopped=cli.KEEPS_ROWS)
