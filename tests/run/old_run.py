"""Small runs: two whose checkpoints are committed below old_runs/, of images and of points, and one whose config is edited.

When the format of runs changes, add one of that day: PYTHONPATH=.:tests python tests/run/old_run.py tests/run/old_runs/VERSION
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from small import small_config

import gan_jax
from gan_jax.evaluation.comparison import evaluate, make_reference
from gan_jax.evaluation.features import make_pixels
from gan_jax.evaluation.images import GeneratedImages, real_images
from gan_jax.evaluation.metrics import mode_statistics
from gan_jax.run.evaluated import load_trained_on, restore_weights
from gan_jax.run.loop import train
from gan_jax.run.records import digest
from gan_jax.run.restore import restore_run, trust

ENTRIES = {
    "images": {"ema_decay": 0.9, "network.dcgan.base_width": 2},
    "points": {"data.name": "ring", "network.name": "mlp", "network.mlp.hidden": (8,)},
}
ENTRIES["points"] |= {"objective": "relativistic", "optimizer.final_b2": 0.9, "schedule.images": 64, "optimizer.b1": 0.0}
LARGE = {"optimizer.learning_rate": 0.03}  # so that few steps leave samples that differ
STEPS = 20
NUM = 100
MLP = {"network.name": "mlp", "network.mlp.hidden": (4,)}


def measure(workdir: Path) -> dict:
    """Sample and evaluate a run, as sample.py and evaluate.py do: a list of samples, and metrics by the name of the weights."""
    _, gan, state = restore_run(workdir)
    samples = gan_jax.sample(gan, state, gan_jax.run_keys(0).sample, 4)
    config = trust(restore_run(workdir)[0])
    metrics = {}
    for name, _, gan, state, ema in restore_weights(str(workdir)):
        if gan.is_image:
            real = real_images(load_trained_on(config).images, at_most=2 * NUM)
            reference = make_reference(["frechet"], make_pixels(gan.sample_shape), real, "digits")
            metrics[name] = evaluate(reference, [GeneratedImages(gan, state, 0, NUM, ema=ema)], name)["mean"]
        else:
            density = gan_jax.make_dataset(config.data.name, batch_size=1).density
            points = gan_jax.sample(gan, state, gan_jax.run_keys(1).sample, NUM, ema=ema)
            metrics[name] = {"js": float(mode_statistics(points, density.means, density.stddev).js)}
    return {"step": int(state.step), "samples": np.asarray(samples).tolist(), "metrics": metrics}


def make(folder: Path) -> None:
    """Train the runs, and keep of each what a test reads: its config, its checkpoint, and what it measures."""
    for name, entries in ENTRIES.items():
        workdir = folder / name
        train(small_config(num_steps=STEPS, keep_checkpoints=1, **LARGE, **entries), workdir)
        (workdir / "expected.json").write_text(json.dumps(measure(workdir)) + "\n")
        for path in workdir.iterdir():
            if path.name not in ("config.json", "checkpoints", "expected.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in workdir.rglob("commit_success.txt"):
            path.write_text("committed\n")  # Orbax names a folder of this machine in it


def train_four_steps(workdir: Path) -> ConfigDict:
    """Train a run of an MLP with an average; return its config."""
    config = small_config(num_steps=4, checkpoint_every=4, log_every=2, ema_decay=0.5, **MLP)
    train(config, workdir)
    return config


def edit(workdir: Path, change: Callable[[dict], object]) -> None:
    """Change the config of a run as it was saved: in its record, with its own digest, and in config.json."""
    for path in workdir.glob("checkpoints/*/record/metadata"):
        record = json.loads(path.read_text())
        del record["sha256"]
        change(record["config"])
        path.write_text(json.dumps(record | {"sha256": digest(record)}))
    config = json.loads((workdir / "config.json").read_text())
    change(config)
    (workdir / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
