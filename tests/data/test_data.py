"""Batches are functions of (seed, step), epochs are permutations, pixels are what they were."""

from collections import Counter

import jax
import numpy as np
import pytest
from small import random_images

from gan_jax.data import DATASETS, DENSITIES, Transform, from_arrays, is_image_dataset, load_images, make_dataset
from gan_jax.data import digits as digits_module
from gan_jax.data.datasets import epoch_indices
from gan_jax.errors import InputError


def identifiable(count, **options):
    """A dataset whose image i is filled with the value i."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 1))
    return from_arrays(images, np.arange(count), **options)


def named(name, **options):
    return make_dataset(name, **{"batch_size": 4, "image_size": 8, "channels": 1, "flip": False} | options)


@pytest.mark.parametrize("name", ["mnist5k", *DENSITIES])
def test_a_batch_is_a_function_of_seed_and_step(name):
    dataset = named(name)
    first, again = (named(name).batches(3, 7, 2).images for _ in range(2))
    assert first.shape == (2, 4, *dataset.sample_shape)
    np.testing.assert_array_equal(first, again)
    for other in (dataset.batches(4, 7, 2), dataset.batches(3, 8, 2)):
        assert np.any(np.asarray(first) != np.asarray(other.images))


def test_every_epoch_is_a_full_permutation_and_differs_from_the_last():
    """Also where the batch does not divide the dataset: 10 images, batches of 3, 2 batches a step; 5 steps are 3 epochs."""
    dataset = identifiable(10, batch_size=3)
    order = np.concatenate([np.asarray(dataset.batches(0, step, 2).labels).ravel() for step in range(5)])
    epochs = order.reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_batch_may_span_many_epochs():
    indices = epoch_indices(0, 5, 20, 3)
    assert Counter(indices[1:19].tolist()) == {0: 6, 1: 6, 2: 6}


def test_labels_travel_with_their_images():
    batch = identifiable(50, batch_size=20).batches(1, 2)
    np.testing.assert_allclose((batch.images[..., 0, 0, 0] + 1) * 127.5, batch.labels, atol=1e-4)


def test_labels_become_0_to_k_minus_1_in_their_order():
    dataset = from_arrays(random_images(4), np.array([7, 3, 7, 100]), batch_size=2)
    assert np.asarray(dataset.labels).tolist() == [1, 0, 1, 2]
    assert (dataset.num_classes, from_arrays(random_images(4), batch_size=2).num_classes) == (3, 0)


def test_pixels_are_scaled_to_minus_one_to_one():
    images = np.zeros((2, 8, 8, 1), np.uint8)
    images[1] = 255
    batch = from_arrays(images, batch_size=2).batches(0, 0).images
    assert batch.dtype == np.float32
    assert set(np.unique(batch)) == {-1.0, 1.0}


def test_images_stay_uint8_on_the_device():
    dataset = from_arrays(random_images(5), batch_size=2)
    assert isinstance(dataset.arrays["images"], jax.Array)
    assert dataset.arrays["images"].dtype == np.uint8


def test_flip_mirrors_half_of_the_images_and_only_left_to_right():
    images = random_images(64)
    plain, flipped = (from_arrays(images, batch_size=64, flip=flip).batches(0, 0).images[0] for flip in (False, True))
    mirrored, same = (
        [bool(np.allclose(after, before, atol=1e-6)) for before, after in zip(each, flipped, strict=True)]
        for each in (plain[:, :, ::-1], plain)
    )
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_density_samples_are_fresh_and_do_not_depend_on_the_split():
    dataset = named("ring")
    points = np.concatenate([np.asarray(dataset.batches(0, step, 2).images).reshape(-1, 2) for step in range(20)])
    assert len(np.unique(points, axis=0)) == len(points)
    fetched = dataset.fetch(0, 0, 2)
    load = jax.jit(dataset.load)
    halves = [load({}, {"keys": fetched["keys"][:, part]}).images for part in (slice(0, 2), slice(2, 4))]
    np.testing.assert_allclose(np.concatenate(halves, axis=1), dataset.batches(0, 0, 2).images, rtol=1e-6)


def test_what_makes_batches_is_compiled_once():
    """A thousand points beside a run's samples are 125 batches of eight."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    for dataset in (named("ring"), from_arrays(random_images(50), batch_size=8)):
        dataset.batches(0, 0)
        assert any("compile" in name for name in compiled)
        compiled.clear()
        dataset.batches(0, 1)
        assert not any("compile" in name for name in compiled)


def test_density_samples_are_labelled_by_their_component():
    dataset = named("grid", batch_size=500)
    points, labels = (np.asarray(leaf)[0] for leaf in dataset.batches(0, 0))
    distances = np.linalg.norm(points[:, None] - dataset.density.means, axis=-1)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    assert dataset.num_classes == len(set(labels)) == 25


@pytest.mark.parametrize("options", [{"split": "test"}, {"split": "train[:500]"}, {"resize": False}, {"background": "white"}])
def test_the_embedded_digits_refuse_what_they_do_not_honour(options):
    split = options.pop("split", "train")
    with pytest.raises(InputError, match=r"data\.name=mnist5k has digits, .*: data\.split must be train, ") as error:
        load_images("mnist5k", Transform(32, 1, **options), split=split)
    assert "\n" not in str(error.value)


def test_names_of_datasets():
    assert {name for name in DATASETS if not is_image_dataset(name)} == {*DENSITIES, "stacked:NAME"}
    known = "mnist5k, mnist, crossfire, emoji, ring, grid, tfds:NAME, folder:PATH, numpy:FILE, stacked:NAME"
    for name in ("mnist6k", "tfds:", "tfd:mnist", ""):
        assert not is_image_dataset(name)
        with pytest.raises(InputError, match=f"dataset {name} must be one of {known}$"):
            named(name)


@pytest.mark.parametrize(
    ("name", "options"), [("ring", {}), ("mnist5k", {"flip": True}), ("mnist5k", {"resident_mib": 0, "workers": 0})]
)
def test_the_parts_that_processes_fetch_are_those_of_the_whole_batch(name, options):
    whole, *parts = (named(name, part=part, **options).batches(1, 5, 3) for part in (slice(None), slice(0, 1), slice(1, 4)))
    assert len(whole.labels[0]) == 4
    jax.tree.map(lambda all_of_it, *each: np.testing.assert_array_equal(all_of_it, np.concatenate(each, axis=1)), whole, *parts)


def test_the_embedded_digits_are_mnist():
    images, labels = digits_module.load_digits()
    assert images.shape == (5000, 32, 32, 1)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [500] * 10
    assert not images[:, :2].any()
    assert not images[:, -2:].any()
    assert not images[:, :, :2].any()
    assert not images[:, :, -2:].any()
    assert images.max() == 255
    # Ones are thin and zeros are round: ink, and the height of its column profile's hole.
    ink = images.mean(axis=(1, 2, 3))
    assert ink[labels == 1].mean() < 0.6 * ink[labels == 0].mean()
    assert images[labels == 0, 14:18, 15:17].mean() < 20 < images[labels == 1, 14:18, 15:17].mean()


def test_digits_of_other_sizes_and_channels():
    small, _ = digits_module.load_digits(8, 3)
    assert small.shape == (5000, 8, 8, 3)
    full, _ = digits_module.load_digits()
    means = [images.astype(float).mean(axis=(1, 2, 3)) for images in (small, full)]
    np.testing.assert_allclose(*means, rtol=0.15, atol=2)
    own, wide, flat = (digits_module.load_digits(size)[0] for size in (28, (32, 64), (24, 16)))
    np.testing.assert_array_equal(own, full[:, 2:-2, 2:-2])  # their own size: neither padded nor resized
    np.testing.assert_array_equal(wide[:, :, 16:-16], full)
    assert not wide[:, :, :16].any()
    assert not wide[:, :, -16:].any()
    assert flat.shape == (5000, 24, 16, 1)
    assert not flat[:, :2].any()  # no digit is stretched


def test_digits_survive_a_damaged_and_an_unwritable_cache(tmp_path, monkeypatch):
    expected = digits_module._table()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = tmp_path / "gan_jax" / "mnist5k.arrays"
    np.testing.assert_array_equal(digits_module._table(), expected)
    whole = cached.read_bytes()
    cached.write_bytes(whole[:1000])
    np.testing.assert_array_equal(digits_module._table(), expected)
    assert cached.read_bytes() == whole
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    np.testing.assert_array_equal(digits_module._table(), expected)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((4, 8, 8), np.float32), {"batch_size": 2}, "uint8"),
        (np.zeros((4, 8), np.uint8), {"batch_size": 2}, "uint8"),
        (np.zeros((4, 8, 8), np.uint8), {"batch_size": 5}, "batch_size=5"),
        (np.zeros((4, 8, 8), np.uint8), {"batch_size": 0}, "batch_size=0"),
        (
            np.zeros((4, 8, 8), np.uint8),
            {"batch_size": 2, "labels": np.zeros(3, int)},
            r"labels int64 \[3\] must be one integer for each of 4 images",
        ),
        (np.zeros((4, 8, 8), np.uint8), {"batch_size": 2, "labels": np.zeros(4)}, r"labels float64 \[4\] must be"),
    ],
)
def test_bad_arrays_are_named(images, options, message):
    with pytest.raises(InputError, match=message):
        from_arrays(images, **options)


def test_grey_images_without_a_channel_axis():
    assert from_arrays(np.zeros((4, 8, 8), np.uint8), batch_size=2).sample_shape == (8, 8, 1)


@pytest.mark.parametrize("size", [0, -8, (32,), (8, 0), (8, 8, 8), 8.5, "8", None])
def test_an_image_size_is_one_or_two_positive_integers(size):
    with pytest.raises(InputError, match=r"image_size=.* must be an integer ≥ 1, or two, height and width"):
        named("mnist5k", image_size=size)


def test_an_image_size_may_be_numpys_and_a_batch_has_an_example():
    assert named("mnist5k", image_size=np.int64(8)).sample_shape == (8, 8, 1)
    assert Transform(np.array([8, 16]), 1).describe() == Transform((8, 16), 1).describe()
    for name in ("mnist5k", "ring"):
        with pytest.raises(InputError, match="batch_size=0 must be"):
            named(name, batch_size=0)
