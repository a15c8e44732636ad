"""Feature extractors by name, and features of any number of images."""

from collections.abc import Callable
from typing import Any

from gan_jax.evaluation.features.classifier import has_classes, make_classifier
from gan_jax.evaluation.features.extraction import (
    compute_statistics,
    extract,
    keeping_features,
    real_statistics,
    seconds_per_image,
)
from gan_jax.evaluation.features.extractor import Extractor
from gan_jax.evaluation.features.pixels import make_pixels
from gan_jax.evaluation.features.stacked import make_stacked_classifier


def _make_inception() -> Extractor:
    from gan_jax.evaluation.features.inception import make_inception  # most runs need neither it nor its libraries

    return make_inception()


EXTRACTORS: dict[str, Callable[[Any, Any], Extractor]] = {
    "inception": lambda images, labels: _make_inception(),
    "classifier": make_classifier,
    "pixels": lambda images, labels: make_pixels(images.shape[1:]),
}
"""Name -> maker, from the training images uint8 `[N, H, W, C]` of the dataset and their labels `[N]` or None."""

__all__ = [
    "EXTRACTORS",
    "Extractor",
    "compute_statistics",
    "extract",
    "has_classes",
    "keeping_features",
    "make_classifier",
    "make_pixels",
    "make_stacked_classifier",
    "real_statistics",
    "seconds_per_image",
]
