"""The classifier of stacked digits: that of single digits, applied to each channel."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_jax.data import Images
from gan_jax.evaluation.features.classifier import RECIPE, make_classifier
from gan_jax.evaluation.features.extractor import Extractor

STACKED_RECIPE = RECIPE | {"width": 32, "steps": 6000}
"""A digit that is mistaken is a mode that is not there: this one is right on 99.3 % of MNIST's test digits."""


def make_stacked_classifier(
    images: Any, labels: Any, *, test: Images | None = None, recipe: Mapping[str, Any] = STACKED_RECIPE
) -> Extractor:
    """Make the classifier of stacks uint8 `[N, H, W, C]` of digits; images, labels, test: single ones, see `make_classifier`.

    Its features `[N, C·D]` are those of the channels, its probabilities are float64 `[N, C, K]`, its accuracy is of one digit.
    """
    single = make_classifier(images, labels, test=test, recipe=recipe)
    assert single.probabilities is not None
    of_digits = single.probabilities

    def extract(stacks: np.ndarray) -> np.ndarray:
        return np.concatenate([single.extract(channel[..., None]) for channel in np.moveaxis(stacks, -1, 0)], axis=1)

    def probabilities(features: np.ndarray) -> np.ndarray:
        of_channels = of_digits(features.reshape(-1, single.dimensions))
        return of_channels.reshape(len(features), -1, of_channels.shape[1])

    return Extractor(
        name="stacked_classifier",
        extract=extract,
        dimensions=3 * single.dimensions,
        batch_size=single.batch_size,
        digest=single.digest,
        preparation=f"each channel by itself, {single.preparation}",
        probabilities=probabilities,
        accuracy=single.accuracy,
    )
