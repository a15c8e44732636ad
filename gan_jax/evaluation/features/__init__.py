"""Feature extractors by name: what turns images into the rows of numbers that distances of distributions are taken of."""

from collections.abc import Callable
from typing import Any

from gan_jax.evaluation.features.classifier import Classifier, has_classes, hold_out, make_classifier
from gan_jax.evaluation.features.extractor import Features
from gan_jax.evaluation.features.pixels import make_pixels


def _make_inception() -> Features:
    from gan_jax.evaluation.features.inception import (
        make_inception,  # most runs need neither it nor what it reads its weights with
    )

    return make_inception()


FEATURES: dict[str, Callable[[Any, Any], Features]] = {
    "inception": lambda images, labels: _make_inception(),
    "classifier": make_classifier,
    "pixels": lambda images, labels: make_pixels(images.shape[1:]),
}
"""Name -> maker, from the training images uint8 `[N, H, W, C]` of the set and their labels `[N]` or None."""

__all__ = [
    "FEATURES",
    "Classifier",
    "Features",
    "has_classes",
    "hold_out",
    "make_classifier",
    "make_pixels",
]
