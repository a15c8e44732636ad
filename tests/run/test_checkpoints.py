"""A checkpoint returns every bit and exists once it is whole, the newest and the best are kept, and a failed save is named."""

import os

import forked
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from saved_steps import CONFIG, GAN, at_step, find, folders, save
from small import assert_trees_equal, small_gan, small_state

from gan_jax.errors import InputError, SaveError
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.orbax import reason_of
from gan_jax.state import abstract_state


def test_every_bit_and_the_config_are_restored_in_the_same_structure(tmp_path):
    gan = small_gan(ema_decay=0.9)
    state = at_step(7, gan)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, CONFIG, selection_metric=0.5)
    checkpoint = find(tmp_path)
    assert (checkpoint.step, checkpoint.config, checkpoint.selection_metric) == (7, CONFIG, 0.5)
    restored = checkpoint.restore(abstract_state(gan))
    assert_trees_equal(restored, state)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


def test_bfloat16_and_negative_zero_are_restored(tmp_path):
    state = at_step(1).replace(ema={"mean": jnp.asarray([-0.0, 1.5], jnp.bfloat16), "count": jnp.int32(3)})
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, CONFIG)
    arrays = find(tmp_path).arrays
    assert arrays["ema/mean"].tobytes() == np.asarray(state.ema["mean"]).tobytes()
    assert arrays["ema/count"] == 3


def test_a_state_that_is_donated_after_the_save_is_saved_whole(tmp_path):
    state = jax.tree.map(jnp.copy, small_state(GAN))
    expected = jax.device_get(jax.tree.map(jnp.copy, state))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, CONFIG)
        jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)(state)
    assert_trees_equal(jax.device_get(find(tmp_path).restore(abstract_state(GAN))), expected)


def test_the_newest_and_the_best_are_kept(tmp_path):
    save(tmp_path, 10, 20, 30, 40, 50, keep=2, metrics=[3.0, 1.0, float("nan"), 2.0, None])
    assert folders(tmp_path) == [20, 40, 50]
    assert (find(tmp_path, "best").step, find(tmp_path).step) == (20, 50)
    save(tmp_path, 60, keep=2, metrics=[0.5])  # a new process reads the metrics of the old one
    assert folders(tmp_path) == [50, 60]


@pytest.mark.parametrize("metrics", [[float("nan"), 4.0], [4.0, float("-inf")], [4.0, float("inf")], [4.0, 4.0]])
def test_a_metric_that_is_not_finite_is_never_best_and_of_equals_the_earliest_is(tmp_path, metrics):
    save(tmp_path, 1, 2, metrics=metrics)
    assert find(tmp_path, "best").step == 1 + metrics.index(4.0)


def test_a_run_without_evaluations_has_no_best(tmp_path):
    assert find(tmp_path) is find(tmp_path, "best") is None
    save(tmp_path, 1)
    with pytest.raises(InputError, match="no checkpoint has a selection metric"):
        find(tmp_path, "best")


def test_partial_saves_do_not_count_and_a_writer_removes_them(tmp_path):
    save(tmp_path, 10, 20)
    (tmp_path / "30").mkdir()
    (tmp_path / "40.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "20" / "commit_success.txt").unlink()
    assert find(tmp_path).step == 10
    assert folders(tmp_path) == [10, 20, 30]
    assert find(tmp_path, read_only=False).step == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10"]
    save(tmp_path, 20)
    assert find(tmp_path).step == 20


def test_a_state_of_another_structure_is_refused_with_its_first_leaf(tmp_path):
    save(tmp_path, 10)
    checkpoint = find(tmp_path)
    with pytest.raises(InputError, match=r"ema/batch_stats/.* is absent in the checkpoint of step 10") as error:
        checkpoint.restore(abstract_state(small_gan(ema_decay=0.9)))
    assert len(str(error.value)) < 200
    message = (
        r"params/disc/Conv_0/kernel is float32\[4, 4, 1, 4\] in the checkpoint .*, but float32\[4, 4, 2, 4\] by the config"
    )
    with pytest.raises(InputError, match=message):
        checkpoint.restore(abstract_state(small_gan(packing=2)))


def test_a_failed_save_is_named_with_the_newest_checkpoint(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(at_step(10), CONFIG)
        checkpoints.wait()

        def full(*arguments, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        checkpoints.save(at_step(20), CONFIG)
        with pytest.raises(
            SaveError, match=r"step 20 could not be saved: .*No space left .*the newest checkpoint is of step 10"
        ):
            checkpoints.wait()
        monkeypatch.undo()
        checkpoints.save(at_step(20), CONFIG)
    assert find(tmp_path).step == 20


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "file"), "No space left on device"),
        (ValueError("RESOURCE_EXHAUSTED: x [tensorstore_spec='{true}'] [os_error_code='28']"), "No space left on device"),
        (ValueError("INTERNAL: file: Disk quota exceeded [os_error_code='122'] [source locations='a']"), os.strerror(122)),
        (KeyError(), "KeyError"),
        (ValueError("first\nsecond"), "ValueError: first"),
    ],
)
def test_a_failure_is_told_in_the_systems_own_words(error, reason):
    assert reason_of(error) == reason


def test_late_failures_of_a_save_are_silent_and_others_are_not(tmp_path):
    code = """
import asyncio, logging, sys, threading
from gan_jax.run.orbax import silence_late_transfers
silence_late_transfers()
def late(): raise ValueError("x [os_error_code='28']")
def full(): raise OSError(28, "No space left on device")
class Late:
    def __del__(self): full()
async def main(): asyncio.get_running_loop().create_task(fail())
async def fail(): late()
asyncio.run(main())
del (each := [Late()])[0]
for target in (late, full):
    thread = threading.Thread(target=target); thread.start(); thread.join()
print("silent until here", file=sys.stderr)
thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()
"""
    done = forked.run(["-c", code], cwd=ROOT, env=os.environ)
    assert done.returncode == 0
    assert done.stderr.startswith("silent until here\n")
    assert "ZeroDivisionError" in done.stderr
