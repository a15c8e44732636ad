"""What a classifier sees in samples: which classes, how sure it is, and the formula of the Inception Score on its own terms."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features


class ClassStatistics(NamedTuple):
    """histogram float64 `[K]`: shares of the samples by their likeliest class. confidence: mean probability of that class.

    covered: classes with at least a tenth of an even share of the samples, 1/(10 K), which stray mistakes do not reach.
    score: exp of the mean KL(p(y|x) ‖ p(y)), from 1 to K (Salimans et al. 2016, section 4, with another network than theirs, so
    no Inception Score): high where each sample is of one class and all classes are there.
    """

    histogram: np.ndarray
    covered: int
    confidence: float
    score: float


def class_statistics(probabilities: Any) -> ClassStatistics:
    """Of p(class | sample) `[N, K]`, rows that sum to 1.

    Raises:
        InputError: rows that are no probabilities.
    """
    (probabilities,) = as_features(1, probabilities=probabilities)
    probabilities = probabilities.astype(np.float64)
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise InputError("probabilities: give rows of numbers of at least 0 that sum to 1")
    count, classes = probabilities.shape
    histogram = np.bincount(probabilities.argmax(axis=1), minlength=classes) / count
    mean = probabilities.mean(axis=0)
    # 0 log 0 is 0; where the mean is 0, so is every row.
    ratio = np.divide(probabilities, mean, out=np.ones_like(probabilities), where=probabilities > 0)
    return ClassStatistics(
        histogram=histogram,
        covered=int(np.count_nonzero(histogram >= 0.1 / classes)),
        confidence=float(probabilities.max(axis=1).mean()),
        score=float(np.exp(np.sum(probabilities * np.log(ratio), axis=1).mean())),
    )
