"""Statistics of a classifier's predictions on samples: classes, confidence, and the formula of the Inception Score."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features
from gan_jax.evaluation.metrics.registry import metric


class ClassStatistics(NamedTuple):
    """histogram float64 `[K]`: shares of the samples by their likeliest class. confidence: mean probability of that class.

    covered: classes with at least a tenth of an even share of the samples, 1/(10 K): more than a few misclassified samples.
    inception_style_score: exp of the mean KL(p(y|x) ‖ p(y)), from 1 to K: high where each sample is of one class and all
    classes are there. The formula is that of Salimans et al. 2016, section 4; the network is not, so it is no Inception Score.
    """

    histogram: np.ndarray
    covered: int
    confidence: float
    inception_style_score: float


@metric("probabilities", at_least=1, uses_real=False)
def classes(fake: Any) -> dict[str, float]:
    """Classes covered, mean confidence, Inception-style score and class shares by a classifier of the dataset."""
    histogram, covered, confidence, exp_divergence = class_statistics(fake)
    shares = {f"class_share/{index}": float(share) for index, share in enumerate(histogram)}
    return {"classes_covered": covered, "confidence": confidence, "inception_style_score": exp_divergence, **shares}


def class_statistics(probabilities: Any) -> ClassStatistics:
    """Compute them of p(class | sample) `[N, K]`, rows that sum to 1.

    Raises:
        InputError: rows that are not probabilities.
    """
    (probabilities,) = as_features(1, probabilities=probabilities)
    probabilities = probabilities.astype(np.float64)
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise InputError("probabilities: must be rows of numbers ≥ 0 that sum to 1")
    count, classes = probabilities.shape
    histogram = np.bincount(probabilities.argmax(axis=1), minlength=classes) / count
    mean = probabilities.mean(axis=0)
    # 0 log 0 is 0; where the mean is 0, so is every row.
    ratio = np.divide(probabilities, mean, out=np.ones_like(probabilities), where=probabilities > 0)
    return ClassStatistics(
        histogram=histogram,
        covered=int(np.count_nonzero(histogram >= 0.1 / classes)),
        confidence=float(probabilities.max(axis=1).mean()),
        inception_style_score=float(np.exp(np.sum(probabilities * np.log(ratio), axis=1).mean())),
    )
