"""The modes that a generator covers of a mixture in the plane of distant components (PacGAN, Lin et al. 2018, section 4.1)."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.theory.divergences import js_divergence, kl_divergence

_SHELLS = np.array([1.0, 2.0, 3.0])  # radii, in standard deviations; a sample beyond the last belongs to no mode


class ModeStatistics(NamedTuple):
    """modes: those with a high-quality sample, one within 3 standard deviations of the nearest mean; high_quality: their share.

    reverse_kl: KL of the high-quality samples' shares of the modes from the weights, in nats; nan where there is none.
    js: JSD of samples and data over the modes' discs and rings (0–1, 1–2, 2–3 standard deviations) and what lies outside: a
    lower bound of the JSD of the densities, which sees missing modes, strays and wrong widths, but no finer shape.
    """

    modes: int
    high_quality: float
    reverse_kl: float
    js: float


def mode_statistics(samples: Any, means: Any, stddev: Any, weights: Any = None) -> ModeStatistics:
    """Compute them of samples `[N, 2]` and a mixture of isotropic Gaussians of one stddev.

    means: `[K, 2]`. weights: `[K]`, or None for equal ones.

    A perfect sampler has 1 − exp(−9/2) = 98.89 % of high quality and, of n samples, a reverse KL of about (K − 1)/(2n).

    Raises:
        InputError: no such samples or means, or components or axes of different widths.
    """
    samples, means = np.asarray(samples, np.float64), np.asarray(means, np.float64)
    if samples.ndim != 2 or samples.shape[-1] != 2 or not len(samples) or means.shape[1:] != (2,):
        raise InputError(f"samples {list(samples.shape)}, means {list(means.shape)}: must be [N, 2] and [K, 2]")
    if not np.all(np.isfinite(samples)):
        raise InputError("samples have nan or inf: all points must be finite")
    widths = np.unique(stddev)
    if len(widths) != 1:
        raise InputError(f"stddev {widths.tolist()}: mode statistics need one width for all components and axes")
    distances = np.linalg.norm(samples[:, None] - means, axis=-1) / widths[0]
    nearest, shell = distances.argmin(axis=-1), np.searchsorted(_SHELLS, distances.min(axis=-1))
    inside = shell < len(_SHELLS)
    cells = np.bincount(nearest[inside] * len(_SHELLS) + shell[inside], minlength=len(means) * len(_SHELLS))
    counts = cells.reshape(len(means), -1).sum(axis=-1)
    shares = np.full(len(means), 1 / len(means)) if weights is None else np.asarray(weights, np.float64)
    # The distance from the mean, in standard deviations, is Rayleigh: P(r > t) = exp(-t²/2).
    tails = np.exp(-(np.array([0.0, *_SHELLS]) ** 2) / 2)
    data = np.append(np.outer(shares, tails[:-1] - tails[1:]), tails[-1])
    return ModeStatistics(
        modes=int(np.count_nonzero(counts)),
        high_quality=float(np.mean(inside)),
        reverse_kl=float(kl_divergence(counts / counts.sum(), shares)) if counts.any() else float("nan"),
        js=float(js_divergence(np.append(cells, np.sum(~inside)) / len(samples), data)),
    )
