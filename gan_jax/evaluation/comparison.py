"""Images of one kind compared with real ones: one row of results."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from gan_jax.errors import InputError
from gan_jax.evaluation.features import Extractor, compute_statistics, real_statistics
from gan_jax.evaluation.images import ImageSource, labels_of
from gan_jax.evaluation.metrics import Metric, Statistics, check_num, compute_metrics, find_metrics, needed
from gan_jax.evaluation.results import over_seeds


class Reference(NamedTuple):
    """Real images that others are compared with: by which metrics and features, their description, shape and statistics.

    num_classes: of their labels and the others', 0 where labels do not count.
    """

    metrics: tuple[Metric, ...]
    extractor: Extractor
    description: str
    image_shape: tuple[int, ...]
    statistics: Statistics
    num_classes: int


def check_comparable(
    metrics: Collection[str],
    features: str,
    real: ImageSource,
    others: Mapping[str, Sequence[ImageSource]],
    description: str,
    *,
    num_classes: int = 0,
) -> None:
    """Raise `InputError` where images cannot be compared, before an extractor is made. others: by their names."""
    chosen = find_metrics(metrics, features, classes=features == "classifier", labelled=num_classes > 0)
    for name, sources in {description: [real], **others}.items():
        for images in sources:
            _check_comparable(chosen, features, images, name, real[0:1].shape[1:], num_classes)


def _check_comparable(
    metrics: Sequence[Metric], features: str, images: ImageSource, name: str, shape: tuple[int, ...], num_classes: int
) -> None:
    check_num(metrics, len(images), name, labels_of(images), num_classes=num_classes)
    _check_shape(name, images[0:1].shape[1:], shape, features)


def make_reference(
    metrics: Collection[str], extractor: Extractor, images: ImageSource, description: str, *, num_classes: int = 0
) -> Reference:
    """Make the reference of real images. metrics: names; an empty collection stands for all that features and images allow.

    num_classes: K, where these images and those to come have labels that are to be compared.

    Raises:
        InputError: a metric that cannot be computed of these images with these features.
    """
    chosen = find_metrics(metrics, extractor.name, classes=extractor.probabilities is not None, labelled=num_classes > 0)
    check_num(chosen, len(images), description, labels_of(images), num_classes=num_classes)
    statistics = real_statistics(extractor, images, needed(chosen, real=True), name=description)
    return Reference(chosen, extractor, description, images[0:1].shape[1:], statistics, num_classes)


def evaluate(reference: Reference, sources: Sequence[ImageSource], name: str) -> dict[str, Any]:
    """Evaluate images of one kind, such as the samples of several seeds; a row of results with the mean over the sources.

    Raises:
        InputError: too few images for a metric, or images that differ from the real ones in size or channels.
    """
    metrics, extractor, description, shape, real, num_classes = reference
    for images in sources:
        _check_comparable(metrics, extractor.name, images, name, shape, num_classes)
    by_seed = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for index, images in enumerate(sources):
            part = name if len(sources) == 1 else f"{name}, {index + 1} of {len(sources)}"
            fake = compute_statistics(extractor, images, needed(metrics, real=False), name=part)
            by_seed.append(compute_metrics(metrics, real, fake, extractor.name))
    row = {"samples": name, "num": len(sources[0]), "real": description, "num_real": real.num, **extractor.describe()}
    return row | over_seeds(by_seed) | {"warnings": sorted({str(warning.message) for warning in caught})}


def _check_shape(name: str, shape: tuple[int, ...], real: tuple[int, ...], features: str) -> None:
    if shape[2] != real[2]:
        raise InputError(f"{name}: must have {real[2]} channels like the real images, not {shape[2]}")
    if shape[:2] != real[:2] and features != "inception":
        raise InputError(f"{name}: must be {real[0]} × {real[1]} like the real images, not {shape[0]} × {shape[1]}")
