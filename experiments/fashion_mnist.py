"""How good is DCGAN on Fashion-MNIST with the two losses of 2014, beside the published numbers?

Lucic et al. 2018 (arXiv 1711.10337, table 2): 20 epochs of Fashion-MNIST, 10,000 samples against the 10,000 test images, FID of
29.6 ± 1.6 for the true minimax loss and 26.5 ± 1.6 for the non-saturating one, the best of a wide search with networks of
InfoGAN's size. Here: configs/fashion_mnist.py as it is, no search; several seeds, none left out; best and final step; and, as
the real-vs-real baseline, the distance of 10,000 training images.

Command: python experiments/fashion_mnist.py --epochs=20 --seeds=5 --num=10000 --width=64
FID needs `make inception`, and on 2 cores ten minutes or more for each 10,000 images; --features=classifier takes seconds, and
is no FID. Writes a run for each loss and seed below --runs, and fashion_mnist.jsonl, .md and .png in --results.
Resumable: a run resumes from its checkpoint, and a step that has its row is not evaluated again.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from configs import fashion_mnist
from gan_jax.errors import InputError
from gan_jax.evaluation.comparison import Reference, evaluate, make_reference
from gan_jax.evaluation.features import EXTRACTORS
from gan_jax.evaluation.images import GeneratedImages, real_images
from gan_jax.evaluation.results import append_row, find_row, markdown, name_rows_in_errors, plus_minus
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.run import cli, plots
from gan_jax.run.config import flatten, load_configured_images, resolve
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run
from gan_jax.sampling import sample

_EPOCHS = flags.DEFINE_integer("epochs", 20, "Epochs of each run.", lower_bound=1)
_OBJECTIVES = flags.DEFINE_multi_enum("objective", ["minimax", "non_saturating"], ["minimax", "non_saturating"], "Losses.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Runs of each loss.", lower_bound=1)
_NUM = flags.DEFINE_integer("num", 10_000, "Samples, and as many test images.", lower_bound=2)
_WIDTH = flags.DEFINE_integer("width", 64, "Channels next to the image.", lower_bound=1)
_FEATURES = flags.DEFINE_enum("features", "inception", list(EXTRACTORS), "Features that the metrics compare.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of TFDS datasets.")
_RUNS = flags.DEFINE_string("runs", "runs/fashion_mnist_losses", "Folder of the runs.")
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder of the rows, the page and the picture.")

PUBLISHED = {"minimax": "29.6 ± 1.6", "non_saturating": "26.5 ± 1.6"}
METRICS = ("frechet", "kid", "prdc")


def make_config(objective: str, seed: int) -> ConfigDict:
    """Make the config of one run."""
    config = fashion_mnist.get_config()
    config.objective, config.seed, config.data.dir = objective, seed, _DATA_DIR.value
    config.network.dcgan.base_width = _WIDTH.value
    epoch = len(load_configured_images(config)[0]) // config.batch_size
    config.num_steps = _EPOCHS.value * epoch
    config.checkpoint_every = epoch
    return config


def settings() -> dict[str, Any]:
    """Return the fields that the rows of one table share."""
    return {"epochs": _EPOCHS.value, "width": _WIDTH.value, "num": _NUM.value}


def evaluate_step(objective: str, seed: int, which: str, reference: Reference, path: Path) -> None:
    """Add the row of a run's "final" or "best" step to the file, unless it is there; train the run where that is needed."""
    config = make_config(objective, seed)
    entries = {key: entry for key, entry in flatten(resolve(config)).items() if key not in ("data.dir", "data.workers")}
    fields = {"objective": objective, "seed": seed, **settings(), "features": reference.extractor.name, "config": entries}
    if find_row(path, fields | {"which": which}):
        return
    workdir = Path(_RUNS.value) / f"{objective}-{seed}"
    train(config, workdir)
    _, gan, state = restore_run(workdir, which)
    if which == "final" and int(state.step) != config.num_steps:
        raise InputError(f"{workdir}: the run has {int(state.step)} steps, not {config.num_steps}; give another --runs")
    fields["step"] = int(state.step)
    if row := find_row(path, fields | {"which": "final"}):  # the last step is the best
        append_row(path, row | {"which": which})
        return
    source = GeneratedImages(gan, state, 0, _NUM.value, ema=False)
    fields |= {"which": which, "weights": "raw", "batch_norm": "running statistics"}
    append_row(path, fields | evaluate(reference, [source], f"{workdir.name}, step {int(state.step)} ({which})"))


def evaluate_training_images(images: Any, reference: Reference, path: Path) -> None:
    """Add the row of the real-vs-real baseline to the file, unless it is there."""
    fields = {"samples": "train", "num": _NUM.value, "features": reference.extractor.name}
    if not find_row(path, fields | {"weights_sha256": reference.extractor.digest}):
        append_row(path, evaluate(reference, [real_images(images, at_most=_NUM.value)], "train"))


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tabulate rows of one kind of features, mean ± SE over seeds, beside published FIDs, which are compared with FID only."""
    distance, *_ = rows[0]["mean"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(f"{row['objective']}, {row['which']} step" if "which" in row else "training images", []).append(row)
    lines = []
    for kind, members in kinds.items():
        numbers = {key: plus_minus([row["mean"][key] for row in members]) for key in (distance, "precision", "recall")}
        published = PUBLISHED.get(members[0].get("objective", ""), "") if distance == "fid" else ""
        lines.append({"samples": kind, "runs": str(len(members)), **numbers, "FID, Lucic et al. 2018": published})
    return lines


def make_page(rows: list[dict[str, Any]]) -> str:
    """Make the page: a table for each kind of features, and what they have in common."""
    by_features: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_features.setdefault(f"{row['features']} ({row['preparation']})", []).append(row)
    tables = "\n\n".join(f"Features: {name}.\n\n{markdown(table(members))}" for name, members in by_features.items())
    return f"""# DCGAN on Fashion-MNIST, the two losses of 2014

{_NUM.value} samples against as many test images; {_EPOCHS.value} epochs, width {_WIDTH.value}, raw weights, running
statistics in batch norm; mean ± SE over seeds. The best step is that with the lowest classifier Fréchet distance to training
images, evaluated every 1000 steps. Images, ours and the real ones, are 28 × 28 in a black border of 2. The published numbers
are the best of a wide search, of other networks, by 10,000 samples; fewer make FID larger.
Rows: [fashion_mnist.jsonl](fashion_mnist.jsonl), by `experiments/fashion_mnist.py`.

{tables}

![Samples of {", ".join(_OBJECTIVES.value)} from left to right, first seed, final step](fashion_mnist.png)
"""


def write_page(path: Path) -> str:
    """Write fashion_mnist.md beside the rows, of those that share epochs, width and number."""
    rows = [row for row in read_jsonl(path) if settings().items() <= row.items() or row.get("samples") == "train"]
    with name_rows_in_errors(path):
        text = make_page([row for row in rows if row["num"] == _NUM.value])
    write_atomic(path.with_suffix(".md"), partial(Path.write_text, data=text))
    return text


def save_picture(path: Path) -> None:
    """Save 64 samples of each loss, first seed, final step, side by side."""
    grids = []
    for objective in _OBJECTIVES.value:
        _, gan, state = restore_run(Path(_RUNS.value) / f"{objective}-0")
        grids.append(sample(gan, state, jax.random.key(0), 64).reshape(8, 8, *gan.sample_shape))
    plots.save_grid(np.concatenate(grids, axis=1).reshape(-1, *gan.sample_shape), path, columns=8 * len(grids))


def main() -> None:
    results = Path(_RESULTS.value)
    path = results / "fashion_mnist.jsonl"
    config = make_config(_OBJECTIVES.value[0], 0)
    images, labels = load_configured_images(config)
    extractor = EXTRACTORS[_FEATURES.value](images, labels)
    test = load_configured_images(config, "test")[0]
    if _NUM.value > len(test):
        raise InputError(f"--num={_NUM.value}: must be at most {len(test)}, the number of test images")
    reference = make_reference(METRICS, extractor, real_images(test, at_most=_NUM.value), f"{config.data.name} test")
    for which in ("final", "best"):  # Inception is slow: the final steps, of most interest, come first
        for seed in range(_SEEDS.value):
            for objective in _OBJECTIVES.value:
                evaluate_step(objective, seed, which, reference, path)
                write_page(path)
        evaluate_training_images(images, reference, path)
    save_picture(results / "fashion_mnist.png")
    print(write_page(path))


if __name__ == "__main__":
    cli.run(main)
