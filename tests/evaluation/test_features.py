"""Features are computed by the batch: pixels, streamed statistics and their cache, and what a stopped evaluation keeps."""

import errno
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small import random_images

from gan_jax import cached
from gan_jax.errors import InputError
from gan_jax.evaluation import metrics
from gan_jax.evaluation.features import (
    Extractor,
    compute_statistics,
    extract,
    extraction,
    keeping_features,
    make_pixels,
    real_statistics,
    seconds_per_image,
)
from gan_jax.evaluation.images import real_images

pytestmark = pytest.mark.usefixtures("own_cache")


def test_pixels_are_the_pixels_and_those_of_large_images_their_means():
    images = random_images(3, 8, 3)
    np.testing.assert_allclose(make_pixels((8, 8, 3)).extract(images), images.reshape(3, -1) / 127.5 - 1, rtol=1e-5, atol=1e-6)
    large = random_images(2, 100)
    pixels = make_pixels((100, 100, 1))
    assert pixels.dimensions == 33 * 33
    assert pixels.extract(large)[1, 34] == pytest.approx(large[1, 3:6, 3:6].mean() / 127.5 - 1, abs=1e-5)


def counting(digest="weights"):
    """An extractor of pixels with a digest, as if it were a network, and the list of how many images each call has seen."""
    calls, pixels = [], make_pixels((4, 4, 1))

    def extract(images):
        calls.append(len(images))
        return pixels.extract(images)

    return replace(pixels, extract=extract, batch_size=100, digest=digest), calls


def test_streamed_statistics_are_those_of_all_features():
    images = random_images(600, 4)
    extractor, calls = counting()
    extractor = replace(extractor, probabilities=lambda features: features[:, :2] + 1)
    statistics = compute_statistics(extractor, images, {"moments", "features", "probabilities"})
    assert (statistics.num, sum(calls), max(calls)) == (600, 600, 100)
    features = make_pixels((4, 4, 1)).extract(images)
    np.testing.assert_array_equal(statistics.features, features)
    np.testing.assert_array_equal(statistics.probabilities, features[:, :2] + 1)
    expected = metrics.moments(features)
    np.testing.assert_allclose(statistics.moments.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(statistics.moments.scatter, expected.scatter, rtol=1e-9)
    assert compute_statistics(extractor, images, {"moments"})[2:] == (None, None, None)
    assert (compute_statistics(extractor, images, ())[1:], sum(calls)) == ((None,) * 4, 1200)


def test_moments_of_real_images_are_kept_by_images_and_extractor(tmp_path):
    images = random_images(600, 4)
    extractor, calls = counting()
    first = real_statistics(extractor, real_images(images), {"moments"})
    again = real_statistics(extractor, real_images(images), {"moments"})
    assert sum(calls) == 600
    np.testing.assert_array_equal(again.moments.scatter, first.moments.scatter)
    changed = images.copy()
    changed[5] ^= 1
    for other in (real_images(changed), real_images(images, at_most=500), real_images(images, np.arange(600))):
        calls.clear()
        real_statistics(extractor, other, {"moments"})
        assert sum(calls) == len(other)
    others, other_calls = counting("other weights")
    real_statistics(others, real_images(images), {"moments"})
    assert sum(other_calls) == 600
    kept = list((tmp_path / "cache").rglob("moments/*"))
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    calls.clear()
    damaged = real_statistics(extractor, real_images(images), {"moments"})
    assert (sum(calls), damaged.num) == (600, 600)
    real_statistics(extractor, real_images(images), {"features"})
    assert sum(calls) == 1200
    real_statistics(make_pixels((4, 4, 1)), real_images(images), {"moments"})  # without a network, it costs no time
    assert len(list((tmp_path / "cache").rglob("moments/*"))) == len(kept) == 5


def test_an_evaluation_that_stops_keeps_its_features_and_one_that_ends_removes_them(tmp_path, monkeypatch, capsys):
    """A batch that fails stands for a kill: what was computed before is on disk by then."""
    images, folder = random_images(600, 4), tmp_path / "cache" / "gan_jax" / "features"
    extractor, calls = counting()
    extractor = replace(extractor, batch_size=8)
    expected = compute_statistics(extractor, images, {"features"}).features
    calls.clear()

    def failing(batch):
        if sum(calls) >= 300:
            raise KeyboardInterrupt
        return extractor.extract(batch)

    with pytest.raises(KeyboardInterrupt), keeping_features(replace(extractor, extract=failing), "rows") as keeping:
        compute_statistics(keeping, images, {"features"})
    (own,) = folder.iterdir()
    assert (sum(calls), len(list(own.iterdir()))) == (304, 2)
    damaged, _ = sorted(own.iterdir())
    damaged.write_bytes(b"")
    calls.clear()
    with keeping_features(extractor, "other rows") as keeping:
        compute_statistics(keeping, images[:8], {"features"})
    assert list(folder.iterdir()) == [own]
    calls.clear()
    with keeping_features(extractor, "rows") as keeping:
        again = compute_statistics(keeping, images, {"features"}).features
        assert f"{damaged}: damaged (its checksum is wrong)" in capsys.readouterr().out
        assert max(calls) == 8
        assert sum(calls) == 600 - 128  # one batch of two was whole
        compute_statistics(keeping, images ^ 1, {"features"})  # other images
        assert sum(calls) == 600 - 128 + 600
    np.testing.assert_array_equal(again, expected)
    assert not list(folder.iterdir())

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cached, "write_atomic_bytes", full)  # is told once
    with keeping_features(extractor, "rows") as keeping:
        compute_statistics(keeping, images, {"features"})
    assert capsys.readouterr().out.count("not cached for the next time") == 1
    with keeping_features(counting("")[0], "rows") as keeping:  # without a network, features cost no time
        assert keeping.batch_size == 100


def test_features_that_are_not_finite_are_refused():
    broken = Extractor("pixels", lambda images: np.full((len(images), 2), np.nan, np.float32), 2, 100, "", "")
    with pytest.raises(InputError, match="features=pixels: some features are nan or inf"):
        list(extract(broken, random_images(3)))


def test_progress_says_what_is_left_and_the_rate_is_that_of_the_second_batch(monkeypatch, capsys):
    clock = iter([0.0, 100.0, 110.0, 132.0])
    monkeypatch.setattr(extraction, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    list(extract(make_pixels((4, 4, 1)), random_images(640, 4), name="real images"))
    assert capsys.readouterr().out.splitlines() == [
        "real images: 256 of 640 images, 2.6 images/s, 150 s left",
        "real images: 640 of 640 images, 4.8 images/s, 0 s left",
    ]
    clock = iter([0.0, 50.0, 90.0, 100.0, 116.0, 124.0])  # to make 16 images takes 16 s, the features of 8 of them 8 s
    extractor, calls = counting()
    assert seconds_per_image(replace(extractor, batch_size=8), random_images(16, 4)) == 16 / 16 + 8 / 8
    assert calls == [8, 8]
