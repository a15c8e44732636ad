"""Stacked digits: functions of (seed, step, example), channels independent and uniform, labels of three places."""

import jax
import numpy as np
import pytest
from PIL import Image
from small import assert_trees_equal, random_images, small_config
from test_tfds import write_idx_set

from gan_jax.data import Transform, is_image_dataset, load_images, make_dataset, stacked_from_arrays
from gan_jax.errors import InputError
from gan_jax.run.config import check_config, make_configured_dataset
from gan_jax.run.loop import train

NUM = 200


def stacks(num=NUM, **options):
    """Stacks of images that are filled with their own number; image i has label i mod 10, also written as 3 and up."""
    images = np.broadcast_to(np.arange(num, dtype=np.uint8)[:, None, None, None], (num, 4, 4, 1))
    return stacked_from_arrays(images, 3 + np.arange(num) % 10, **{"batch_size": 8} | options)


def numbers(batch):
    """Which images the stacks consist of, `[..., B, 3]`."""
    return np.round((np.asarray(batch.images)[..., 0, 0, :] + 1) * 127.5).astype(int)


def test_a_batch_is_a_function_of_seed_and_step():
    dataset = stacks()
    first, again = (stacks().batches(3, 7, 2) for _ in range(2))
    assert first.images.shape == (2, 8, 4, 4, 3)
    assert first.images.dtype == np.float32
    np.testing.assert_array_equal(first.images, again.images)
    for other in (dataset.batches(4, 7, 2), dataset.batches(3, 8, 2)):
        assert np.mean(numbers(first) == numbers(other)) < 0.2


@pytest.mark.parametrize("other", [{"batch_size": 5}, {"part": slice(2, 5)}])
def test_example_i_is_the_same_in_a_batch_of_another_size_and_in_a_part_of_it(other):
    expected = numbers(stacks().batches(1, 2))[:, other.get("part", slice(5))]
    np.testing.assert_array_equal(numbers(stacks(**other).batches(1, 2)), expected)


def test_channels_are_uniform_and_independent():
    """Chi-square of 20 images in each channel, and of all pairs of channels: within four standard deviations of its mean."""
    drawn = numbers(stacks(20, batch_size=20).batches(0, 0, 1000)).reshape(-1, 3)
    tables = [np.bincount(drawn[:, channel], minlength=20) for channel in range(3)]
    tables += [np.bincount(20 * drawn[:, a] + drawn[:, b], minlength=400) for a, b in ((0, 1), (0, 2), (1, 2))]
    for counts in tables:
        expected, freedom = len(drawn) / len(counts), len(counts) - 1
        assert abs(np.sum((counts - expected) ** 2 / expected) - freedom) < 4 * np.sqrt(2 * freedom)


def test_labels_are_those_of_the_digits_from_the_first_channel_on():
    dataset = stacks()
    batch = dataset.batches(5, 1, 3)
    digits = numbers(batch) % 10
    np.testing.assert_array_equal(batch.labels, 100 * digits[..., 0] + 10 * digits[..., 1] + digits[..., 2])
    assert batch.labels.dtype == np.int32
    assert dataset.num_classes == 1000
    assert stacked_from_arrays(random_images(4), np.array([7, 3, 7, 3]), batch_size=2).num_classes == 8


def test_the_stacks_of_the_embedded_digits_are_looked_up():
    dataset = make_dataset("stacked:mnist5k", batch_size=16, image_size=8, channels=3)
    digits, labels = load_images("mnist5k", Transform(8, 1))
    index = dataset.fetch(2, 3, 1)["index"]
    batch = dataset.batches(2, 3)
    np.testing.assert_array_equal(np.round((batch.images + 1) * 127.5), np.moveaxis(digits[index][..., 0], 2, -1))
    np.testing.assert_array_equal(batch.labels, labels[index] @ np.array([100, 10, 1]))
    assert (dataset.sample_shape, dataset.num_classes, dataset.test) == ((8, 8, 3), 1000, None)


def test_the_digits_live_on_the_device_and_stacks_do_not():
    dataset = stacks()
    assert {name: leaf.dtype for name, leaf in dataset.arrays.items()} == {"images": np.uint8, "labels": np.int32}
    assert all(isinstance(leaf, jax.Array) for leaf in dataset.arrays.values())
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(dataset.fetch(0, 0, 2))) == 2 * 8 * 3 * 4


def test_stacks_of_training_images_have_the_test_images_beside_them(tmp_path):
    sets = write_idx_set(tmp_path)
    options = {"batch_size": 4, "channels": 3, "data_dir": str(tmp_path)}
    dataset = make_dataset("stacked:mnist", **options)
    np.testing.assert_array_equal(np.asarray(dataset.images)[:, 2:-2, 2:-2, 0], sets["train"][0])
    np.testing.assert_array_equal(dataset.test[0][:, 2:-2, 2:-2, 0], sets["t10k"][0])
    assert dataset.test[1].tolist() == sets["t10k"][1].tolist()
    other = make_dataset("stacked:mnist", split="test", **options)
    assert (len(other.images), other.test) == (20, None)


def test_any_labelled_grey_images_can_be_stacked(tmp_path):
    np.savez(tmp_path / "images.npz", images=random_images(9, 8), labels=np.arange(9) % 3)
    assert make_dataset(f"stacked:numpy:{tmp_path}/images.npz", batch_size=4, image_size=8, channels=3).num_classes == 27


def test_names_of_stacks():
    assert is_image_dataset("stacked:mnist")
    assert is_image_dataset("stacked:tfds:fashion_mnist")
    for name in ("stacked:", "stacked:ring", "stacked:mnst", "stacked:stacked:mnist"):
        assert not is_image_dataset(name)
        with pytest.raises(InputError, match=r"config\.data\.name=stacked:.* must be one of mnist5k, .*, stacked:NAME"):
            check_config(small_config(**{"data.name": name, "data.channels": 3}))


def test_what_cannot_be_stacked_is_one_line(tmp_path):
    np.save(tmp_path / "plain.npy", random_images(9, 8))
    for overrides, message in [
        ({"data.channels": 1}, "data.channels=1 must be 3 for stacked:mnist5k"),
        ({"data.flip": True}, "data.flip must be false for stacked:mnist5k"),
        ({"data.resident_mib": 0}, "data.resident_mib=0 must be ≥ 1: stacks are made on the device"),
        ({"data.split": "test"}, "data.split must be train"),
        ({"data.name": f"stacked:numpy:{tmp_path}/plain.npy"}, r"stacked: images \[9, 8, 8, 1\] must be .*, and have labels"),
    ]:
        config = small_config(**{"data.name": "stacked:mnist5k", "data.channels": 3} | overrides)
        with pytest.raises(InputError, match=message) as error:
            make_configured_dataset(config)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"images \[9, 8, 8, 3\] must be \[N, H, W, 1\], and have labels"):
        stacked_from_arrays(random_images(9, 8, 3), np.arange(9), batch_size=2)
    with pytest.raises(InputError, match=r"data\.channels=1 must be 3"):
        check_config(small_config(**{"data.name": "stacked:mnist5k"}))
    with pytest.raises(InputError, match="stacked:mnist has no images of its own: it stacks those of mnist"):
        load_images("stacked:mnist", Transform(32, 3))


@pytest.mark.usefixtures("no_curves")
def test_a_run_on_stacks_resumes_to_the_bit_with_labels_and_pictures_in_colour(tmp_path):
    entries = {"data.name": "stacked:mnist5k", "data.channels": 3, "network.name": "mlp", "num_classes": 1000}
    entries |= {"network.mlp.hidden": (8,), "parallel": "jit"}
    whole = train(small_config(**entries), tmp_path / "whole")
    for steps in (10, 20):
        parts = train(small_config(**entries, num_steps=steps), tmp_path / "parts")
    assert_trees_equal(jax.device_get(whole), jax.device_get(parts))
    assert whole.params.gen["Dense_0"]["kernel"].shape == (4 + 1000, 8)
    for name in ("samples/00000020.png", "real.png"):
        with Image.open(tmp_path / "whole" / name) as picture:
            assert picture.mode == "RGB"
