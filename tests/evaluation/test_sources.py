"""Real and generated images as sources: which ones there are, in which order, and with which labels."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from small import small_gan, small_state

from gan_jax import sample
from gan_jax.errors import InputError
from gan_jax.evaluation.images import GeneratedImages, draw_labels, hold_out, real_images
from gan_jax.run.evaluated import baseline_split


def test_held_out_images_are_none_that_were_learned_from():
    for num in (10, 5000, 60_000):
        learned, held_out = hold_out(num)
        assert sorted([*learned, *held_out]) == list(range(num))
        assert len(held_out) == min(2000, 2 * num // 5)


@pytest.mark.parametrize(
    ("split", "trained", "baseline"),
    [
        ("train", "train", "test"),
        ("test", "train", "train"),
        ("test", "train[:90%]", "train[:90%]"),
        ("train[:90%]", "train[:90%]", "test"),
        ("validation", "train+test", "train+test"),
        ("train[:500]+test", "train[:500]+test", None),
        ("train", "all", "test"),
        ("all", "train", None),
    ],
)
def test_the_baseline_has_no_image_that_it_is_compared_with(split, trained, baseline):
    if baseline is None:
        with pytest.raises(InputError, match=f"--real: {re.escape(split)} leaves no split for the baseline"):
            baseline_split(split, trained)
    else:
        assert baseline_split(split, trained) == baseline


def test_real_images_are_all_shuffled_or_those_of_the_indices():
    images = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    source = real_images(images)
    whole = source[0:50].ravel()
    assert sorted(whole) == list(range(50)) != list(whole)
    np.testing.assert_array_equal(source[7:60].ravel(), whole[7:])
    assert len(real_images(images, at_most=60)) == 50
    few = real_images(images, np.array([4, 2, 9]), at_most=2)
    assert (len(few), few[0:2].ravel().tolist()) == (2, [4, 2])


@pytest.mark.parametrize("ema", [None, True, False])
@pytest.mark.parametrize(("network", "num_classes"), [("dcgan", 0), ("mlp", 3)])
def test_generated_images_by_parts_are_those_sampled_at_once(ema, network, num_classes):
    gan = small_gan(network, ema_decay=0.9, num_classes=num_classes)
    state = small_state(gan)
    source = GeneratedImages(gan, state.replace(ema=jax.tree.map(lambda leaf: leaf + 0.1, state.ema)), 3, 90, ema)
    parts = np.concatenate([source[0:70], source[70:200]])
    np.testing.assert_array_equal(parts, sample(gan, source.state, jax.random.key(3), 90, ema=ema))
    assert np.any(replace(source, ema=not ema)[0:9] != parts[:9]) == (ema is not None)


def test_drawn_labels_have_the_frequencies_of_the_data_and_do_not_depend_on_how_many_there_are():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    drawn = draw_labels(labels, 250, seed=3)
    assert np.bincount(drawn[:200]).tolist() == [120, 60, 20]
    np.testing.assert_array_equal(draw_labels(labels, 70, seed=3), drawn[:70])
    assert np.any(draw_labels(labels, 70, seed=4) != drawn[:70])
    assert 0 < np.mean(drawn[:10] == 0) < 1


def test_generated_images_have_the_labels_that_they_are_given():
    gan = small_gan("mlp", num_classes=3)
    labels = draw_labels(np.array([0, 2, 2, 1]), 90, seed=0)
    source = GeneratedImages(gan, small_state(gan), 3, 90, labels=labels)
    parts = np.concatenate([source[0:70], source[70:200]])
    np.testing.assert_array_equal(parts, source[0:90])
    in_turn = replace(source, labels=None)[0:90]
    np.testing.assert_array_equal(np.all(parts == in_turn, axis=1), labels == np.arange(90) % 3)
