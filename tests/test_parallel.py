"""However the step is dispatched, it is the same step."""

import math
from dataclasses import replace

import jax
import numpy as np
import pytest
from small import assert_trees_equal, random_images, small_config, small_gan

from gan_jax import create_state, from_arrays, make_step, parallel, run_keys, train_step
from gan_jax.data import DensityDataset
from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run.config import _steps_per_call
from gan_jax.run.loop import train
from gan_jax.theory.distributions import ring

SEED = 3


@pytest.mark.parametrize("network", ["dcgan", "mlp"])
def test_many_steps_in_one_call_are_as_many_calls_to_the_bit(network):
    """Points go through a loop on the device; images, on a CPU, do not."""
    gan = small_gan(network, ema_decay=0.9)
    images = from_arrays(random_images(50), batch_size=8, flip=True)
    dataset = images if network == "dcgan" else DensityDataset(ring(), batch_size=8)
    step_fn = make_step(gan, dataset, SEED)
    one_by_one, singles = create_state(gan, jax.random.key(0)), []
    for step in range(4):
        one_by_one, metrics = step_fn(one_by_one, step)
        singles.append(metrics)
    together, metrics = step_fn(create_state(gan, jax.random.key(0)), 0, 4)
    assert int(together.step) == 4
    assert_trees_equal(jax.device_get(one_by_one), jax.device_get(together))
    for name, numbers in metrics.items():
        np.testing.assert_array_equal(numbers, np.concatenate([single[name] for single in singles]))


def test_a_loop_on_the_device_computes_the_same_images_to_rounding(monkeypatch):
    """What an accelerator does, done here."""
    gan = small_gan()
    dataset = from_arrays(random_images(50), batch_size=8)
    expected, _ = make_step(gan, dataset, SEED)(create_state(gan, jax.random.key(0)), 0, 3)
    monkeypatch.setattr(parallel, "_loops_are_slow", lambda gan: False)
    looped, _ = make_step(gan, dataset, SEED)(create_state(gan, jax.random.key(0)), 0, 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), looped, expected)


@pytest.mark.parametrize("options", [{"disc_steps": 2, "num_classes": 8}, {"objective": "relativistic"}])
def test_a_call_is_the_pure_step_on_the_batches_that_the_recipe_asks_for(options):
    """k of them, one more for G where its objective is paired; labels only where the recipe has classes."""
    gan = small_gan("mlp", **options)
    dataset = DensityDataset(ring(), batch_size=8)
    state, _ = make_step(gan, dataset, SEED)(create_state(gan, jax.random.key(0)), 0)
    batches = dataset.batches(SEED, 0, 2)
    batches = batches if gan.num_classes else batches._replace(labels=None)
    pure = jax.jit(train_step, static_argnums=0)
    expected, _ = pure(gan, create_state(gan, jax.random.key(0)), batches, run_keys(SEED).train)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state, expected)


@pytest.mark.parametrize(
    ("options", "dataset", "message"),
    [
        ({"num_classes": 4}, "ring", "num_classes=4, and the dataset has 8 classes: set 8"),
        ({"num_classes": 4}, "images", "num_classes=4, and the dataset has 0 classes: set 0, or choose a dataset with labels"),
        ({"packing": 3}, "ring", "batch_size=8 must be a multiple of packing × devices, 3 × 1"),
        ({}, "images", r"samples \(16, 16, 1\), the GAN makes \(2,\)"),
    ],
)
def test_a_dataset_that_is_not_the_recipes_is_refused(options, dataset, message):
    gan = small_gan("mlp", **options)
    if options and dataset == "images":
        gan = replace(gan, sample_shape=(16, 16, 1))
    examples = DensityDataset(ring(), 8) if dataset == "ring" else from_arrays(random_images(50), batch_size=8)
    with pytest.raises(InputError, match=message):
        make_step(gan, examples, SEED)


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize("name", ["mnist5k", "ring"])
def test_intervals_stay_exact_whatever_goes_to_the_device_at_once(tmp_path, name):
    """3 steps a call, between pictures every 10, checkpoints every 8 and rows every 5, to step 13."""
    run = {"num_steps": 13, "log_every": 5, "sample_every": 10, "checkpoint_every": 8, "network.name": "mlp", "data.name": name}
    for calls in ("1", "3"):
        train(small_config(**run, steps_per_call=calls), tmp_path / calls)
    rows = {calls: read_jsonl(tmp_path / calls / "metrics.jsonl") for calls in ("1", "3")}
    assert [row["step"] for row in rows["3"]] == [5, 10, 13]
    for one, three in zip(rows["1"], rows["3"], strict=True):
        assert one["value"] == three["value"]
    for folder in ("samples", "checkpoints"):
        names = [sorted(path.name for path in (tmp_path / calls / folder).iterdir()) for calls in ("1", "3")]
        assert names[0] == names[1]
    final = [(tmp_path / calls / "samples" / "00000013.png").read_bytes() for calls in ("1", "3")]
    assert final[0] == final[1]


@pytest.mark.parametrize(
    ("backend", "network", "intervals", "expected"),
    [
        ("cpu", "dcgan", (250, 500), 1),
        ("cpu", "mlp", (250, 500), 50),
        ("gpu", "dcgan", (250, 500), 50),
        ("gpu", "dcgan", (64, 96), 32),
        ("tpu", "dcgan", (1000, 5000), 100),
        ("gpu", "mlp", (7, 5), 1),
    ],
)
def test_auto_steps_per_call(monkeypatch, backend, network, intervals, expected):
    monkeypatch.setattr(parallel.jax, "default_backend", lambda: backend)
    config = small_config(sample_every=intervals[0], checkpoint_every=intervals[1])
    assert _steps_per_call(config, small_gan(network)) == expected
    config.steps_per_call = "1000"
    assert _steps_per_call(config, small_gan(network)) == min(config.num_steps, *intervals)


def test_auto_steps_per_call_bounds_what_travels_at_once(monkeypatch):
    monkeypatch.setattr(parallel.jax, "default_backend", lambda: "gpu")
    gan = small_gan()
    megabyte = 2**20 // math.prod(gan.sample_shape)  # examples of it
    assert parallel.auto_steps_per_call(gan, 1000, megabyte) == 100
    assert parallel.auto_steps_per_call(gan, 1000, 16 * megabyte) == 8
    assert parallel.auto_steps_per_call(small_gan(disc_steps=2), 1000, 16 * megabyte) == 4
    assert parallel.auto_steps_per_call(gan, 1000, 1000 * megabyte) == 1
