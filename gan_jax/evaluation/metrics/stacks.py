"""The modes that a generator covers of stacked digits: K³ triples, counted by a classifier of one channel.

Metz et al. 2017 (section 3.3.1) count distinct triples among samples, and KL(samples ‖ uniform); VEEGAN and PacGAN do so with
26,000 samples. Any blob has a likeliest digit: beside them stand the modes of confident samples, and those seen twice.
"""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.theory.divergences import kl_divergence


class StackStatistics(NamedTuple):
    """modes: triples that a sample has; kl: KL of their shares from equal shares (the reverse KL), in nats, at most C log K.

    modes_twice: triples that at least two samples have. modes_confident: triples that a sample has whose likeliest digits are
    all of probability above 1/2; confident: the share of such samples.
    """

    modes: int
    kl: float
    modes_twice: int
    modes_confident: int
    confident: float


def stack_statistics(probabilities: Any) -> StackStatistics:
    """Compute them of p(digit | channel of sample) `[N, C, K]`, rows that sum to 1.

    A perfect sampler of n samples has a KL of about (K³ − 1)/(2n) where the digits are equally frequent, see `perfect_stacks`.

    Raises:
        InputError: no samples, or rows that are not probabilities.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 3 or 0 in probabilities.shape:
        raise InputError(f"probabilities {list(probabilities.shape)}: must be [N, C, K], of at least one sample")
    if not (probabilities.min() >= 0 and np.abs(probabilities.sum(axis=-1) - 1).max() <= 1e-3):  # nan is refused too
        raise InputError("probabilities: must be rows of numbers ≥ 0 that sum to 1")
    num, channels, classes = probabilities.shape
    triples = np.ravel_multi_index(tuple(probabilities.argmax(axis=-1).T), (classes,) * channels)
    confident = probabilities.max(axis=-1).min(axis=-1) > 0.5
    counts = np.bincount(triples, minlength=classes**channels)
    return StackStatistics(
        modes=int(np.count_nonzero(counts)),
        kl=float(kl_divergence(counts / num, np.full(len(counts), 1 / len(counts)))),
        modes_twice=int(np.count_nonzero(counts >= 2)),
        modes_confident=len(np.unique(triples[confident])),
        confident=float(np.mean(confident)),
    )


def perfect_stacks(labels: Any, num: int, *, channels: int = 3, draws: int = 20) -> list[dict[str, float]]:
    """Compute modes, kl and modes_twice of a perfect sampler's num samples, for each of several draws: what no sampler beats.

    labels: of the digits, int `[M]` from 0 to K - 1; each channel is one of them, drawn with replacement.
    """
    labels = np.asarray(labels)
    index = np.random.default_rng(0).integers(0, len(labels), (draws, num, channels))
    certain = np.eye(int(labels.max()) + 1)
    statistics = [stack_statistics(certain[labels[draw]])._asdict() for draw in index]
    return [{name: each[name] for name in ("modes", "kl", "modes_twice")} for each in statistics]
