"""The classifier learns from one part of the images, is judged by the other, and is trained once."""

import numpy as np
import pytest
from small import random_images
from stripes import RECIPE, striped

from gan_jax.errors import InputError
from gan_jax.evaluation.features import classifier as classifier_module
from gan_jax.evaluation.features import has_classes, make_classifier
from gan_jax.evaluation.images import hold_out

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_classifier_learns_from_one_part_and_is_judged_by_the_other(capsys):
    images, labels = striped(200)
    classifier = make_classifier(images, labels, recipe=RECIPE)
    assert "right on 100.0% of 80 held-out images" in capsys.readouterr().out
    features = classifier.extract(images[:7])
    assert (features.shape, features.dtype) == ((7, classifier.dimensions), np.float32)
    probabilities = classifier.probabilities(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(np.array([3, 7])[probabilities.argmax(axis=1)], labels[:7])
    np.testing.assert_allclose(classifier.extract(images[3:5]), features[3:5], atol=1e-5)
    # Wrong labels of the held-out part leave the weights as they are and the accuracy at 0.
    wrong, (_, held_out) = labels.copy(), hold_out(200)
    wrong[held_out] = 10 - labels[held_out]
    other = make_classifier(images, wrong, recipe=RECIPE)
    assert (other.digest, other.accuracy) == (classifier.digest, 0.0)


def test_the_classifier_is_kept_by_images_labels_and_recipe(capsys, tmp_path):
    images, labels = striped(100)
    first = make_classifier(images, labels, recipe=RECIPE)
    capsys.readouterr()
    again = make_classifier(images, labels, recipe=RECIPE)
    assert capsys.readouterr().out == ""
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.extract(images[:5]), first.extract(images[:5]))
    for path in (tmp_path / "cache").rglob("classifiers/*"):
        path.write_bytes(path.read_bytes()[:100])
    assert make_classifier(images, labels, recipe=RECIPE).digest == first.digest  # cut off: trained again, to the same bits
    assert "once" in capsys.readouterr().out
    make_classifier(images, labels, recipe=RECIPE | {"steps": 61})
    assert "once" in capsys.readouterr().out


def test_a_mapped_file_is_read_by_the_batch_and_never_copied(monkeypatch, tmp_path):
    images, labels = striped(200)
    np.save(tmp_path / "images.npy", images)
    train, seen = classifier_module._train, []

    def spy(network, images, *others):
        seen.append(images)
        return train(network, images, *others)

    monkeypatch.setattr(classifier_module, "_train", spy)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    make_classifier(mapped, labels, recipe=RECIPE | {"steps": 2})
    assert np.shares_memory(seen[0], mapped)


def test_labels_that_a_classifier_cannot_learn_from():
    assert not has_classes(None)
    assert not has_classes(np.zeros(100, int))
    assert not has_classes(np.arange(100))
    with pytest.raises(InputError, match="features=classifier: the dataset must have labels"):
        make_classifier(random_images(30), None)
