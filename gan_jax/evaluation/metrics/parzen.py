"""Parzen-window log-likelihood of samples (Goodfellow et al. 2014, section 5); it ranks models badly (Theis et al. 2016)."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features
from gan_jax.evaluation.metrics.distances import squared_distances

BANDWIDTHS = tuple(np.logspace(-1, 0, 10).tolist())  # for pixels in [0, 1]


class Parzen(NamedTuple):
    """log_likelihood: mean over the test rows, nats; standard_error: over the test rows; bandwidth: the chosen σ."""

    log_likelihood: float
    standard_error: float
    bandwidth: float


def parzen_log_likelihood(samples: Any, validation: Any, test: Any, *, bandwidths: Any = BANDWIDTHS) -> Parzen:
    """Compute the log-likelihood of test `[T, D]` under Parzen windows on samples `[N, D]`, σ the best on validation `[V, D]`.

    The density is the mean of Gaussians N(sample, σ²I). The paper: 10,000 samples, 1,000 validation images, pixels in [0, 1].
    Where the chosen σ is at either end of bandwidths, give more of them.

    Raises:
        InputError: a bandwidth that is not positive, or fewer than 2 rows.
    """
    bandwidths = np.asarray(bandwidths, np.float64).ravel()
    if not bandwidths.size or not np.all((bandwidths > 0) & np.isfinite(bandwidths)):
        raise InputError(f"bandwidths {bandwidths.tolist()}: must be positive numbers")
    samples, validation, test = as_features(2, samples=samples, validation=validation, test=test)
    best = bandwidths[[_log_density(validation, samples, bandwidths).mean(axis=1).argmax()]]
    (logs,) = _log_density(test, samples, best)
    return Parzen(float(logs.mean()), float(logs.std(ddof=1) / np.sqrt(len(logs))), float(best[0]))


def _log_density(points: np.ndarray, samples: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Log densities in nats `[bandwidths, points]`."""
    densities = np.empty((len(bandwidths), len(points)))
    count, dimensions = samples.shape
    for rows, distances in squared_distances(points, samples):
        least = distances.min(axis=1)
        distances -= least[:, None]  # the largest summand is 1: no underflow
        for logs, bandwidth in zip(densities[:, rows], bandwidths, strict=True):
            variance = bandwidth**2
            logs[:] = np.log(np.exp(distances / (-2 * variance)).sum(axis=1)) - least / (2 * variance)
            logs -= np.log(count) + dimensions / 2 * np.log(2 * np.pi * variance)
    return densities
