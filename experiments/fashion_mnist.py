"""How near does DCGAN come to clothes with the two losses of 2014, beside the published numbers?

Lucic et al. 2018 (arXiv 1711.10337, table 2): 20 epochs of Fashion-MNIST, 10,000 samples against the 10,000 test images, FID of
29.6 ± 1.6 for the true minimax loss and 26.5 ± 1.6 for the non-saturating one, the best of a wide search with networks of
InfoGAN's size. Here: configs/fashion_mnist.py as it is, no search; several seeds, none left out; best and final step; and, as
the floor, the distance of 10,000 training images.

Command: python experiments/fashion_mnist.py --epochs=20 --seeds=5 --num=10000 --width=64
FID needs `make inception`, and on a CPU an hour for each 10,000 images; --features=classifier takes seconds, and is no FID.
Leaves a run for each loss and seed below --runs, and fashion_mnist.jsonl, .md and .png in --results.
Resumable: a run goes on from its checkpoint, one that has its row is not repeated.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from configs import fashion_mnist
from gan_jax import cli, plots
from gan_jax.config import load_configured_images
from gan_jax.errors import InputError, nearest
from gan_jax.evaluation import Reference, forget, generated_images, make_reference, real_images, score
from gan_jax.evidence import append_row, find_row, markdown, plus_minus
from gan_jax.features import FEATURES
from gan_jax.files import write_whole
from gan_jax.sampling import sample
from gan_jax.train import restore_run, restore_steps, train

_EPOCHS = flags.DEFINE_integer("epochs", 20, "Of each run.", lower_bound=1)
_OBJECTIVES = flags.DEFINE_multi_enum("objective", ["minimax", "non_saturating"], ["minimax", "non_saturating"], "Losses.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Runs of each loss.", lower_bound=1)
_NUM = flags.DEFINE_integer("num", 10_000, "Samples, and as many test images.", lower_bound=2)
_WIDTH = flags.DEFINE_integer("width", 64, "Channels next to the image.", lower_bound=1)
_FEATURES = flags.DEFINE_string("features", "inception", f"One of {', '.join(FEATURES)}.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS keeps its sets.")
_RUNS = flags.DEFINE_string("runs", "runs/fashion_mnist_losses", "Folder of the runs.")
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder of the rows, the page and the picture.")

PUBLISHED = {"minimax": "29.6 ± 1.6", "non_saturating": "26.5 ± 1.6"}
METRICS = ("frechet", "kid", "prdc")


def make_config(objective: str, seed: int) -> ConfigDict:
    """One run."""
    config = fashion_mnist.get_config()
    config.objective, config.seed, config.data.dir = objective, seed, _DATA_DIR.value
    config.network.dcgan.base_width = _WIDTH.value
    epoch = len(load_configured_images(config)[0]) // config.batch_size
    config.num_steps = _EPOCHS.value * epoch
    config.checkpoint_every = epoch
    return config


def settings() -> dict[str, Any]:
    """What the rows of one table share."""
    return {"epochs": _EPOCHS.value, "width": _WIDTH.value, "num": _NUM.value, "features": _FEATURES.value}


def measure_run(workdir: Path, reference: Reference, path: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Add the row of a run: scores of the final and, where there is one, the best step. Only then its features may go."""
    steps = restore_steps(workdir)
    sources = {which: generated_images(gan, state, 0, _NUM.value) for which, (gan, state) in steps.items()}
    row = dict(fields)
    for which, source in sources.items():
        step = int(steps[which][1].step)
        row[which] = {"step": step, **score(reference, [source], f"{workdir.name}, step {step} ({which})")}
    append_row(path, row)
    for source in sources.values():
        forget(source, reference.features)
    return row


def table(rows: list[dict[str, Any]], floor: dict[str, Any]) -> list[dict[str, Any]]:
    """Means over seeds ± SE beside what was published, which only FID can be compared to."""
    distance, *_ = floor["mean"]

    def line(samples: str, means: list[dict[str, float]], published: str = "") -> dict[str, Any]:
        numbers = {key: plus_minus([mean[key] for mean in means]) for key in (distance, "precision", "recall")}
        return {"samples": samples, "sets": str(len(means)), **numbers, "FID, Lucic et al. 2018": published}

    lines = [line("training images", [floor["mean"]])]
    for objective in _OBJECTIVES.value:
        for which in ("best", "final"):
            means = [row[which]["mean"] for row in rows if row["objective"] == objective and which in row]
            if means:
                lines.append(line(f"{objective}, {which} step", means, PUBLISHED[objective] if distance == "fid" else ""))
    return lines


def page(rows: list[dict[str, Any]], floor: dict[str, Any]) -> str:
    """fashion_mnist.md."""
    return f"""# DCGAN on Fashion-MNIST, the two losses of 2014

{floor["num"]} samples against {floor["num_real"]} test images; features: {floor["features"]} ({floor["preparation"]}).
{_EPOCHS.value} epochs, width {_WIDTH.value}, raw weights, running statistics in batch norm; mean ± SE over seeds.
Rows: [fashion_mnist.jsonl](fashion_mnist.jsonl), by `experiments/fashion_mnist.py`. The published numbers are the best of a
wide search, of other networks.

{markdown(table(rows, floor))}

![Samples of {", ".join(_OBJECTIVES.value)} from left to right, first seed, final step](fashion_mnist.png)
"""


def save_picture(path: Path) -> None:
    """64 samples of each loss, first seed, final step, side by side."""
    grids = []
    for objective in _OBJECTIVES.value:
        _, gan, state = restore_run(Path(_RUNS.value) / f"{objective}-0")
        grids.append(sample(gan, state, jax.random.key(0), 64).reshape(8, 8, *gan.sample_shape))
    plots.save_grid(np.concatenate(grids, axis=1).reshape(-1, *gan.sample_shape), path, columns=8 * len(grids))


def main() -> None:
    if _FEATURES.value not in FEATURES:
        raise InputError(f"--features={_FEATURES.value}: give one of {', '.join(FEATURES)}{nearest(_FEATURES.value, FEATURES)}")
    results = Path(_RESULTS.value)
    path = results / "fashion_mnist.jsonl"
    config = make_config(_OBJECTIVES.value[0], 0)
    images, labels = load_configured_images(config)
    features = FEATURES[_FEATURES.value](images, labels)
    test = real_images(load_configured_images(config, "test")[0]).first(_NUM.value)
    reference = make_reference(METRICS, features, test, f"{config.data.name} test")
    floor = find_row(path, {"samples": "train", **settings()})
    if floor is None:
        floor = settings() | score(reference, [real_images(images).first(_NUM.value)], "train")
        append_row(path, floor)
    rows = []
    for seed in range(_SEEDS.value):
        for objective in _OBJECTIVES.value:
            fields = {"objective": objective, "seed": seed, **settings()}
            if (row := find_row(path, fields)) is None:
                workdir = Path(_RUNS.value) / f"{objective}-{seed}"
                train(make_config(objective, seed), workdir)
                row = measure_run(workdir, reference, path, fields)
            rows.append(row)
    save_picture(results / "fashion_mnist.png")
    text = page(rows, floor)
    write_whole(results / "fashion_mnist.md", lambda file: file.write_text(text))
    print(markdown(table(rows, floor)))


if __name__ == "__main__":
    cli.run(main)
