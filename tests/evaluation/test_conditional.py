"""Conditional runs are evaluated by their labels: a generator obeys, ignores or swaps them, and real images set the bound."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from small import small_gan, small_state
from stripes import BY_LABEL, RECIPE, striped

from gan_jax import from_arrays
from gan_jax.evaluation import evaluator as evaluator_module
from gan_jax.evaluation import make_evaluator
from gan_jax.evaluation.comparison import evaluate, make_reference
from gan_jax.evaluation.features import make_classifier
from gan_jax.evaluation.images import GeneratedImages, hold_out, real_images
from gan_jax.state import Players


@pytest.fixture(autouse=True)
def _quick_classifier(own_cache, monkeypatch):
    monkeypatch.setattr(evaluator_module, "make_classifier", lambda *data: make_classifier(*data, recipe=RECIPE))


class Painter(nn.Module):
    """Stripes with noise, as `striped` has: across for class 0, upright for class 1, or as `ways` says; it learns nothing.

    ways: the direction for label 0 and for label 1; None: that of the latents, whatever the label.
    """

    ways: tuple[int, int] | None = (0, 1)

    @nn.compact
    def __call__(self, latents, labels, train):
        self.param("unused", nn.initializers.zeros, ())
        of_latents = (latents[:, 0] > 0).astype(jnp.int32)
        way = of_latents if self.ways is None else jnp.array(self.ways)[labels]
        stripes = jnp.where(jnp.arange(8) % 4 < 2, 220.0, 60.0)
        upright = jnp.broadcast_to(stripes, (len(latents), 8, 8))
        images = jnp.where((way == 0)[:, None, None], upright, upright.swapaxes(1, 2))
        noise = 20 * jnp.sin(100 * latents @ jnp.cos(jnp.arange(len(latents[0]) * 64.0)).reshape(-1, 64))
        return (images + noise.reshape(-1, 8, 8))[..., None] / 127.5 - 1


def painter(ways=(0, 1)):
    gan = small_gan("mlp", num_classes=2)
    gan = replace(gan, networks=Players(Painter(ways), gan.networks.disc), sample_shape=(8, 8, 1))
    return gan, small_state(small_gan("mlp", num_classes=2)).replace(params=Players({"unused": jnp.zeros(())}, {}))


def test_the_evaluator_sees_whether_a_generator_obeys_ignores_or_swaps_its_labels(capsys):
    images, labels = striped(800)
    numbers = {}
    for name, ways in (("obeys", (0, 1)), ("ignores", None), ("swaps", (1, 0))):
        gan, state = painter(ways)
        evaluator = make_evaluator(gan, from_arrays(images, labels, batch_size=8), num=300)
        numbers[name] = {key.removeprefix("eval/"): number for key, number in evaluator(state).items()}
    baseline = evaluator.real_baseline()
    assert baseline.keys() == {f"eval/{key}" for key in numbers["obeys"]}
    assert numbers["obeys"].keys() == BY_LABEL | {
        "classifier_frechet",
        "classes_covered",
        "confidence",
        "inception_style_score",
    }
    assert (numbers["obeys"]["accuracy"], numbers["swaps"]["accuracy"], baseline["eval/accuracy"]) == (1, 0, 1)
    assert numbers["ignores"]["accuracy"] == pytest.approx(0.5, abs=3 * 0.5 / 300**0.5)
    for worse in ("ignores", "swaps"):
        assert numbers[worse]["classifier_class_frechet"] > 5 * numbers["obeys"]["classifier_class_frechet"]
    assert numbers["swaps"]["classifier_frechet"] < numbers["swaps"]["classifier_class_frechet"] / 10
    assert numbers["swaps"]["class_coverage"] == 0
    assert "leaves out" not in capsys.readouterr().out


def test_the_evaluators_samples_have_the_frequencies_of_the_data():
    images, labels = striped(800)
    rare = np.flatnonzero(labels == 7)[:80]
    kept = np.sort(np.append(np.flatnonzero(labels == 3), rare))
    gan, state = painter()
    dataset = from_arrays(images[kept], labels[kept], batch_size=8)
    evaluator = make_evaluator(gan, dataset, num=len(kept))
    assert np.bincount(evaluator.labels).tolist() == [len(kept) - 80, 80]
    shown = GeneratedImages(gan, state, 0, len(kept), labels=evaluator.labels)[0 : len(kept)]
    upright = np.ptp(shown[..., 0].mean(axis=1), axis=1) > 80
    np.testing.assert_array_equal(upright, evaluator.labels == 0)


def test_what_too_few_images_of_a_class_do_not_allow_is_left_out_and_named(capsys):
    images, labels = striped(200)
    labels[7:] = 3
    labels[:7] = 7
    gan, state = painter()
    evaluator = make_evaluator(gan, from_arrays(images, labels, batch_size=8), num=100)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == [f"evaluation leaves out class_{n}" for n in ("frechet", "coverage")]
    assert set(evaluator(state)) & {f"eval/{name}" for name in BY_LABEL} == {"eval/accuracy"}
    assert all(np.isfinite(number) for number in evaluator(state).values())


def test_an_unconditional_run_has_no_metrics_by_label():
    evaluator = make_evaluator(small_gan(), from_arrays(*striped(400, 16), batch_size=8), num=100)
    assert evaluator.labels is None
    assert not {f"eval/{name}" for name in BY_LABEL} & set(evaluator.real_baseline())


def test_a_perfect_sampler_has_the_accuracy_of_the_real_images():
    images, labels = striped(400)
    classes = np.unique(labels, return_inverse=True)[1]
    classes[::9] ^= 1  # nobody is right on these
    classifier = make_classifier(images, classes, recipe=RECIPE)
    learned, held_out = hold_out(400)
    reference = make_reference([], classifier, real_images(images, learned, labels=classes), "stripes", num_classes=2)
    copies = real_images(images, held_out, labels=classes)
    row = evaluate(reference, [copies], "held out")
    assert row["mean"]["accuracy"] == classifier.accuracy == row["classifier_accuracy"] < 1
    by_class = [row["mean"][f"classifier_class_frechet/{label}"] for label in (0, 1)]
    assert row["mean"]["classifier_class_frechet"] == pytest.approx(np.mean(by_class))
    assert 0.5 < row["mean"]["class_coverage"] <= 1
    assert "class_coverage/1" in row["mean"]
    plain = make_reference([], classifier, real_images(images, learned, labels=classes), "stripes")
    assert not BY_LABEL & evaluate(plain, [copies], "held out")["mean"].keys()
