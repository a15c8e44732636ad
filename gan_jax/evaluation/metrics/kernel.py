"""Kernel distance of two sets of features (Bińkowski et al. 2018, section 4): KID where they are Inception's."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features


class KernelDistance(NamedTuple):
    """mean: of the MMD² of the subsets, unbiased, so it can fall below 0 where both sets are of one distribution.

    standard_error: of that mean as an estimate for these two sets; it does not see how other samples would differ.
    """

    mean: float
    standard_error: float


def kernel_distance(real: Any, fake: Any, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020) -> KernelDistance:
    """Of real `[N, D]`, fake `[M, D]`: random subsets of subset_size rows of each, drawn without replacement; float64.

    The subsets are torch-fidelity's for the same seed where fake is its input 1; 2020 is its default.

    Raises:
        InputError: fewer rows than subset_size, or fewer than 2 subsets or than 2 rows in them.
    """
    if subsets < 2 or subset_size < 2:
        raise InputError(f"{subsets} subsets of {subset_size}: give at least 2 of at least 2 rows")
    real, fake = as_features(subset_size, real=real, fake=fake)
    rng = np.random.RandomState(seed)  # its stream is frozen: the subsets stay the same, here and there

    def subset(features: np.ndarray) -> np.ndarray:
        return features[rng.choice(len(features), subset_size, replace=False)].astype(np.float64)

    found = [_squared_mmd(subset(fake), subset(real)) for _ in range(subsets)]
    return KernelDistance(float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(subsets)))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x·y/D + 1)³, `[N, M]`: its MMD compares the moments up to the third."""
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # ** 3 takes the slow general power


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased, of sets of one size (Gretton et al. 2012, eq. 3): within a set the pairs of different rows only."""
    within = sum(kernel.sum() - np.trace(kernel) for kernel in (_kernel(x, x), _kernel(y, y)))
    return float(within / (len(x) * (len(x) - 1)) - 2 * _kernel(x, y).mean())
