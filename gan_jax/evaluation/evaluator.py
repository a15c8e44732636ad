"""Sample → features → measures, for the state of a run and for images that anyone made; what the best step is chosen by."""

import shutil
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax
import numpy as np

from gan_jax.data import Dataset, DensityDataset, ImageDataset
from gan_jax.errors import InputError, nearest
from gan_jax.evaluation.features import Classifier, Features, has_classes, hold_out, make_classifier, make_pixels
from gan_jax.evaluation.metrics import (
    Moments,
    class_statistics,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    merge,
    mode_statistics,
    moments,
    precision_recall,
)
from gan_jax.evaluation.results import mean_and_error
from gan_jax.files import cache_dir, sha256_of, write_to_cache
from gan_jax.sampling import generate, sample
from gan_jax.state import GAN, TrainState, generator_variables
from gan_jax.steps import example_keys, sample_latents

METRICS = ("frechet", "kid", "prdc", "classes", "diversity")
"""What `measure` knows: Fréchet distance; kernel distance; precision, recall, density, coverage; classes and the classifier's
score; mean distance of two samples."""

_CHUNK = 256  # images whose features are kept at a time: a minute of Inception on a slow CPU
_SECONDS_BETWEEN_LINES = 20.0
_LATENTS = 2**31  # seed of the latents of a look, away from the small ones that people give
_MAX_REAL = 10_000  # images that samples are compared to during training


class ImageSource(NamedTuple):
    """Images in a fixed order, made as they are needed. take(start, stop): uint8 `[stop − start, H, W, C]`.

    identity: sha256 of what they are, the same for the first of many as for few: their features can be kept by it.
    """

    num: int
    take: Callable[[int, int], np.ndarray]
    identity: str

    def first(self, num: int) -> "ImageSource":
        """The first num of them."""
        if num > self.num:
            raise InputError(f"{num} images: there are {self.num}; give a smaller number")
        return self._replace(num=num)


def real_images(images: Any, order: np.ndarray | None = None) -> ImageSource:
    """Of uint8 `[N, H, W, C]`, memory-mapped or not: those of order, by default all, shuffled, for sets are often sorted."""
    order = np.random.default_rng(0).permutation(len(images)) if order is None else order

    def take(start: int, stop: int) -> np.ndarray:
        return np.asarray(images[order[start:stop]])

    identity = sha256_of([sha256_of(take(start, start + _CHUNK)) for start in range(0, len(order), _CHUNK)])
    return ImageSource(len(order), take, identity)


def generated_images(gan: GAN, state: TrainState, seed: int, num: int, *, ema: bool | None = None) -> ImageSource:
    """Samples of the generator, averaged or raw, with batch norm's running statistics. Sample i depends on (seed, i) alone."""
    variables = generator_variables(state, ema=ema)

    def take(start: int, stop: int) -> np.ndarray:
        latents = sample_latents(example_keys(jax.random.key(seed), "latents", stop - start, first=start), gan.latent_dim)
        return generate(gan, variables, latents)

    return ImageSource(num, take, sha256_of(seed, repr(gan.networks.gen), jax.device_get(variables)))


# Features


class Summary(NamedTuple):
    """What measures need of a set of features: num, moments where they were asked for, and rows float32 `[N, D]` or None."""

    num: int
    moments: Moments | None
    rows: np.ndarray | None


def summarise(source: ImageSource, features: Features, metrics: Collection[str], *, name: str = "") -> Summary:
    """The features of a source as far as these metrics need them, streamed: without rows, memory does not grow with N.

    Where the extractor has weights, features are kept in the user's cache chunk by chunk, and a second call goes on with them;
    moments are kept too. name: for lines of progress, none without it.
    """
    folder = _folder(source, features)
    keeps_rows = bool(set(metrics) - {"frechet"})
    cached = folder / f"moments-{source.num}.npz"
    if not keeps_rows and features.digest and (found := _read_moments(cached)):
        return Summary(source.num, found, None)
    running: Moments | None = None
    rows = []
    for chunk in _feature_chunks(source, features, folder if features.digest else None, name):
        if "frechet" in metrics:
            running = moments(chunk) if running is None else merge(running, moments(chunk))
        if keeps_rows:
            rows.append(chunk)
    if running is not None and features.digest:
        write_to_cache(cached, lambda file: np.savez(file, **running._asdict()))
    return Summary(source.num, running, np.concatenate(rows) if keeps_rows else None)


def forget(source: ImageSource, features: Features) -> None:
    """Remove what `summarise` kept of it."""
    shutil.rmtree(_folder(source, features), ignore_errors=True)


def _folder(source: ImageSource, features: Features) -> Path:
    return cache_dir() / "features" / sha256_of(source.identity, features.name, features.digest, features.preparation)


def _feature_chunks(source: ImageSource, features: Features, folder: Path | None, name: str) -> Iterator[np.ndarray]:
    """float32 `[chunk, D]` in order."""
    began = last_line = time.perf_counter()
    made = 0
    for start in range(0, source.num, _CHUNK):
        stop = min(start + _CHUNK, source.num)
        path = folder / f"{start:08d}-{stop:08d}.npy" if folder else None
        chunk = _read_rows(path, (stop - start, features.dimensions)) if path else None
        if chunk is None:
            chunk = _extract(features, source.take(start, stop))
            made += len(chunk)
            if path:
                write_to_cache(path, partial(np.save, arr=chunk))
        yield chunk
        now = time.perf_counter()
        if name and made and now - last_line >= _SECONDS_BETWEEN_LINES:
            last_line, rate = now, made / (now - began)
            left = (source.num - stop) / rate
            print(f"{name}: features of {stop} of {source.num} images, {rate:.1f} images/s, {left:.0f} s left", flush=True)


def _extract(features: Features, images: np.ndarray) -> np.ndarray:
    """Of any number of images in memory; rows `[N, D]` that a measure can take."""
    batches = range(0, len(images), features.batch_size)
    rows = np.concatenate([features.extract(images[start : start + features.batch_size]) for start in batches])
    if not np.isfinite(rows).all():
        raise InputError(f"features={features.name}: nan or inf among them; are its weights whole?")
    return rows


def _read_rows(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        rows: np.ndarray = np.load(path)
        return rows if rows.shape == shape else None
    except (OSError, ValueError, EOFError):
        return None


def _read_moments(path: Path) -> Moments | None:
    try:
        with path.open("rb") as file, np.load(file) as found:
            return Moments(int(found["num"]), found["mean"], found["scatter"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


# Measures


def check_metrics(metrics: Collection[str], features: Features, num: int) -> None:
    """Raise `InputError` where these cannot be measured of num images, before anything slow is done."""
    for name in metrics:
        if name not in METRICS:
            known = f"{', '.join(METRICS)} (FID is frechet with features=inception)"
            raise InputError(f"metrics={name}: give some of {known}{nearest(name, METRICS)}")
    if "classes" in metrics and not isinstance(features, Classifier):
        raise InputError(f"metrics=classes: needs features=classifier, not {features.name}")
    least = {"prdc": 6, "kid": 2, "frechet": 2, "diversity": 2}
    needed = max((least.get(name, 1) for name in metrics), default=1)
    if num < needed:
        raise InputError(f"{num} images are too few for {', '.join(metrics)}: give at least {needed}")


def measure(
    metrics: Collection[str], real: Summary, fake: Summary, features: Features, *, subsets: int = 100, subset_size: int = 1000
) -> tuple[dict[str, float], list[str]]:
    """Numbers by name, and what there is to warn of. Only Inception's are called fid and kid, all others by their features.

    subsets, subset_size: of the kernel distance; smaller where there are fewer images.
    """
    frechet, kernel = (
        ("fid", "kid") if features.name == "inception" else (f"{features.name}_frechet", f"{features.name}_kernel")
    )
    found: dict[str, float] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if "frechet" in metrics:
            assert real.moments is not None
            assert fake.moments is not None
            found[frechet] = frechet_distance(real.moments, fake.moments)
    if "kid" in metrics:
        size = min(subset_size, max(2, min(real.num, fake.num) // 2))  # subsets of all would have no error to speak of
        found[kernel], found[f"{kernel}_subset_error"] = kernel_distance(
            real.rows, fake.rows, subsets=subsets, subset_size=size
        )
    if "prdc" in metrics:
        found |= precision_recall(real.rows, fake.rows)._asdict()
    if "diversity" in metrics:
        found["diversity"] = mean_pairwise_distance(fake.rows)
    if "classes" in metrics:
        found |= _measure_classes(features, fake.rows, histogram=True)
    return found, [str(warning.message) for warning in caught]


def _measure_classes(features: Features, rows: Any, *, histogram: bool = False) -> dict[str, float]:
    assert isinstance(features, Classifier)
    found = class_statistics(features.probabilities(rows))
    shares = {f"class_share/{name}": float(share) for name, share in zip(features.classes, found.histogram, strict=True)}
    named = {"classes_covered": found.covered, "confidence": found.confidence, "classifier_score": found.score}
    return named | (shares if histogram else {})


class Reference(NamedTuple):
    """The real side of measures: which, with which features, of which images, in words for the result row; their summary."""

    metrics: tuple[str, ...]
    features: Features
    words: str
    shape: tuple[int, ...]
    real: Summary


def make_reference(metrics: Collection[str], features: Features, source: ImageSource, words: str) -> Reference:
    """Real images to measure others against."""
    check_metrics(metrics, features, source.num)
    shape = source.take(0, 1).shape[1:]
    return Reference(tuple(metrics), features, words, shape, summarise(source, features, metrics, name="real images"))


def score(reference: Reference, sources: Sequence[ImageSource], name: str) -> dict[str, Any]:
    """A result row of sets of images of one kind, such as samples by seed: means over the sets, and what they depend on.

    Raises:
        InputError: too few images for a measure, or images of another shape or range than the reference's.
    """
    metrics, features, words, shape, real = reference
    for source in sources:
        check_metrics(metrics, features, source.num)
        _check_images(name, source.take(0, min(source.num, _CHUNK)), shape, features)
    by_set, notes = [], list[str]()
    for index, source in enumerate(sources):
        part = name if len(sources) == 1 else f"{name}, set {index + 1} of {len(sources)}"
        found, notes = measure(metrics, real, summarise(source, features, metrics, name=part), features)
        by_set.append(found)
    row = {"samples": name, "num": sources[0].num, "real": words, "num_real": real.num}
    row |= {"features": features.name, "weights_sha256": features.digest, "preparation": features.preparation}
    if isinstance(features, Classifier):
        row |= {"classifier_accuracy": features.accuracy}
    return row | means_and_errors(by_set) | {"notes": notes}


def means_and_errors(by_set: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """For a result row: how many sets, their means and, of several, standard errors and single numbers."""
    columns = {key: mean_and_error([found[key] for found in by_set]) for key in by_set[0]}
    row: dict[str, Any] = {"sets": len(by_set), "mean": {key: mean for key, (mean, _) in columns.items()}}
    if len(by_set) > 1:
        row |= {"standard_error": {key: error for key, (_, error) in columns.items()}, "by_set": list(by_set)}
    return row


def _check_images(name: str, images: np.ndarray, shape: tuple[int, ...], features: Features) -> None:
    """Raise `InputError` where these cannot be compared to real images of that shape."""
    size, channels = images.shape[1:3], images.shape[3]
    if channels != shape[2]:
        raise InputError(f"{name}: {channels} channels, the real images have {shape[2]}: give images with as many")
    if size != shape[:2] and features.name != "inception":
        raise InputError(f"{name}: {size[0]} × {size[1]}, the real images are {shape[0]} × {shape[1]}: give that size")


# During training


@dataclass(frozen=True)
class Evaluator:
    """A cheap look at a state: `evaluator(state)` measures num samples, the averaged generator's where there is one.

    The latents are the same at every call, and no others' than its own: what is best by them is not so by chance in other
    measures. selection_metric: the key whose lowest value is the best step.
    """

    gan: GAN
    num: int
    selection_metric: str
    measure: Callable[[Any], dict[str, float]]
    draw_real: Callable[[], Any]

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Numbers by name, `eval/…`."""
        return self.measure(sample(self.gan, state, jax.random.key(_LATENTS), self.num))

    def real_baseline(self) -> dict[str, float]:
        """The same measures of as many real examples, or as there are, which no part of the measure has seen."""
        return self.measure(self.draw_real())


def make_evaluator(gan: GAN, dataset: Dataset, *, num: int = 2000) -> Evaluator:
    """Of num samples, by what the data are.

    Images with labels: the classifier's Fréchet distance, classes covered, mean confidence, score. Other images: the kernel
    distance of pixels. Densities: modes, share of high quality, JSD (`mode_statistics`).

    Images are compared to those that `hold_out` leaves to learn from, at most 10,000. The first call for a set trains its
    classifier, for half a minute.
    """
    if isinstance(dataset, DensityDataset):
        return _density_evaluator(gan, dataset, num)
    assert isinstance(dataset, ImageDataset)
    images = dataset.images if isinstance(dataset.images, np.memmap) else np.asarray(dataset.images)
    labels = None if dataset.labels is None else np.asarray(dataset.labels)
    learned, held_out = hold_out(len(images))
    if has_classes(labels):
        features: Features = make_classifier(images, labels)
        metrics, best = ["frechet", "classes"], "eval/classifier_frechet"
    else:
        features, metrics, best = make_pixels(images.shape[1:]), ["kid"], "eval/pixels_kernel"
    real = summarise(real_images(images, learned[:_MAX_REAL]), features, metrics)

    def measure_images(samples: np.ndarray) -> dict[str, float]:
        rows = _extract(features, samples)
        fake = Summary(len(rows), moments(rows) if "frechet" in metrics else None, rows)
        found, _ = measure(metrics, real, fake, features, subsets=10, subset_size=500)  # seconds, not a minute
        return {f"eval/{name}": number for name, number in found.items() if not name.startswith("class_share/")}

    held_out_images = images[held_out[:num]]
    return Evaluator(gan, num, best, measure_images, lambda: held_out_images)


def _density_evaluator(gan: GAN, dataset: DensityDataset, num: int) -> Evaluator:
    density = dataset.density

    def measure_points(points: Any) -> dict[str, float]:
        found = mode_statistics(points, density.means, float(density.stddev))
        return {"eval/modes": found.modes, "eval/high_quality": found.high_quality, "eval/js": found.js}

    return Evaluator(gan, num, "eval/js", measure_points, lambda: density.sample(jax.random.key(1), (num,)))


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Metrics as `key value` pairs on one line."""
    return "  ".join(f"{key} {number:.4g}" for key, number in metrics.items())
