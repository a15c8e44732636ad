"""The package in a few lines of Python: a recipe, training, evaluation, saved states."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import assert_trees_equal

import gan_jax
from gan_jax.configs import default
from gan_jax.errors import InputError, NonFiniteError
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.state import abstract_state

RNG = jax.random.key(0)
POINTS = {"network.name": "mlp", "network.mlp.hidden": (8,), "latent_dim": 2, "optimizer.learning_rate": 1e-3}


@pytest.fixture(scope="module")
def ring():
    return gan_jax.make_dataset("ring", batch_size=8), gan_jax.recipe((2,), POINTS)


def test_a_recipe_has_the_entries_and_the_shape():
    gan = gan_jax.recipe((16, 16, 3), {"objective": "hinge", "packing": 2, "network.dcgan.base_width": 4})
    assert (gan.sample_shape, gan.packing, gan.objective) == ((16, 16, 3), 2, gan_jax.OBJECTIVES["hinge"])
    for entries, message in [
        ({"objektive": "hinge"}, "objektive: no such entry of the config; did you mean objective?"),
        ({"batch_size": "many"}, "batch_size"),
        ({"objective": "hinges"}, "must be one of"),
        ({"penalty.r1": 1.0}, "batch norm in the discriminator couples examples"),
    ]:
        with pytest.raises(InputError, match=message.replace("?", r"\?")):
            gan_jax.recipe((16, 16, 3), entries)
    with pytest.raises(InputError, match=r"the samples are \(\)"):
        gan_jax.recipe(())
    with pytest.raises(InputError, match=r"sample_shape=2: must be \(H, W, C\)"):
        gan_jax.recipe(2)
    assert gan_jax.recipe((2,), POINTS | {"packing": 3}).packing == 3  # the dataset has the batch, not the entry batch_size
    five = {"network.name": "r3gan", "network.r3gan.widths": (16,) * 5}
    assert gan_jax.recipe((64, 64, 3), five).sample_shape == (64, 64, 3)  # at 32 × 32 there would be four


def test_two_fits_are_one_to_the_bit_and_their_history_has_every_step(ring):
    dataset, gan = ring
    whole = gan_jax.fit(gan, dataset, 6, every=1, progress=False)
    first = gan_jax.fit(gan, dataset, 3, every=1, progress=False)
    second = gan_jax.fit(gan, dataset, 3, state=first.state, every=1, progress=False)
    assert_trees_equal(whole.state, second.state)
    assert whole.history == first.history + second.history
    assert [row["step"] for row in whole.history] == [1, 2, 3, 4, 5, 6]
    means = gan_jax.fit(gan, dataset, 4, every=3, progress=False).history
    assert [row["step"] for row in means] == [3, 4]
    assert means[0]["loss/disc"] == pytest.approx(np.mean([row["loss/disc"] for row in whole.history[:3]]), rel=1e-5)
    assert int(first.state.step) == 3  # a state that goes in is kept
    assert gan_jax.curves(gan, whole.history).get_axes()


def test_a_callback_ends_the_training(ring):
    dataset, gan = ring
    seen = []
    fitted = gan_jax.fit(gan, dataset, 9, every=2, progress=False, callback=lambda step, *_: seen.append(step) or step >= 4)
    assert (seen, int(fitted.state.step)) == ([2, 4], 4)


def test_nan_ends_it_with_the_step(ring):
    dataset, _ = ring
    gan = gan_jax.recipe((2,), POINTS | {"optimizer.learning_rate": 1e20})
    with pytest.raises(NonFiniteError, match=r"step [1-5]: .* is nan or inf"):
        gan_jax.fit(gan, dataset, 5, progress=False)
    for arguments, message in (
        ({"num_steps": 0}, "num_steps=0: must be an integer ≥ 1"),
        ({"num_steps": 60.0}, "num_steps=60.0: must be an integer"),
        ({"num_steps": 1, "seed": -1}, "seed=-1: must be an integer ≥ 0"),
        ({"num_steps": 1, "seed": 2**32}, r"seed=4294967296: must be below 2\*\*32"),
    ):
        with pytest.raises(InputError, match=message):
            gan_jax.fit(gan, dataset, **arguments)
    with pytest.raises(InputError, match="history: has no rows"):
        gan_jax.curves(gan, [])


def test_a_state_of_another_recipe_is_refused(ring):
    """An average that the recipe does not keep would grow stale, and be sampled."""
    dataset, gan = ring
    averaged = gan_jax.recipe((2,), POINTS | {"ema_decay": 0.9})
    state = gan_jax.create_state(averaged, RNG)
    for recipe, message in (
        (gan, "ema/.* in it, but must be absent"),
        (gan_jax.recipe((2,), POINTS | {"latent_dim": 3}), "Dense_0"),
    ):
        with pytest.raises(InputError, match=f"the state is of another recipe: .*{message}"):
            gan_jax.fit(recipe, dataset, 1, state=state)


def test_means_of_a_lazy_penalty_are_over_the_steps_that_compute_it(ring):
    dataset, _ = ring
    gan = gan_jax.recipe((2,), POINTS | {"penalty.r1": 1.0, "penalty.every": 3})
    (row,) = gan_jax.fit(gan, dataset, 5, every=5, progress=False).history
    each = [row["penalty/r1"] for row in gan_jax.fit(gan, dataset, 5, every=1, progress=False).history if "penalty/r1" in row]
    assert len(each) == 2
    assert row["penalty/r1"] == pytest.approx(np.mean(each), rel=1e-5)


def test_grids_of_anything_but_bytes_are_refused(tmp_path):
    for images in (np.zeros((4, 8, 8, 1), np.float32), np.zeros((0, 8, 8, 1), np.uint8), np.zeros((4, 2), np.uint8)):
        with pytest.raises(InputError, match=r"must be uint8 \[N, H, W, C\]"):
            gan_jax.save_grid(images, tmp_path / "grid.png")


def test_saved_states_and_metrics(ring, tmp_path):
    dataset, gan = ring
    state = gan_jax.fit(gan, dataset, 2, progress=False).state
    for step in (1, 2, 3):
        gan_jax.save(state.replace(step=jnp.int32(step)), tmp_path / "states", default.get_config())
    assert int(gan_jax.restore(gan, tmp_path / "states").step) == 3
    assert_trees_equal(gan_jax.restore(gan, tmp_path / "states"), state.replace(step=jnp.int32(3)))
    (tmp_path / "file").write_text("")
    for directory, saved, config, message in (
        ("states", state, None, "has step 3 already: give another folder for a state of step 2"),
        ("file", state, None, "must be a folder"),
        ("new", state, {"number": np.float32(1)}, "config: must be JSON"),
        ("new", state.replace(step=np.float64(1)), None, "step is float64: checkpoints hold float32"),
    ):
        with pytest.raises(InputError, match=message):
            gan_jax.save(saved, tmp_path / directory, config)
    assert sorted(path.name for path in (tmp_path / "states").iterdir() if path.is_dir()) == ["1", "2", "3"]
    with pytest.raises(InputError, match="which=newest: must be final or best"):
        Checkpoints(tmp_path / "states", read_only=True).find("newest")
    with pytest.raises(InputError, match="by the config"):
        gan_jax.restore(gan_jax.recipe((2,), POINTS | {"latent_dim": 3}), tmp_path / "states")
    with pytest.raises(InputError, match=r"must be a folder that gan_jax\.save has written"):
        gan_jax.restore(gan, tmp_path / "none")
    for_sampling = replace(gan, networks=gan_jax.Players(gan.networks.gen, None))
    for whole in (
        lambda: gan_jax.restore(for_sampling, tmp_path / "states"),
        lambda: abstract_state(for_sampling),
        lambda: gan_jax.make_step(for_sampling, dataset, 0),
        lambda: gan_jax.fit(for_sampling, dataset, num_steps=1),
    ):
        with pytest.raises(InputError, match="restored for sampling only"):
            whole()
    metrics = gan_jax.evaluate(gan, state, dataset, num=200)
    assert metrics.keys() == {f"{side}{name}" for side in ("", "real/") for name in ("modes", "high_quality", "js")}
    assert metrics["real/high_quality"] > 0.9 > metrics["high_quality"]


def test_iterating_sees_the_batches_of_the_steps(ring):
    dataset, _ = ring
    for step, batch in enumerate(itertools.islice(dataset, 3)):
        expected = dataset.batches(0, step)
        np.testing.assert_array_equal(batch.images, expected.images[0])
        assert jax.tree.leaves(batch)[0].shape == (8, 2)
