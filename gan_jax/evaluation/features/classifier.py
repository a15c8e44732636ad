"""A small classifier of a dataset's own labels: features for distances, and class probabilities of samples.

Its numbers compare runs on one dataset with one classifier; they are neither FID nor Inception Score.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from tqdm import tqdm

from gan_jax.cached import cache_dir, load_arrays, save_arrays
from gan_jax.data import Images, to_float
from gan_jax.errors import InputError
from gan_jax.evaluation.features.extractor import Extractor
from gan_jax.evaluation.images import hold_out
from gan_jax.files import sha256_of
from gan_jax.networks.conv import Conv

RECIPE = {"width": 16, "dimensions": 64, "steps": 3000, "batch_size": 64, "learning_rate": 3e-3, "shift": 2, "seed": 0}
"""How it is trained; part of its name in the cache. shift: pixels by which a batch is moved at random."""

_BATCH_SIZE = 256  # of extraction, whose chunks are as large: no batch is mostly padding


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


def has_classes(labels: Any) -> bool:
    """Whether there are labels to learn from: at least two classes, of 20 images each on average."""
    return labels is not None and 2 <= len(np.unique(labels)) <= len(labels) // 20


def make_classifier(images: Any, labels: Any, *, test: Images | None = None, recipe: Mapping[str, Any] = RECIPE) -> Extractor:
    """Make the classifier of images uint8 `[N, H, W, C]` and labels int `[N]`, trained on what `hold_out` does not hold out.

    test: images and labels that are held out instead; then it is trained on all the others. Its features are those of its last
    hidden layer; class k is the k-th label in ascending order. The weights are kept in the user's cache, by images, labels and
    recipe.

    Raises:
        InputError: labels that a classifier cannot learn from.
    """
    if not has_classes(labels):
        raise InputError(
            "features=classifier: the dataset must have labels, of 2 classes or more with 20 images each; "
            "use features=pixels or inception"
        )
    images, labels = np.asarray(images), np.asarray(labels)
    classes, targets = np.unique(labels, return_inverse=True)
    network = _Network(len(classes), recipe["width"], recipe["dimensions"])
    whole = () if test is None else ("all are learned from",)
    path = cache_dir() / "classifiers" / f"{sha256_of(json.dumps(recipe, sort_keys=True), images, labels, *whole)}.arrays"
    learned, (judged, known) = _divide(images, labels, test)
    variables = _read(path, jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *images.shape[1:]))))
    is_new = variables is None
    if is_new:
        print(f"training a classifier of {len(classes)} classes on {len(learned)} images, once: a minute or less", flush=True)
        with _in_float32():
            variables = jax.device_get(_train(network, images, targets, learned, recipe))
        save_arrays(path, _by_name(variables))
    kernel, bias = (variables["params"]["head"][name].astype(np.float64) for name in ("kernel", "bias"))

    def extract(images: np.ndarray) -> np.ndarray:
        padded = np.concatenate([images, np.zeros((_BATCH_SIZE - len(images), *images.shape[1:]), np.uint8)])
        with _in_float32():
            return np.asarray(_apply(network, variables, padded))[: len(images)]

    def probabilities(features: np.ndarray) -> np.ndarray:
        logits = features.astype(np.float64) @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    batches = [judged[start : start + _BATCH_SIZE] for start in range(0, len(judged), _BATCH_SIZE)]
    predicted = np.concatenate([probabilities(extract(batch)).argmax(axis=1) for batch in batches])
    accuracy = float(np.mean(classes[predicted] == known))
    if is_new:
        print(f"the classifier is right on {accuracy:.1%} of {len(judged)} held-out images", flush=True)
    return Extractor(
        name="classifier",
        extract=extract,
        dimensions=recipe["dimensions"],
        batch_size=_BATCH_SIZE,
        digest=sha256_of(variables),
        preparation="as they are, scaled to [-1, 1]",
        probabilities=probabilities,
        accuracy=accuracy,
    )


def _in_float32() -> AbstractContextManager[Any]:
    """Within it, products have all bits, as they do on a CPU anyway; by default ten of them on a GPU, seven on a TPU."""
    return nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest")


def _divide(images: np.ndarray, labels: np.ndarray, test: Images | None) -> tuple[np.ndarray, Images]:
    """Return the indices of the images to learn from, and the images and labels that are held out."""
    if test is not None:
        return np.arange(len(images)), test
    learned, held_out = hold_out(len(images))
    return learned, (images[held_out], labels[held_out])


@partial(jax.jit, static_argnums=0)
def _apply(network: _Network, variables: Any, images: jax.Array) -> Any:
    return network.apply(variables, to_float(images))[0]


def _train(network: _Network, images: np.ndarray, targets: np.ndarray, learned: np.ndarray, recipe: Mapping[str, Any]) -> Any:
    """Minimise the cross-entropy by Adam on a cosine schedule; every batch is moved by up to `shift` pixels each way.

    learned: the indices of the images to learn from, which are read by the batch: a mapped file can be larger than memory.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(recipe["learning_rate"], recipe["steps"]))
    variables = network.init(jax.random.key(recipe["seed"]), jnp.zeros((1, *images.shape[1:])))

    def loss(variables: Any, images: jax.Array, targets: jax.Array) -> jax.Array:
        _, logits = network.apply(variables, to_float(images))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))

    @jax.jit
    def update(variables: Any, opt_state: Any, images: jax.Array, targets: jax.Array) -> Any:
        updates, opt_state = optimizer.update(jax.grad(loss)(variables, images, targets), opt_state)
        return optax.apply_updates(variables, updates), opt_state

    opt_state = optimizer.init(variables)
    rng = np.random.default_rng(recipe["seed"])
    for _ in tqdm(range(recipe["steps"]), desc="the classifier", unit="step", disable=None, leave=False):
        chosen = learned[rng.integers(0, len(learned), recipe["batch_size"])]
        shift = rng.integers(-recipe["shift"], recipe["shift"] + 1, 2)
        moved = np.roll(images[chosen], shift, axis=(1, 2))
        variables, opt_state = update(variables, opt_state, moved, targets[chosen])
    return variables


def _by_name(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _read(path: Path, template: Any) -> Any:
    """Read the variables of that structure, shapes and dtypes from the cache; None where they are absent or damaged."""
    expected = {name: (leaf.dtype, leaf.shape) for name, leaf in _by_name(template).items()}
    arrays = load_arrays(path, expected)
    return None if arrays is None else jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in expected])
