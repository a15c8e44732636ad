"""Kernel distance of features (Bińkowski et al. 2018, section 4): KID where they are Inception's."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features
from gan_jax.evaluation.metrics.registry import metric


class KernelDistance(NamedTuple):
    """mean: of the MMD² of the subsets, unbiased, so that it can fall below 0 where both sides are of one distribution.

    standard_error: of that mean as an estimate for these features; how other samples would differ is not in it.
    """

    mean: float
    standard_error: float


@metric("features", at_least=4, reserved="kid")
def kid(real: Any, fake: Any, *, subsets: int = 100, subset_size: int = 1000) -> dict[str, float]:
    """Kernel distance of features, and its error over subsets; KID with features=inception."""
    size = min(subset_size, min(len(real), len(fake)) // 2)  # subsets of all would have no error to speak of
    mean, error = kernel_distance(real, fake, subsets=subsets, subset_size=size)
    return {"kid": mean, "kid_standard_error": error}


def kernel_distance(real: Any, fake: Any, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020) -> KernelDistance:
    """Compare features real `[N, D]` and fake `[M, D]` by random subsets of subset_size rows without replacement, in float64.

    The subsets are torch-fidelity's for the same seed where fake is its input 1; 2020 is its default.

    Raises:
        InputError: fewer rows than subset_size, or fewer than 2 subsets or than 2 rows in them.
    """
    if subsets < 2 or subset_size < 2:
        raise InputError(f"subsets={subsets}, subset_size={subset_size}: both must be at least 2")
    real, fake = as_features(subset_size, real=real, fake=fake)
    rng = np.random.RandomState(seed)  # whose stream is frozen, so that the subsets stay the same

    def subset(features: np.ndarray) -> np.ndarray:
        return features[rng.choice(len(features), subset_size, replace=False)].astype(np.float64)

    mmds = [_squared_mmd(subset(fake), subset(real)) for _ in range(subsets)]
    return KernelDistance(float(np.mean(mmds)), float(np.std(mmds, ddof=1) / np.sqrt(subsets)))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x·y/D + 1)³, `[N, M]`: its MMD compares the moments up to the third."""
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # ** 3 takes the slow general power


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Estimate it without bias for sides of one size (Gretton et al. 2012, eq. 3): within a side, pairs of different rows."""
    within = sum(kernel.sum() - np.trace(kernel) for kernel in (_kernel(x, x), _kernel(y, y)))
    return float(within / (len(x) * (len(x) - 1)) - 2 * _kernel(x, y).mean())
