"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020): quality and variety apart."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features
from gan_jax.evaluation.metrics.distances import EPSILON, squared_distances
from gan_jax.evaluation.metrics.registry import metric


class PrecisionRecall(NamedTuple):
    """The ball of a row reaches to its k-th nearest other row of the same side.

    precision: share of the fake rows inside a ball of a real one. density: balls of real rows that a fake one is in, mean, / k.
    recall: share of the real rows inside a ball of a fake one. coverage: share of the real rows whose ball holds a fake one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


@metric("features", at_least=6)
def prdc(real: Any, fake: Any) -> dict[str, float]:
    """Precision, recall, density and coverage, with 5 neighbours."""
    return precision_recall(real, fake)._asdict()


def precision_recall(real: Any, fake: Any, *, neighbours: int = 5) -> PrecisionRecall:
    """Compare features real `[N, D]` and fake `[M, D]`, k = neighbours. Inside is nearer than the radius (<, as package prdc).

    Expected of samples of one density: density 1, coverage 1 − ∏(N − i)/(N + M − i), i = 1 … k (Naeem et al., lemma 2).

    Distances are compared in float64 whatever the dtype of the features. 50k × 50k float32 rows of 2048 take 1.5 GB in all.

    Raises:
        InputError: no more than k rows on a side.
    """
    if neighbours < 1:
        raise InputError(f"neighbours={neighbours} must be an integer ≥ 1")
    real, fake = as_features(neighbours + 1, real=real, fake=fake)
    centre = real.mean(axis=0, dtype=np.float64)
    real_radii, fake_radii = (_squared_radii(side, centre, neighbours) for side in (real, fake))
    balls = np.zeros(len(fake), np.int64)
    recalled, covered = np.empty(len(real), bool), np.empty(len(real), bool)
    for rows, distances in squared_distances(real, fake, centre):
        inside = distances < real_radii[rows, None]
        balls += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (distances < fake_radii).any(axis=1)
    return PrecisionRecall(
        precision=float(np.mean(balls > 0)),
        recall=float(np.mean(recalled)),
        density=float(np.mean(balls) / neighbours),
        coverage=float(np.mean(covered)),
    )


def _squared_radii(features: np.ndarray, centre: np.ndarray, neighbours: int) -> np.ndarray:
    """Squared distances `[N]` to the k-th nearest other row, less what rounding may add to the two sides of a comparison.

    A distance that equals the radius, as where fakes are copies of real rows, so never counts as less.
    """
    radii, norms = np.empty(len(features)), np.empty(len(features))
    for rows, distances in squared_distances(features, features, centre):
        distances.partition(neighbours, axis=1)  # the row itself is the nearest
        radii[rows] = distances[:, neighbours]
    for rows, distances in squared_distances(features, centre[None], centre):
        norms[rows] = distances[:, 0]
    # A row as far off as the radius has a squared norm of at most 2(norm + radius), squares all.
    return radii - 2 * (features.shape[1] + 2) * EPSILON * (3 * norms + 2 * radii)
