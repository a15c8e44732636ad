"""Euclidean distances of all pairs without the memory of all pairs; nearest neighbours and diversity from them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gan_jax.evaluation.metrics.arrays import as_features
from gan_jax.evaluation.metrics.registry import metric

_ENTRIES = 2**24  # of float64 in one array of a block: 128 MiB

EPSILON = float(np.finfo(np.float64).eps)


def squared_distances(x: np.ndarray, y: np.ndarray, centre: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield |x_i − y_j|² of x `[N, D]`, y `[M, D]` by blocks of rows: (which rows, float64 `[rows, M]`).

    |x|² − 2x·y + |y|² about the centre `[D]` (default: the mean of y), float64 matrix products. The error is at most
    (D + 2)·EPSILON·(|x|² + |y|²); what is smaller than that is 0, so equal rows are at distance 0.
    """
    centre = y.mean(axis=0, dtype=np.float64) if centre is None else centre
    dimensions = x.shape[1]
    rows = max(1, _ENTRIES // max(len(y), dimensions))
    columns = max(1, _ENTRIES // max(rows, dimensions))
    for top in range(0, len(x), rows):
        left = x[top : top + rows] - centre
        block = np.empty((len(left), len(y)))
        for start in range(0, len(y), columns):
            right = y[start : start + columns] - centre
            norms = np.einsum("nd,nd->n", left, left)[:, None] + np.einsum("md,md->m", right, right)
            part = block[:, start : start + columns]
            np.subtract(norms, 2 * (left @ right.T), out=part)
            part[part <= (dimensions + 2) * EPSILON * norms] = 0.0
        yield slice(top, top + len(left)), block


class Neighbours(NamedTuple):
    """Of each sample, its nearest training example: indices int `[N]`, distances float64 `[N]`."""

    indices: np.ndarray
    distances: np.ndarray


def nearest_neighbours(samples: Any, train: Any) -> Neighbours:
    """Find the nearest of train `[M, D]` to each of samples `[N, D]`, to see memorised ones. Of equally near ones, any.

    Distances are of the differences themselves: exactly 0 for a copy.

    Raises:
        InputError: no rows on a side, or rows of different dimensions.
    """
    samples, train = as_features(1, samples=samples, train=train)
    indices, distances = np.empty(len(samples), np.int64), np.empty(len(samples))
    for rows, block in squared_distances(samples, train):
        indices[rows] = block.argmin(axis=1)
        distances[rows] = np.linalg.norm(np.subtract(samples[rows], train[indices[rows]], dtype=np.float64), axis=1)
    return Neighbours(indices, distances)


@metric("features", at_least=2, uses_real=False)
def diversity(fake: Any) -> dict[str, float]:
    """Mean distance of two samples."""
    return {"diversity": mean_pairwise_distance(fake)}


def mean_pairwise_distance(samples: Any) -> float:
    """Compute the mean distance of two different rows of samples `[N, D]`, over all pairs; a collapsed generator has 0.

    Raises:
        InputError: fewer than 2 rows.
    """
    (samples,) = as_features(2, samples=samples)
    total = sum(float(np.sqrt(block).sum()) for _, block in squared_distances(samples, samples))
    return total / (len(samples) * (len(samples) - 1))
