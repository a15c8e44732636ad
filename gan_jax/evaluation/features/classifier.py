"""A small classifier of a set's own labels: features for "classifier Fréchet distances", and the classes of samples.

Its numbers are its own: they compare runs on one set with one classifier, and are no FID and no Inception Score.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from gan_jax.errors import InputError
from gan_jax.evaluation.features.extractor import Features
from gan_jax.files import cache_dir, sha256_of, write_to_cache
from gan_jax.networks.conv import Conv

RECIPE = {"width": 16, "dimensions": 64, "steps": 3000, "batch_size": 64, "learning_rate": 3e-3, "shift": 2, "seed": 0}
"""How it is trained: part of its name in the cache. shift: pixels by which a batch is moved at random."""

MAX_HELD_OUT = 2000
_BATCH_SIZE = 250  # of extraction


class _Network(nn.Module):
    """Images `[B, H, W, C]` in [-1, 1] -> features `[B, dimensions]`, logits `[B, classes]`; halved down to about 4 × 4."""

    classes: int
    width: int
    dimensions: int

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, width = images, self.width
        while min(x.shape[1:3]) > 4:
            x = nn.relu(Conv(width, kernel_init=nn.initializers.he_normal())(x))
            width *= 2
        features = nn.relu(nn.Dense(self.dimensions)(x.reshape(len(x), -1)))
        return features, nn.Dense(self.classes, name="head")(features)


@dataclass(frozen=True)
class Classifier(Features):
    """Features of its last hidden layer. accuracy: on num_held_out images that it did not learn from.

    head: weights `[D, K]` and biases `[K]` from features to logits; classes `[K]`: the labels, in the order of the logits.
    """

    head: tuple[np.ndarray, np.ndarray]
    classes: np.ndarray
    accuracy: float
    num_held_out: int

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Features `[N, D]` -> p(class | image) float64 `[N, K]`."""
        logits = features.astype(np.float64) @ self.head[0] + self.head[1]
        logits -= logits.max(axis=1, keepdims=True)
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def hold_out(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of (learned, held out) of num images: of a fixed shuffle the last two fifths, at most 2,000, are held out."""
    order = np.random.default_rng(0).permutation(num)
    held_out = min(MAX_HELD_OUT, 2 * num // 5)
    return order[: num - held_out], order[num - held_out :]


def has_classes(labels: Any) -> bool:
    """Whether there are labels to learn from: at least two classes, of 20 images each on average."""
    return labels is not None and 2 <= len(np.unique(labels)) <= len(labels) // 20


def make_classifier(images: Any, labels: Any, *, recipe: Mapping[str, Any] = RECIPE) -> Classifier:
    """The classifier of images uint8 `[N, H, W, C]` and labels int `[N]`, trained on those that `hold_out` does not hold out.

    Kept in the user's cache, by images, labels and recipe. Training prints a line with its held-out accuracy.

    Raises:
        InputError: labels that no classifier can learn from.
    """
    if not has_classes(labels):
        raise InputError("features=classifier: needs labels of two classes or more, 20 images each; take pixels or inception")
    images, labels = np.asarray(images), np.asarray(labels)
    classes, targets = np.unique(labels, return_inverse=True)
    network = _Network(len(classes), recipe["width"], recipe["dimensions"])
    template = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *images.shape[1:])))
    path = cache_dir() / "classifiers" / f"{sha256_of(json.dumps(recipe, sort_keys=True), images, labels)}.npz"
    learned, held_out = hold_out(len(images))
    variables = _read(path, template)
    fresh = variables is None
    if fresh:
        print(f"training a classifier of {len(classes)} classes on {len(learned)} images, once: half a minute", flush=True)
        variables = jax.device_get(_train(network, images[learned], targets[learned], recipe))
        named = {jax.tree_util.keystr(name): leaf for name, leaf in jax.tree_util.tree_leaves_with_path(variables)}
        write_to_cache(path, lambda file: np.savez(file, **named))

    def apply(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        padded = np.concatenate([images, np.zeros((_BATCH_SIZE - len(images), *images.shape[1:]), np.uint8)])
        rows, logits = _apply(network, variables, padded)
        return np.asarray(rows)[: len(images)], np.asarray(logits)[: len(images)]

    found = [apply(images[held_out[start : start + _BATCH_SIZE]])[1] for start in range(0, len(held_out), _BATCH_SIZE)]
    accuracy = float(np.mean(np.concatenate(found).argmax(axis=1) == targets[held_out]))
    if fresh:
        print(
            f"the classifier is right on {100 * accuracy:.1f} % of {len(held_out)} others",
            flush=True,
        )
    head = variables["params"]["head"]
    return Classifier(
        name="classifier",
        extract=lambda images: apply(images)[0],
        dimensions=recipe["dimensions"],
        batch_size=_BATCH_SIZE,
        digest=sha256_of(variables),
        preparation="as they are, scaled to [-1, 1]",
        head=(head["kernel"].astype(np.float64), head["bias"].astype(np.float64)),
        classes=classes,
        accuracy=accuracy,
        num_held_out=len(held_out),
    )


def _scale(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / 127.5 - 1.0


@partial(jax.jit, static_argnums=0)
def _apply(network: _Network, variables: Any, images: jax.Array) -> Any:
    return network.apply(variables, _scale(images))


def _train(network: _Network, images: np.ndarray, targets: np.ndarray, recipe: Mapping[str, Any]) -> Any:
    """Cross-entropy by Adam on a cosine; every batch is moved by up to `shift` pixels each way."""
    optimizer = optax.adam(optax.cosine_decay_schedule(recipe["learning_rate"], recipe["steps"]))
    variables = network.init(jax.random.key(recipe["seed"]), jnp.zeros((1, *images.shape[1:])))

    def loss(variables: Any, images: jax.Array, targets: jax.Array) -> jax.Array:
        _, logits = network.apply(variables, _scale(images))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))

    @jax.jit
    def step(variables: Any, opt_state: Any, images: jax.Array, targets: jax.Array) -> Any:
        updates, opt_state = optimizer.update(jax.grad(loss)(variables, images, targets), opt_state)
        return optax.apply_updates(variables, updates), opt_state

    opt_state = optimizer.init(variables)
    rng = np.random.default_rng(recipe["seed"])
    for _ in range(recipe["steps"]):
        chosen = rng.integers(0, len(images), recipe["batch_size"])
        shift = rng.integers(-recipe["shift"], recipe["shift"] + 1, 2)
        moved = np.roll(images[chosen], shift, axis=(1, 2))
        variables, opt_state = step(variables, opt_state, moved, targets[chosen])
    return variables


def _read(path: Path, template: Any) -> Any:
    """The variables in a file of arrays by their names, or None where there are none, or other ones."""
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    try:
        with path.open("rb") as file, np.load(file) as cached:
            return jax.tree.unflatten(
                structure, [cached[jax.tree_util.keystr(name)].reshape(leaf.shape) for name, leaf in paths]
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
