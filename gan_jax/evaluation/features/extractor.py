"""What every extractor of features is to those who measure with it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Features:
    """What turns images into rows of numbers for a measure of samples.

    name: "inception", "classifier", "pixels".
    extract: images uint8 `[N, H, W, C]`, any N up to batch_size, -> float32 `[N, D]`. dimensions: D.
    batch_size: images that one call takes best; it pads inside, so that it compiles once.
    digest: sha256 of the weights (hex), "" where there are none.
    preparation: how images are brought to its input, in words for the result row: "TF1 bilinear to 299, not quantised".
    """

    name: str
    extract: Callable[[np.ndarray], np.ndarray]
    dimensions: int
    batch_size: int
    digest: str
    preparation: str
