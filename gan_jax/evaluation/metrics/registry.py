"""The metrics by name: what each needs, what it is computed from, what its numbers are called.

To add one, decorate a function beside its formula, and name its module in `metrics/__init__.py`: flags, defaults, checks and
help texts follow.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from gan_jax.errors import InputError, nearest

Numbers = dict[str, float]


class Statistics(NamedTuple):
    """What metrics know of num images: what they need of it, None for the rest.

    moments: of the features (`Moments`). features: float32 `[N, D]`. probabilities: of the classes, float64 `[N, K]`.
    """

    num: int
    moments: Any = None
    features: Any = None
    probabilities: Any = None


@dataclass(frozen=True)
class Metric:
    """needs: the field of `Statistics` of both sides that `compute(real, fake)` is given, or of one for `compute(fake)`.

    at_least: images on a side. reserved: what the metric, and its numbers, are called with Inception's features alone.
    """

    name: str
    needs: str
    at_least: int
    compute: Callable[..., Numbers]
    uses_real: bool
    reserved: str

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
    needs: str, *, at_least: int, uses_real: bool = True, reserved: str = ""
) -> Callable[[Callable[..., Numbers]], Callable[..., Numbers]]:
    """Register a function as the metric of its name; see `Metric`."""

    def register(compute: Callable[..., Numbers]) -> Callable[..., Numbers]:
        METRICS[compute.__name__] = Metric(compute.__name__, needs, at_least, compute, uses_real, reserved)
        return compute

    return register


def find_metrics(names: Collection[str], features: str, *, classes: bool) -> tuple[Metric, ...]:
    """Return the metrics of these names, or all that the features allow. classes: the features give class probabilities.

    Raises:
        InputError: an unknown name, or a metric that these features do not allow.
    """
    allowed = {name: entry for name, entry in METRICS.items() if classes or entry.needs != "probabilities"}
    for name in names:
        if name not in METRICS:
            reserved = {each.reserved: f"; {each.reserved} is {each.name} with features=inception" for each in METRICS.values()}
            raise InputError(
                f"metrics={name}: must be one of {', '.join(METRICS)}{reserved.get(name) or nearest(name, METRICS)}"
            )
        if name not in allowed:
            raise InputError(f"metrics={name}: needs the classes of features=classifier, not features={features}")
    return tuple(allowed[name] for name in names or allowed)


def needed(metrics: Iterable[Metric], *, real: bool) -> set[str]:
    """Return the fields of `Statistics` that these metrics need of real images, or else of generated ones."""
    return {each.needs for each in metrics if each.uses_real or not real}


def check_num(metrics: Iterable[Metric], num: int, name: str) -> None:
    """Raise `InputError` where num images are too few, before anything slow is done."""
    for each in metrics:
        if num < each.at_least:
            raise InputError(f"{name}: {num} images are too few for {each.name}, which needs at least {each.at_least}")


def compute_metrics(metrics: Iterable[Metric], real: Statistics, fake: Statistics, features: str) -> Numbers:
    """Compute the metrics; numbers by name, see `Metric.number_name`."""
    numbers: Numbers = {}
    for each in metrics:
        sides = (real, fake) if each.uses_real else (fake,)
        computed = each.compute(*(getattr(side, each.needs) for side in sides))
        numbers |= {each.number_name(key, features): number for key, number in computed.items()}
    return numbers
