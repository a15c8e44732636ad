"""A checkpoint gives back every bit, is there only when it is whole, and old ones go."""

import jax
import jax.numpy as jnp
import pytest
from small import assert_trees_equal, small_gan, small_state

from gan_jax import create_state
from gan_jax.checkpoints import Checkpoints

CONFIG = {"objective": "minimax", "network": {"hidden": [8, 8]}}


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_every_bit_and_the_config_come_back_in_the_same_structure(tmp_path, ema_decay):
    gan = small_gan(ema_decay=ema_decay)
    state = small_state(gan).replace(step=jnp.asarray(7, jnp.int32))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, CONFIG)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 7
        assert checkpoints.restore_config(7) == CONFIG
        assert_trees_equal(checkpoints.restore(7, create_state(gan, jax.random.key(9))), state)


def test_a_state_that_is_donated_after_the_save_is_saved_whole(tmp_path):
    gan = small_gan("mlp")
    state = jax.tree.map(jnp.copy, small_state(gan))
    expected = jax.device_get(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, CONFIG)
        jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)(state)
    with Checkpoints(tmp_path) as checkpoints:
        assert_trees_equal(jax.device_get(checkpoints.restore(0, create_state(gan, jax.random.key(9)))), expected)


def test_the_newest_are_kept(tmp_path):
    state = small_state(small_gan("mlp"))
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest_step() is None
        for step in (10, 20, 30):
            checkpoints.save(state.replace(step=jnp.asarray(step, jnp.int32)), CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ["20", "30"]


def test_an_empty_or_uncommitted_step_folder_does_not_count(tmp_path):
    state = small_state(small_gan("mlp"))
    with Checkpoints(tmp_path) as checkpoints:
        for step in (10, 20):
            checkpoints.save(state.replace(step=jnp.asarray(step, jnp.int32)), CONFIG)
    (tmp_path / "30").mkdir()
    (tmp_path / "20" / "commit_success.txt").unlink()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 10
