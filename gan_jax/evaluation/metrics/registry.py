"""The metrics by name: what each needs, what it is computed from, what its numbers are called.

To add one, decorate a function beside its formula, and name its module in `metrics/__init__.py`: flags, defaults, checks and
help texts follow.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError, nearest

Numbers = dict[str, float]


class Statistics(NamedTuple):
    """What metrics know of num images: what they need of it, None for the rest.

    moments: of the features (`Moments`). features: float32 `[N, D]`. probabilities: of the classes, float64 `[N, K]`. labels:
    int `[N]` from 0 to K - 1, of real images their classes, of generated ones those that were asked for.
    """

    num: int
    moments: Any = None
    features: Any = None
    probabilities: Any = None
    labels: Any = None


@dataclass(frozen=True)
class Metric:
    """needs: the field of `Statistics` of both sides that `compute(real, fake)` is given, or of one for `compute(fake)`.

    at_least: images on a side. reserved: what the metric, and its numbers, are called with Inception's features alone.
    of_each_class: images of every class on a side, for a metric that is given the labels of both sides, or of one, as well,
    after that field; None for others.
    """

    name: str
    needs: str
    at_least: int
    compute: Callable[..., Numbers]
    uses_real: bool
    reserved: str
    of_each_class: int | None = None

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.compute.__doc__ or "").partition("\n")[0]

    def number_name(self, key: str, features: str) -> str:
        """The name of one of its numbers with these features: fid, kid, classifier_frechet, precision, …"""
        if not self.reserved:
            return key
        return key.replace(self.name, self.reserved) if features == "inception" else f"{features}_{key}"


METRICS: dict[str, Metric] = {}


def metric(
    needs: str, *, at_least: int, uses_real: bool = True, reserved: str = "", of_each_class: int | None = None
) -> Callable[[Callable[..., Numbers]], Callable[..., Numbers]]:
    """Register a function as the metric of its name; see `Metric`."""

    def register(compute: Callable[..., Numbers]) -> Callable[..., Numbers]:
        name = compute.__name__
        METRICS[name] = Metric(name, needs, at_least, compute, uses_real, reserved, of_each_class)
        return compute

    return register


def find_metrics(names: Collection[str], features: str, *, classes: bool, labelled: bool = False) -> tuple[Metric, ...]:
    """Return the metrics of these names, or all that the features and the images allow.

    classes: the features give class probabilities. labelled: the images of both sides have labels.

    Raises:
        InputError: an unknown name, or a metric that these features or images do not allow.
    """
    of_features = {name: entry for name, entry in METRICS.items() if classes or entry.needs != "probabilities"}
    allowed = {name: entry for name, entry in of_features.items() if labelled or entry.of_each_class is None}
    for name in names:
        if name not in METRICS:
            reserved = {each.reserved: f"; {each.reserved} is {each.name} with features=inception" for each in METRICS.values()}
            raise InputError(
                f"metrics={name}: must be one of {', '.join(METRICS)}{reserved.get(name) or nearest(name, METRICS)}"
            )
        if name not in of_features:
            raise InputError(f"metrics={name}: needs the classes of features=classifier, not features={features}")
        if name not in allowed:
            raise InputError(
                f"metrics={name}: needs the labels of a conditional run: config.num_classes > 0, and no other images"
            )
    return tuple(allowed[name] for name in names or allowed)


def needed(metrics: Iterable[Metric], *, real: bool) -> set[str]:
    """Return the fields of `Statistics` that these metrics need of real images, or else of generated ones."""
    return {each.needs for each in metrics if each.uses_real or not real}


def check_num(
    metrics: Iterable[Metric], num: int, name: str, labels: np.ndarray | None = None, *, num_classes: int = 0
) -> None:
    """Raise `InputError` where num images, or those of one class by their labels, are too few: before anything slow is done."""
    for each in metrics:
        if num < each.at_least:
            raise InputError(f"{name}: {num} images are too few for {each.name}, which needs at least {each.at_least}")
        if each.of_each_class is None:
            continue
        if labels is None:
            raise InputError(f"{name}: must have labels for {each.name}")
        fewest, label = fewest_of_a_class(labels, num_classes)
        if fewest < each.of_each_class:
            raise InputError(
                f"{name}: {fewest} images of class {label} are too few for {each.name}, which needs at least "
                f"{each.of_each_class} of each class"
            )


def fewest_of_a_class(labels: np.ndarray, num_classes: int) -> tuple[int, int]:
    """Return how many images the rarest of the classes has, 0 where there are none, and that class."""
    counts = np.bincount(labels, minlength=num_classes)
    return int(counts.min()), int(counts.argmin())


def is_of_one_class(name: str) -> bool:
    """Tell whether a number is one class's part of a metric, as class_share/3 is."""
    return name.rpartition("/")[2].isdecimal()


def compute_metrics(metrics: Iterable[Metric], real: Statistics, fake: Statistics, features: str) -> Numbers:
    """Compute the metrics; numbers by name, see `Metric.number_name`."""
    numbers: Numbers = {}
    for each in metrics:
        sides = (real, fake) if each.uses_real else (fake,)
        labels = [side.labels for side in sides] if each.of_each_class is not None else []
        computed = each.compute(*(getattr(side, each.needs) for side in sides), *labels)
        numbers |= {each.number_name(key, features): number for key, number in computed.items()}
    return numbers
