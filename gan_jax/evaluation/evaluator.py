"""The evaluator of a run: metrics of its samples while it trains, by which the best step is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from gan_jax.data import Dataset, DensityDataset, ImageDataset, StackedDataset
from gan_jax.errors import InputError
from gan_jax.evaluation.features import compute_statistics, has_classes, make_classifier, make_pixels, real_statistics
from gan_jax.evaluation.images import GeneratedImages, ImageSource, draw_labels, draw_modes, hold_out, real_images
from gan_jax.evaluation.metrics import (
    METRICS,
    Metric,
    check_num,
    compute_metrics,
    fewest_of_a_class,
    is_of_one_class,
    mode_statistics,
    needed,
)
from gan_jax.evaluation.stacks import make_judge
from gan_jax.parallel import check_dataset
from gan_jax.state import GAN, TrainState

SELECTION_METRICS = ("eval/classifier_frechet", "eval/pixels_kid", "eval/kl", "eval/js")
"""Those by which the best step of a run is chosen, the lowest: one for each kind of data."""

_SEED = 2**31  # of the latents, away from the small seeds that people choose
_MAX_REAL = 10_000  # images that samples are compared to


@dataclass(frozen=True)
class Evaluator:
    """`evaluator(state)` evaluates num samples of the averaged generator, or of the raw one where there is no average.

    The latents are the same at every call, and used nowhere else, so that the best step is not the best by chance elsewhere.
    selection_metric: the name of the metric, one of those it returns, whose lowest value makes the best step. labels: of the
    samples, int `[num]`; None where there are none.
    """

    gan: GAN
    num: int
    selection_metric: str
    compute: Callable[[Any], Mapping[str, float]]
    real: Any
    labels: np.ndarray | None = None

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Return metrics by name, `eval/…`."""
        return self._evaluate(GeneratedImages(self.gan, state, _SEED, self.num, labels=self.labels))

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
    minute. Samples of a conditional generator have labels with the frequencies of the dataset's, and, where the classifier is
    used, metrics by them as well.

    Raises:
        InputError: a dataset of another shape or number of classes, or of no kind that has metrics; too few samples or
            held-out images for the metrics.
    """
    check_dataset(gan, dataset)
    if isinstance(dataset, DensityDataset):
        return _make_point_evaluator(gan, dataset, num)
    if isinstance(dataset, StackedDataset):
        judge = make_judge(dataset)
        return Evaluator(gan, num, "eval/kl", judge.compute, judge.real_stacks(num, _SEED)[0:num], _modes(gan, dataset, num))
    if not isinstance(dataset, ImageDataset):
        kinds = "an ImageDataset, StackedDataset or DensityDataset"
        raise InputError(f"{type(dataset).__name__} has no evaluation: it must be {kinds}")
    images = dataset.images if isinstance(dataset.images, np.memmap) else np.asarray(dataset.images)
    labels = None if dataset.labels is None else np.asarray(dataset.labels)
    learned, held_out = hold_out(len(images))
    if has_classes(labels):
        metrics, selection = [METRICS["frechet"], METRICS["classes"]], "frechet"
    else:
        kid = replace(METRICS["kid"], compute=partial(METRICS["kid"].compute, subsets=10, subset_size=500))  # takes seconds
        metrics, selection = [kid], "kid"
    for name, each in (("samples for evaluation", num), ("held-out images", len(held_out))):
        check_num(metrics, each, name)  # refused before the classifier is trained
    extractor = make_classifier(images, labels) if has_classes(labels) else make_pixels(images.shape[1:])
    compared = real_images(images, learned, labels=labels, at_most=_MAX_REAL)
    baseline = real_images(images, held_out, labels=labels, at_most=num)
    drawn = draw_labels(labels, num, seed=_SEED) if gan.num_classes and labels is not None else None
    if drawn is not None and extractor.probabilities:
        sides = compared.labels, baseline.labels, drawn
        fewest = min(fewest_of_a_class(side, gan.num_classes)[0] for side in sides if side is not None)
        metrics += _metrics_by_label(fewest, extractor.dimensions)
    real = real_statistics(extractor, compared, needed(metrics, real=True))

    def compute(samples: ImageSource) -> Mapping[str, float]:
        fake = compute_statistics(extractor, samples, needed(metrics, real=False))
        numbers = compute_metrics(metrics, real, fake, extractor.name)
        return {name: number for name, number in numbers.items() if not is_of_one_class(name)}

    selection_metric = f"eval/{METRICS[selection].number_name(selection, extractor.name)}"
    return Evaluator(gan, num, selection_metric, compute, baseline, drawn)


def _metrics_by_label(fewest: int, dimensions: int) -> list[Metric]:
    """Return the metrics by label that so few images of a class allow; print which are left out, and why."""
    at_least = {"accuracy": 0, "class_frechet": dimensions + 1, "class_coverage": METRICS["class_coverage"].of_each_class or 0}
    for name, each in at_least.items():
        if fewest < each:
            print(f"evaluation leaves out {name}: a class has {fewest} images on one side, and must have {each}", flush=True)
    return [METRICS[name] for name, each in at_least.items() if fewest >= each]


def _modes(gan: GAN, dataset: DensityDataset | StackedDataset, num: int) -> np.ndarray | None:
    return draw_modes(dataset, num, seed=_SEED + 1) if gan.num_classes else None


def _make_point_evaluator(gan: GAN, dataset: DensityDataset, num: int) -> Evaluator:
    density = dataset.density

    def compute(points: Any) -> Mapping[str, float]:
        statistics = mode_statistics(points[0 : len(points)], *density)
        return {"modes": statistics.modes, "high_quality": statistics.high_quality, "js": statistics.js}

    return Evaluator(gan, num, "eval/js", compute, density.sample(jax.random.key(1), (num,)), _modes(gan, dataset, num))
