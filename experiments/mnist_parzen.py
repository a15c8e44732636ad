"""How likely are unseen digits under a Parzen window on samples, the metric that the paper of 2014 reported?

Goodfellow et al. 2014, table 1, have 225 ± 2 nats on MNIST (DBN 138, stacked CAE 121, deep GSN 214), from 10,000 samples, with
σ chosen on 1,000 validation images, pixels in [0, 1] and the SE over the test images. The protocol here is the paper's, but the
data are not: of the 5,000 embedded digits 3,000 are for training, 1,000 to choose σ, and 1,000 for testing. A DCGAN replaces
the paper's dense networks. The metric is a poor guide to quality (Theis et al. 2016), so the page also has it for the 3,000
training digits themselves.

Command: python experiments/mnist_parzen.py --steps=5000 --seeds=1      2 minutes for each seed on 2 cores
Writes runs below --runs, rows in mnist_parzen.jsonl and the page mnist_parzen.md in --results. Resumable: a row that exists is
not made again.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from configs import mnist_dcgan
from gan_jax.data import Transform, load_images
from gan_jax.errors import InputError
from gan_jax.evaluation.images import hold_out
from gan_jax.evaluation.metrics import parzen_log_likelihood
from gan_jax.evaluation.results import append_row, find_row, markdown, plus_minus
from gan_jax.files import write_atomic, write_atomic_bytes
from gan_jax.run import cli
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run
from gan_jax.sampling import sample

_STEPS = flags.DEFINE_integer("steps", 5000, "Training steps of each run.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Number of runs, with seeds 0, 1, ….", lower_bound=1)
_NUM = flags.DEFINE_integer("num", 10_000, "Samples of each run.", lower_bound=2)
_WIDTH = flags.DEFINE_integer("width", 32, "Channels of both networks next to the image.", lower_bound=1)
_RUNS = flags.DEFINE_string("runs", "runs/mnist_parzen", "Folder for the runs.")
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder for the rows and the page.")

_SIZE, _BORDER = 32, 2  # digits are 28 × 28 in a border of 2


def flatten_pixels(images: np.ndarray) -> np.ndarray:
    """uint8 `[N, 32, 32, 1]` -> pixels in [0, 1] `[N, 784]`, without the border."""
    inner = images[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
    return inner.reshape(len(images), -1) / 255.0


def train_and_sample(digits: np.ndarray, seed: int) -> np.ndarray:
    """Train a GAN on these digits and return its samples uint8 `[num, 32, 32, 1]`."""
    path = Path(_RUNS.value) / "digits.npy"
    write_atomic_bytes(path, lambda file: np.save(file, digits))
    config = mnist_dcgan.get_config()
    config.data.name, config.seed, config.num_steps = f"numpy:{path}", seed, _STEPS.value
    config.network.dcgan.base_width = _WIDTH.value
    config.eval_every = 0  # the final step is evaluated: there is none to choose
    workdir = Path(_RUNS.value) / f"seed-{seed}"
    train(config, workdir)
    _, gan, state = restore_run(workdir)
    if int(state.step) != config.num_steps:
        raise InputError(f"{workdir}: the run has {int(state.step)} steps, not {config.num_steps}; give another --runs")
    return sample(gan, state, jax.random.key(0), _NUM.value)


def make_page(rows: dict[str, dict[str, Any]]) -> str:
    """Make the page of rows by name; the row of the training digits comes first."""
    lines = [
        {"samples": name, "number": str(row["num"]), "σ": f"{row['bandwidth']:.3g}"}
        | {"nats": f"{row['log_likelihood']:.1f} ± {row['standard_error']:.1f}"}
        for name, row in rows.items()
    ]
    of_seeds = [row["log_likelihood"] for row in list(rows.values())[1:]]
    over_seeds = f" The mean over training seeds is {plus_minus(of_seeds)} (SE) nats." if len(of_seeds) > 1 else ""
    return f"""# Parzen windows on the embedded digits

The GAN is configs/mnist_dcgan.py at width {_WIDTH.value}, after {_STEPS.value:,} steps, with EMA weights. Of the 5,000 digits,
3,000 are for training, 1,000 for choosing σ and 1,000 for testing. ± is the SE over the test digits, as in the paper, whose
225 ± 2 nats are on MNIST itself and cannot be compared with these.{over_seeds}

Rows: [mnist_parzen.jsonl](mnist_parzen.jsonl), by `experiments/mnist_parzen.py`.

{markdown(lines)}
"""


def main() -> None:
    results = Path(_RESULTS.value)
    path = results / "mnist_parzen.jsonl"
    digits, _ = load_images("mnist5k", Transform(_SIZE, 1))
    learned, held_out = hold_out(len(digits))
    training = digits[learned]
    validation, test = np.split(flatten_pixels(digits[held_out]), 2)
    split = {"train": len(training), "validation": len(validation), "test": len(test)}
    rows = {}
    for seed in (None, *range(_SEEDS.value)):
        fields: dict[str, Any] = {"samples": "training digits", "num": len(training)}
        if seed is not None:
            fields = {"samples": f"DCGAN, seed {seed}", "steps": _STEPS.value, "width": _WIDTH.value, "num": _NUM.value}
        row = find_row(path, fields)
        if row is None:
            samples = training if seed is None else train_and_sample(training, seed)
            likelihood = parzen_log_likelihood(flatten_pixels(samples), validation, test)
            row = fields | {"split": split, "which": "final", **likelihood._asdict()}
            append_row(path, row)
        rows[fields["samples"]] = row
    text = make_page(rows)
    write_atomic(results / "mnist_parzen.md", lambda file: file.write_text(text))
    print(text)


if __name__ == "__main__":
    cli.run(main, stopped=cli.KEEPS_ROWS)
