"""What do logging, pictures and checkpoints cost a run?

It times `train()` and the bare step on the same data, interleaved (bare, run, bare, run, …, bare). The time of a run starts
when its compilation ends, and includes everything that the loop does, at the intervals of the config.

Command: python experiments/benchmark_loop.py --config=gan_jax/configs/default.py --out=rows.jsonl
Expect: 0.95 or more of the bare step's steps per second; about 5 minutes on 2 cores.
"""

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict

from gan_jax.configs import default
from gan_jax.evaluation.results import append_row, hardware
from gan_jax.files import read_jsonl
from gan_jax.parallel import make_step
from gan_jax.run import cli
from gan_jax.run.config import check_config, make_configured_dataset, make_gan, resolve
from gan_jax.run.loop import train
from gan_jax.state import create_state

_CONFIG = cli.define_config(default.__file__)
_STEPS = flags.DEFINE_integer("steps", 500, "Steps of each run; a bare timing has half as many.", lower_bound=2)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Number of runs.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "File of JSON lines that the row is appended to.")


def time_run(config: ConfigDict) -> float:
    """Steps per second of a run in a folder of its own, its first step left out."""
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder))
        (row,) = read_jsonl(Path(folder) / "runs.jsonl")
    return (row["to_step"] - 1) / (row["seconds"] - row["compile_seconds"])


def main() -> None:
    config = ConfigDict(_CONFIG.value.to_dict())
    config.num_steps, config.steps_per_call = _STEPS.value, "1"
    check_config(config)
    gan = make_gan(config)
    with closing(make_configured_dataset(config)) as dataset:
        step_fn = make_step(gan, dataset, config.seed)
        state, step = create_state(gan, jax.random.key(config.seed)), 0

        def time_bare(steps: int) -> float:
            nonlocal state, step
            jax.block_until_ready(state)
            began = time.perf_counter()
            for _ in range(steps):
                state, _ = step_fn(state, step)
                step += 1
            jax.block_until_ready(state)
            return steps / (time.perf_counter() - began)

        time_bare(2)
        bare, runs = [time_bare(_STEPS.value // 2)], []
        for _ in range(_REPEATS.value):
            runs.append(time_run(config))
            bare.append(time_bare(_STEPS.value // 2))
    # Each run between the two bare timings that surround it.
    shares = [2 * run / (before + after) for run, before, after in zip(runs, bare, bare[1:], strict=False)]
    print(f"bare step {statistics.median(bare):.2f} steps/s, run {statistics.median(runs):.2f} steps/s; {hardware()}")
    print(f"run / bare, one by one: median {statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})")
    if _OUT.value:
        rates = {"bare": bare, "run": runs}
        append_row(_OUT.value, {"benchmark": "loop", "share": shares, "steps_per_second": rates, "config": resolve(config)})


if __name__ == "__main__":
    cli.run(main)
