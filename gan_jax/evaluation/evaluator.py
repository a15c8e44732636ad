"""The evaluator of a run: metrics of its samples while it trains, by which the best step is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from gan_jax.data import Dataset, DensityDataset, ImageDataset, StackedDataset
from gan_jax.evaluation.features import compute_statistics, has_classes, make_classifier, make_pixels, real_statistics
from gan_jax.evaluation.images import hold_out, real_images
from gan_jax.evaluation.metrics import METRICS, check_num, compute_metrics, mode_statistics, needed
from gan_jax.evaluation.stacks import make_judge
from gan_jax.sampling import sample
from gan_jax.state import GAN, TrainState

_SEED = 2**31  # of the latents, away from the small seeds that people choose
_MAX_REAL = 10_000  # images that samples are compared to


@dataclass(frozen=True)
class Evaluator:
    """`evaluator(state)` evaluates num samples of the averaged generator, or of the raw one where there is no average.

    The latents are the same at every call, and used nowhere else, so that the best step is not the best by chance elsewhere.
    selection_metric: the name of the metric, one of those it returns, whose lowest value makes the best step.
    """

    gan: GAN
    num: int
    selection_metric: str
    compute: Callable[[Any], Mapping[str, float]]
    real: Any

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Return metrics by name, `eval/…`."""
        return self._evaluate(sample(self.gan, state, jax.random.key(_SEED), self.num))

    def real_baseline(self) -> dict[str, float]:
        """Return the same metrics of as many held-out real examples, or as there are: a perfect generator's, up to chance."""
        return self._evaluate(self.real)

    def _evaluate(self, samples: Any) -> dict[str, float]:
        return {f"eval/{name}": float(number) for name, number in self.compute(samples).items()}


def make_evaluator(gan: GAN, dataset: Dataset, *, num: int = 2000) -> Evaluator:
    """Make the evaluator of num samples for a dataset.

    Images with labels are compared by the Fréchet distance of classifier features and by their classes, other images by the
    kernel distance of pixels, points by mode statistics, stacked digits by `stack_statistics`. The real images are those that
    `hold_out` does not hold out, at most 10,000. The first call for a labelled dataset trains its classifier, for about half a
    minute.

    Raises:
        InputError: too few samples or held-out images for the metrics.
    """
    if isinstance(dataset, DensityDataset):
        return _make_point_evaluator(gan, dataset, num)
    if isinstance(dataset, StackedDataset):
        judge = make_judge(dataset)
        return Evaluator(gan, num, "eval/kl", judge.compute, judge.real_stacks(num, _SEED)[0:num])
    assert isinstance(dataset, ImageDataset)
    images = dataset.images if isinstance(dataset.images, np.memmap) else np.asarray(dataset.images)
    labels = None if dataset.labels is None else np.asarray(dataset.labels)
    learned, held_out = hold_out(len(images))
    if has_classes(labels):
        extractor, metrics, selection = make_classifier(images, labels), [METRICS["frechet"], METRICS["classes"]], "frechet"
    else:
        kid = replace(METRICS["kid"], compute=partial(METRICS["kid"].compute, subsets=10, subset_size=500))  # takes seconds
        extractor, metrics, selection = make_pixels(images.shape[1:]), [kid], "kid"
    for name, each in (("samples for evaluation", num), ("held-out images", len(held_out))):
        check_num(metrics, each, name)
    real = real_statistics(extractor, real_images(images, learned, at_most=_MAX_REAL), needed(metrics, real=True))

    def compute(samples: np.ndarray) -> Mapping[str, float]:
        fake = compute_statistics(extractor, samples, needed(metrics, real=False))
        numbers = compute_metrics(metrics, real, fake, extractor.name)
        return {name: number for name, number in numbers.items() if not name.startswith("class_share/")}

    selection_metric = f"eval/{METRICS[selection].number_name(selection, extractor.name)}"
    return Evaluator(gan, num, selection_metric, compute, images[held_out[:num]])


def _make_point_evaluator(gan: GAN, dataset: DensityDataset, num: int) -> Evaluator:
    density = dataset.density

    def compute(points: Any) -> Mapping[str, float]:
        statistics = mode_statistics(points, density.means, float(density.stddev))
        return {"modes": statistics.modes, "high_quality": statistics.high_quality, "js": statistics.js}

    return Evaluator(gan, num, "eval/js", compute, density.sample(jax.random.key(1), (num,)))
