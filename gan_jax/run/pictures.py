"""The pictures of a run: its samples over time, real examples beside them, and, from its files, curves and an animation."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan_jax.data import Dataset, is_image_dataset, to_float, to_uint8
from gan_jax.evaluation.metrics import mean_pairwise_distance
from gan_jax.files import read_jsonl
from gan_jax.objectives import OBJECTIVES
from gan_jax.run.animation import save_animation
from gan_jax.run.curves import draw_curves
from gan_jax.run.plots import save_figure, save_real, save_samples
from gan_jax.sampling import grid_labels, sample_grid
from gan_jax.state import GAN, TrainState, run_keys

_MAX_BATCHES = 64  # that are searched for a label


class Pictures:
    """Save the pictures of a run in its workdir: of the same latents throughout, with the average of G where there is one."""

    def __init__(self, gan: GAN, config: ConfigDict, workdir: Path, dataset: Dataset):
        self._gan, self._seed, self._num, self._name = gan, config.seed, config.num_samples, config.data.name
        self._workdir, self._dataset = workdir, dataset
        # As many examples as a batch has: each of several processes draws its own part of one.
        parts = [np.asarray(dataset.batches(config.seed, step).images)[0] for step in range(jax.process_count())]
        self._real_distance = _mean_distance(np.concatenate(parts))

    def path_of(self, step: int) -> Path:
        """Return where the samples of a step are."""
        return self._workdir / "samples" / f"{step:08d}.png"

    @property
    def real_path(self) -> Path:
        """Where the real examples are."""
        return self._workdir / "real.png"

    def drop_after(self, step: int) -> None:
        """Remove the samples of later steps: a process before this one has left them, perhaps under another config."""
        for path in find_frames(self._workdir / "samples"):
            if int(path.stem) > step:
                path.unlink()

    def save_samples(self, state: TrainState, step: int) -> dict[str, float]:
        """Save the samples of a step; return their mean distance as a fraction of the data's, where there are two."""
        samples, labels, columns = sample_grid(self._gan, state, run_keys(self._seed).sample, self._num)
        save_samples(self._gan, state, samples, self.path_of(step), dataset_name=self._name, labels=labels, columns=columns)
        distance = _mean_distance(to_float(samples) if self._gan.is_image else samples)
        return {"samples/diversity": distance / self._real_distance} if self._real_distance and len(samples) > 1 else {}

    def save_real(self) -> None:
        """Save as many real examples, of the same labels in the same places."""
        labels, columns = grid_labels(self._gan, self._num)
        examples = real_examples(self._dataset, self._seed, self._num if labels is None else len(labels), labels)
        save_real(examples, self.real_path, dataset_name=self._name, labels=labels, columns=columns)


def real_examples(dataset: Dataset, seed: int, num: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Return the first num examples of the run with this seed, or the first of each of num labels, int `[num]`.

    Images are uint8 `[num, H, W, C]`, white where the first batches have none of that label; points are float32 `[num, D]`.
    """
    wanted = np.zeros(num, np.int32) if labels is None else labels
    places = {int(label): list(np.flatnonzero(wanted == label)) for label in np.unique(wanted)}
    examples = np.ones((num, *dataset.sample_shape), np.float32)
    for step in range(max(num, _MAX_BATCHES)):
        batch = dataset.batches(seed, step)
        drawn = np.asarray(batch.images[0])
        of_drawn = np.zeros(len(drawn), np.int32) if labels is None else np.asarray(batch.labels)[0]
        for example, label in zip(drawn, of_drawn, strict=True):
            if left := places.get(int(label)):
                examples[left.pop(0)] = example
        if not any(places.values()):
            break
    return np.asarray(to_uint8(jnp.asarray(examples))) if len(dataset.sample_shape) == 3 else examples


def _mean_distance(examples: np.ndarray) -> float:
    return mean_pairwise_distance(examples.reshape(len(examples), -1)) if len(examples) > 1 else 0.0


def save_run_plots(workdir: Path) -> list[Path]:
    """Save curves and animation from the files of a run; return the paths of the newest pictures."""
    frames, rows = find_frames(workdir / "samples"), read_jsonl(workdir / "metrics.jsonl", of_steps=True)
    config, pictures = json.loads((workdir / "config.json").read_text()), frames[-1:]
    if any({"loss/disc", "loss/gen"} <= row.keys() for row in rows):
        save_figure(draw_curves(rows, OBJECTIVES.get(config["objective"])), workdir / "curves.png")
        pictures.append(workdir / "curves.png")
    if frames and save_animation(frames, workdir / "training.gif", captions=_captions(frames, config["data"]["name"])):
        pictures.append(workdir / "training.gif")
    return pictures


def _captions(frames: list[Path], dataset_name: str) -> list[str]:
    """Return the steps of frames; pictures of points have them as their titles."""
    return [f"step {int(frame.stem)}" for frame in frames] if is_image_dataset(dataset_name) else []


def find_frames(folder: Path) -> list[Path]:
    """Find the pictures that a run has saved, by step; other files there, and what a link leads to, are the user's."""
    if folder.is_symlink():
        return []
    frames = [path for path in folder.glob("*.png") if re.fullmatch(r"\d{8,}", path.stem)]
    return sorted(frames, key=lambda path: int(path.stem))
