"""What every feature extractor gives to those who compute metrics with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Extractor:
    """Turns images into features, the numbers that metrics compare.

    name: "inception", "classifier", "pixels", "stacked_classifier".
    extract: images uint8 `[N, H, W, C]`, N up to batch_size -> float32 `[N, D]`; it pads inside, so that it compiles once.
    dimensions: D. batch_size: the most images of one call.
    digest: sha256 of the weights (hex), "" where there are none.
    preparation: how images are brought to its input, for the result row: "TF1 bilinear to 299, not quantised".
    probabilities: a classifier's, features `[N, D]` -> p(class | image) float64 `[N, K]`, or of each channel `[N, C, K]`.
    accuracy: on held-out images.
    """

    name: str
    extract: Callable[[np.ndarray], np.ndarray]
    dimensions: int
    batch_size: int
    digest: str
    preparation: str
    probabilities: Callable[[np.ndarray], np.ndarray] | None = None
    accuracy: float | None = None

    def describe(self) -> dict[str, Any]:
        """Describe it for a result row."""
        row = {"features": self.name, "weights_sha256": self.digest, "preparation": self.preparation}
        return row if self.accuracy is None else row | {"classifier_accuracy": self.accuracy}
