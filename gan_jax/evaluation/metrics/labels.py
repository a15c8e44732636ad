"""How well samples are of the classes that their labels ask for: by a classifier, and beside the real images of each class."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features
from gan_jax.evaluation.metrics.frechet import frechet_distance, moments
from gan_jax.evaluation.metrics.precision_recall import precision_recall
from gan_jax.evaluation.metrics.registry import metric


@metric("probabilities", at_least=1, uses_real=False, of_each_class=0)
def accuracy(fake: Any, labels: Any) -> dict[str, float]:
    """Share of the samples that the classifier takes for their label."""
    return {"accuracy": label_accuracy(fake, labels)}


@metric("features", at_least=2, reserved="class_fid", of_each_class=2)
def class_frechet(real: Any, fake: Any, real_labels: Any, fake_labels: Any) -> dict[str, float]:
    """Fréchet distance of the samples of a label and the real images of that class, mean over the classes.

    That is intra-FID with features=inception (Miyato and Koyama 2018, section 4).
    """
    return _with_mean("class_frechet", class_frechet_distances(real, fake, real_labels, fake_labels))


@metric("features", at_least=6, of_each_class=6)
def class_coverage(real: Any, fake: Any, real_labels: Any, fake_labels: Any) -> dict[str, float]:
    """Coverage of the real images of a class by the samples of that label, with 5 neighbours, mean over the classes."""
    return _with_mean("class_coverage", class_coverages(real, fake, real_labels, fake_labels))


def _with_mean(name: str, by_class: np.ndarray) -> dict[str, float]:
    return {name: float(by_class.mean()), **{f"{name}/{label}": float(number) for label, number in enumerate(by_class)}}


def label_accuracy(probabilities: Any, labels: Any) -> float:
    """Compute the share of p(class | sample) `[N, K]` whose largest entry is that of its label, int `[N]`, in [0, 1].

    Raises:
        InputError: labels that are not one of 0 to K - 1 for each row.
    """
    (probabilities,) = as_features(1, probabilities=probabilities)
    labels = _check_labels(labels, probabilities)
    if labels.max() >= probabilities.shape[1]:
        raise InputError(f"label {labels.max()}: must be one of the {probabilities.shape[1]} classes of the probabilities")
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def class_frechet_distances(real: Any, fake: Any, real_labels: Any, fake_labels: Any) -> np.ndarray:
    """Compute `frechet_distance` of features real `[N, D]` and fake `[M, D]`, class by class of their labels: `[K]`.

    Raises:
        InputError: a class with fewer than 2 rows on a side.

    Warns once where a class has no more than D rows on a side.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each class and side; below, one stands for all
        distances = _by_class(
            lambda real, fake: frechet_distance(moments(real), moments(fake)), 2, real, fake, real_labels, fake_labels
        )
    fewest, dimensions = min(np.bincount(labels).min() for labels in (real_labels, fake_labels)), np.shape(real)[1]
    if fewest <= dimensions:
        warnings.warn(
            f"class_frechet: {fewest} images of a class, of {dimensions} dimensions, have a singular covariance; "
            "the distance is far too large; evaluate more images of each class",
            stacklevel=2,
        )
    return distances


def class_coverages(real: Any, fake: Any, real_labels: Any, fake_labels: Any, *, neighbours: int = 5) -> np.ndarray:
    """Compute the coverage, see `PrecisionRecall`, of features real `[N, D]` by fake `[M, D]`, class by class: `[K]`.

    Raises:
        InputError: a class with no more rows than neighbours on a side.
    """

    def coverage(real: np.ndarray, fake: np.ndarray) -> float:
        return precision_recall(real, fake, neighbours=neighbours).coverage

    return _by_class(coverage, neighbours + 1, real, fake, real_labels, fake_labels)


def _by_class(
    compare: Callable[[np.ndarray, np.ndarray], float], at_least: int, real: Any, fake: Any, real_labels: Any, fake_labels: Any
) -> np.ndarray:
    """Compare the rows of each class from 0 to K - 1, K by the largest label of the two sides."""
    real, fake = as_features(at_least, real=real, fake=fake)
    sides = {"real": (real, _check_labels(real_labels, real)), "fake": (fake, _check_labels(fake_labels, fake))}
    numbers = []
    for label in range(1 + max(int(labels.max()) for _, labels in sides.values())):
        rows = {name: features[labels == label] for name, (features, labels) in sides.items()}
        for name, features in rows.items():
            if len(features) < at_least:
                raise InputError(f"{name} has {len(features)} rows of class {label}: must have at least {at_least}")
        numbers.append(compare(rows["real"], rows["fake"]))
    return np.array(numbers)


def _check_labels(labels: Any, rows: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(f"labels {labels.dtype} {list(labels.shape)}: must be an integer ≥ 0 for each of {len(rows)} rows")
    return labels
