"""Fréchet distance of features as Gaussians (Heusel et al. 2017, eq. 6): FID where they are Inception's."""

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.evaluation.metrics.arrays import as_features
from gan_jax.evaluation.metrics.registry import metric

_ROWS = 4096  # in float64 at once


class Moments(NamedTuple):
    """num, mean float64 `[D]` and scatter float64 `[D, D]`, the sum of (x − mean)(x − mean)ᵀ: enough to `merge`."""

    num: int
    mean: np.ndarray
    scatter: np.ndarray


def moments(features: Any) -> Moments:
    """Compute the moments of features `[N, D]`, N ≥ 1, in float64 whatever their dtype.

    Raises:
        InputError: features that are not such an array of finite numbers.
    """
    (features,) = as_features(1, features=features)
    return functools.reduce(merge, (_of_block(features[start : start + _ROWS]) for start in range(0, len(features), _ROWS)))


def _of_block(features: np.ndarray) -> Moments:
    mean = features.mean(axis=0, dtype=np.float64)
    deviations = features - mean
    return Moments(len(features), mean, deviations.T @ deviations)


def merge(left: Moments, right: Moments) -> Moments:
    """Combine the moments of two parts, so that batches stream (Chan, Golub and LeVeque 1983, eq. 2.1)."""
    _check_dimensions(left, right)
    num = left.num + right.num
    shift = right.mean - left.mean
    scatter = left.scatter + right.scatter + np.outer(shift, shift) * (left.num * right.num / num)
    return Moments(num, left.mean + shift * (right.num / num), scatter)


@metric("moments", at_least=2, reserved="fid")
def frechet(real: Moments, fake: Moments) -> dict[str, float]:
    """Fréchet distance of features as Gaussians; FID with features=inception."""
    return {"frechet": frechet_distance(real, fake)}


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Compute |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½), covariances over N − 1; biased upwards, the more the fewer the samples.

    With Σ = RRᵀ the trace of (Σ₁Σ₂)^½ is the sum of the singular values of R₁ᵀR₂: real, never negative, good for singular Σ.

    Raises:
        InputError: fewer than 2 samples, moments that are not finite, or different dimensions.

    Warns where N ≤ D.
    """
    _check_dimensions(real, fake)
    for name, side in (("real", real), ("fake", fake)):
        if side.num < 2:
            raise InputError(f"{name} has {side.num} rows: must have at least 2")
        if not (np.isfinite(side.mean).all() and np.isfinite(side.scatter).all()):
            raise InputError(f"{name} has nan or inf in its moments: its features must be finite")
        if side.num <= len(side.mean):
            warnings.warn(
                f"{name}: {side.num} samples of {len(side.mean)} dimensions have a singular covariance; "
                "the Fréchet distance is far too large; evaluate more samples",
                stacklevel=2,
            )
    real_root, fake_root = _root(real), _root(fake)
    overlap = np.linalg.svd(real_root.T @ fake_root, compute_uv=False).sum()
    distance = np.sum((real.mean - fake.mean) ** 2) + np.sum(real_root**2) + np.sum(fake_root**2) - 2 * overlap
    return max(float(distance), 0.0)


def _root(side: Moments) -> np.ndarray:
    """R `[D, rank]` with RRᵀ = Σ, the covariance."""
    eigenvalues, eigenvectors = np.linalg.eigh(side.scatter / (side.num - 1))
    # The root would make 1e-8 of a rounding error of 1e-16: what is 0 up to rounding is left out.
    kept = eigenvalues > eigenvalues[-1] * len(eigenvalues) * np.finfo(np.float64).eps
    return eigenvectors[:, kept] * np.sqrt(eigenvalues[kept])


def _check_dimensions(left: Moments, right: Moments) -> None:
    if len(left.mean) != len(right.mean):
        raise InputError(f"moments of {len(left.mean)} and of {len(right.mean)} dimensions: must be of the same features")
