"""Features of any number of images, streamed; the statistics of them that metrics need."""

import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from gan_jax.cached import cache_dir, load_arrays, save_arrays
from gan_jax.errors import InputError
from gan_jax.evaluation.features.extractor import Extractor
from gan_jax.evaluation.images import ImageSource, labels_of
from gan_jax.evaluation.metrics.frechet import Moments, merge, moments
from gan_jax.evaluation.metrics.registry import Statistics
from gan_jax.files import sha256_of

_CHUNK = 256  # images in memory at a time
_KEPT = 128  # images whose features are in one file, at least
_SECONDS_BETWEEN_LINES = 30.0


def extract(extractor: Extractor, images: ImageSource, *, name: str = "") -> Iterator[np.ndarray]:
    """Yield the features float32 `[chunk, D]` of all images in order. name: of the images, to print progress; "" prints none.

    Raises:
        InputError: features that are not finite.
    """
    began = last_line = time.perf_counter()
    with tqdm(total=len(images), desc=name, unit="image", disable=None if name else True, leave=False) as bar:
        for start in range(0, len(images), _CHUNK):
            chunk = images[start : min(start + _CHUNK, len(images))]
            parts = []
            for first in range(0, len(chunk), extractor.batch_size):
                parts.append(extractor.extract(chunk[first : first + extractor.batch_size]))
                bar.update(len(parts[-1]))
            features = np.concatenate(parts)
            if not np.isfinite(features).all():
                raise InputError(f"features={extractor.name}: some features are nan or inf; check the weights of the extractor")
            yield features
            now, done = time.perf_counter(), start + len(chunk)
            if name and bar.disable and now - last_line >= _SECONDS_BETWEEN_LINES:  # the bar is for a terminal
                last_line, rate = now, done / (now - began)
                left = (len(images) - done) / rate
                print(f"{name}: {done} of {len(images)} images, {rate:.1f} images/s, {left:.0f} s left", flush=True)


@contextmanager
def keeping_features(extractor: Extractor, owner: str) -> Iterator[Extractor]:
    """Give an extractor that keeps its features in the user's cache until the end of the block.

    Where the block ends by an error or a kill, they stay there, and are not computed again for the same images with the same
    weights, until a block of the same owner, such as the path of an evaluation's rows, ends. Features that cost no network are
    not kept.
    """
    if not extractor.digest:
        yield extractor
        return
    folder, size, writable = cache_dir() / "features" / sha256_of(owner, extractor.digest), extractor.batch_size, True

    def extract(images: np.ndarray) -> np.ndarray:
        nonlocal writable
        path = folder / f"{sha256_of(images, extractor.name, extractor.digest, extractor.preparation)}.arrays"
        if kept := load_arrays(path, {"features": (np.float32, (len(images), extractor.dimensions))}):
            return kept["features"]
        features = np.concatenate([extractor.extract(images[first : first + size]) for first in range(0, len(images), size)])
        writable = writable and save_arrays(path, {"features": features})
        return features

    yield replace(extractor, extract=extract, batch_size=size * max(1, _KEPT // size))
    shutil.rmtree(folder, ignore_errors=True)


def seconds_per_image(extractor: Extractor, images: ImageSource) -> float:
    """Estimate the time that an image and its features take, by one batch of each after one that compiles."""
    num = min(64, len(images))
    for _ in range(2):
        began = time.perf_counter()
        batch = images[0:num]
        made = time.perf_counter()
        extractor.extract(batch[: extractor.batch_size])
        extracted = time.perf_counter()
    return (made - began) / num + (extracted - made) / min(num, extractor.batch_size)


def compute_statistics(extractor: Extractor, images: ImageSource, needs: Collection[str], *, name: str = "") -> Statistics:
    """Compute the needed statistics of images, with their labels; see `Statistics`.

    Memory grows with N only where more than moments is needed.
    """
    running: Moments | None = None
    chunks = []
    for features in extract(extractor, images, name=name) if needs else ():
        if "moments" in needs:
            running = moments(features) if running is None else merge(running, moments(features))
        if {"features", "probabilities"} & set(needs):
            chunks.append(features)
    rows = np.concatenate(chunks) if chunks else None
    probabilities = None
    if "probabilities" in needs:
        assert extractor.probabilities is not None
        assert rows is not None
        probabilities = extractor.probabilities(rows)
    return Statistics(len(images), running, rows, probabilities, labels_of(images))


def real_statistics(extractor: Extractor, images: ImageSource, needs: Collection[str], *, name: str = "") -> Statistics:
    """Compute the needed statistics of real images; where moments are all, and cost a network, the user's cache keeps them."""
    if set(needs) != {"moments"} or not extractor.digest:
        return compute_statistics(extractor, images, needs, name=name)
    parts = [sha256_of(images[start : min(start + _CHUNK, len(images))]) for start in range(0, len(images), _CHUNK)]
    key = sha256_of(parts, extractor.name, extractor.digest, extractor.preparation)
    path = cache_dir() / "moments" / f"{key}.arrays"
    size = extractor.dimensions
    kept = {"num": (np.int64, ()), "mean": (np.float64, (size,)), "scatter": (np.float64, (size, size))}
    if cached := load_arrays(path, kept):
        running = Moments(int(cached["num"]), cached["mean"], cached["scatter"])
        return Statistics(len(images), running, labels=labels_of(images))
    statistics = compute_statistics(extractor, images, needs, name=name)
    assert statistics.moments is not None
    save_arrays(path, statistics.moments._asdict())
    return statistics
