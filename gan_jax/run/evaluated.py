"""What is evaluated of a run: its steps, each with both kinds of weights, and the images that it trains on."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from gan_jax.errors import InputError
from gan_jax.run.config import load_configured_images
from gan_jax.run.restore import restore_run
from gan_jax.state import GAN, TrainState


class Restored(NamedTuple):
    """A step of a run with one kind of weights: its name, the fields of its row, and what to sample with."""

    name: str
    fields: dict[str, Any]
    gan: GAN
    state: TrainState
    ema: bool


class TrainedOn(NamedTuple):
    """The images uint8 `[N, H, W, C]` that a config trains on, and their labels int32 `[N]` from 0 to K - 1, or None.

    names: what the dataset itself calls these K labels, ascending, or None.
    """

    images: Any
    labels: np.ndarray | None
    names: np.ndarray | None


def restore_weights(workdir: str) -> Iterator[Restored]:
    """Restore the best and the final step of a run, once where they are the same, each with EMA and raw weights."""
    steps = {"final": restore_run(workdir)[1:]}
    try:
        steps["best"] = restore_run(workdir, "best")[1:]
    except InputError as error:  # it was not evaluated while it trained
        print(f"no best step: {error}", flush=True)
    by_step = {int(state.step): (which, gan, state) for which, (gan, state) in steps.items()}
    for step, (which, gan, state) in by_step.items():
        which = which if len(by_step) == len(steps) else "best and final"
        for ema in (True, False) if state.ema is not None else (False,):
            fields = {"workdir": workdir, "step": step, "which": which, "weights": "EMA" if ema else "raw"}
            name = f"step {step} ({which}), {fields['weights']} weights"
            yield Restored(name, fields | {"batch_norm": "running statistics"}, gan, state, ema)


def load_trained_on(config: ConfigDict) -> TrainedOn:
    """Load what a config trains on.

    Raises:
        InputError: labels of another number of classes than the config's.
    """
    images, labels = load_configured_images(config)
    names, indices = (None, None) if labels is None else np.unique(labels, return_inverse=True)
    num_classes = 0 if names is None else len(names)
    if config.num_classes not in (0, num_classes):
        name = config.data.name
        allowed = f"0 or {num_classes}, the classes of {name}" if num_classes else f"0: images of {name} have no labels"
        raise InputError(f"config.num_classes={config.num_classes} must be {allowed}")
    return TrainedOn(images, None if indices is None else indices.astype(np.int32), names)


def baseline_split(split: str, trained_split: str) -> str:
    """Return the split of the real-vs-real baseline: the one trained on, test or train, the first without images of `split`.

    Both are in TFDS's syntax, such as train[:90%]+test.

    Raises:
        InputError: there is none.
    """
    for other in (trained_split, "test", "train"):
        ours, others = _split_names(split), _split_names(other)
        if ours.isdisjoint(others) and "all" not in ours | others:  # all is every split of the dataset
            return other
    raise InputError(f"--real: {split} leaves no split for the baseline: give --split=train or --split=test to compare with")


def _split_names(split: str) -> set[str]:
    return set(re.findall(r"[^\W\d]\w*", split))


def as_classes(labels: Any, names: np.ndarray) -> np.ndarray:
    """Map the labels `[N]` of another split to int `[N]` from 0 to K - 1; names: the K labels trained on, ascending.

    Raises:
        InputError: a label that is none of them.
    """
    indices = np.searchsorted(names, labels)
    unknown = names[np.minimum(indices, len(names) - 1)] != labels
    if unknown.any():
        raise InputError(f"label {np.asarray(labels)[unknown][0]}: must be one of the {len(names)} that the run trains on")
    return indices
