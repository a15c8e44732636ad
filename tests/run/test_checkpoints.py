"""A checkpoint returns every bit or says what is damaged, exists only once it is whole, and old ones are deleted."""

import json
import os
import shutil

import forked
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from small import assert_trees_equal, small_config, small_gan, small_state

from gan_jax.errors import InputError, SaveError
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.loop import train
from gan_jax.run.orbax import reason_of
from gan_jax.run.restore import restore_run
from gan_jax.state import abstract_state

CONFIG = {"objective": "minimax", "network": {"hidden": [8, 8]}}
GAN = small_gan()


def at_step(step, gan=GAN):
    return small_state(gan).replace(step=jnp.asarray(step, jnp.int32))


def save(directory, *steps, keep=9, metrics=None):
    with Checkpoints(directory, keep=keep) as checkpoints:
        for index, step in enumerate(steps):
            checkpoints.save(at_step(step), CONFIG, selection_metric=metrics and metrics[index])


def find(directory, which="final", read_only=True):
    with Checkpoints(directory, read_only=read_only) as checkpoints:
        return checkpoints.find(which)


def folders(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


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


def flip_bits(path):
    contents = bytearray(path.read_bytes())
    for place in range(0, len(contents), max(1, len(contents) // 50)):  # some bytes of an array's file mean nothing
        contents[place] ^= 16
    path.write_bytes(contents)


DAMAGES = {
    "flipped bits": flip_bits,
    "a truncated file": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a deleted file": lambda path: path.unlink(),
    "an empty file": lambda path: path.write_bytes(b""),
}


def files_of(step_folder):
    """The largest file of the arrays, and that of the record."""
    arrays = max((step_folder / "state" / "ocdbt.process_0" / "d").iterdir(), key=lambda path: path.stat().st_size)
    return {"arrays": arrays, "record": step_folder / "record" / "metadata"}


@pytest.mark.parametrize("part", ["arrays", "record"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_set_aside_and_saved_again(tmp_path, capsys, damage, part):
    save(tmp_path, 10, 20)
    damage(files_of(tmp_path / "20")[part])
    assert_trees_equal(find(tmp_path).restore(abstract_state(GAN)), at_step(10))
    (line,) = capsys.readouterr().out.splitlines()
    assert "the checkpoint of step 20 is damaged" in line
    assert folders(tmp_path) == [10, 20]  # a reader changes nothing
    assert find(tmp_path, read_only=False).step == 10
    assert folders(tmp_path) == [10]
    assert len(list(tmp_path.glob("damaged-20-*"))) == 1  # nothing is deleted
    save(tmp_path, 20)
    assert find(tmp_path).step == 20


def test_readable_arrays_of_another_state_are_damage(tmp_path):
    """A flipped bit often looks like this to Orbax: it restores, without an error, what was not saved."""
    save(tmp_path / "run", 10, 20)
    other = at_step(20).replace(params=jax.tree.map(jnp.negative, at_step(20).params))
    with Checkpoints(tmp_path / "other") as checkpoints:
        checkpoints.save(other, CONFIG)
    shutil.rmtree(tmp_path / "run" / "20" / "state")
    shutil.copytree(tmp_path / "other" / "20" / "state", tmp_path / "run" / "20" / "state")
    assert find(tmp_path / "run").step == 10


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_not_started_again(tmp_path):
    save(tmp_path, 10, 20)
    for step in (10, 20):
        flip_bits(files_of(tmp_path / str(step))["arrays"])
    for _ in range(2):
        with pytest.raises(InputError, match="all checkpoints are damaged; move the folder away to start a new run"):
            find(tmp_path, read_only=False)
    assert folders(tmp_path) == [10, 20]


def test_the_next_best_replaces_a_damaged_best(tmp_path, capsys):
    save(tmp_path, 10, 20, 30, metrics=[3.0, 1.0, 2.0])
    flip_bits(files_of(tmp_path / "20")["arrays"])
    assert find(tmp_path, "best").step == 30
    assert "the checkpoint of step 20 is damaged" in capsys.readouterr().out


def test_the_metric_of_a_damaged_record_is_ignored(tmp_path):
    save(tmp_path, 10, 20, metrics=[2.0, 3.0])
    path = files_of(tmp_path / "20")["record"]
    path.write_text(path.read_text().replace('"selection_metric": 3.0', '"selection_metric": 1.0'))
    assert json.loads(path.read_text())["selection_metric"] == 1.0
    assert find(tmp_path, "best").step == 10


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


@pytest.mark.parametrize("name", ["lr[1e-3]", "a*b", "a?b", "a]b", "a\\b"])
def test_a_path_that_orbax_would_take_for_a_pattern_is_refused_before_any_work(tmp_path, name):
    match = r"a folder of checkpoints must have no .* in its path; rename it, or give a link to it"
    for act in (
        lambda path: save(path / "checkpoints", 1),
        lambda path: train(small_config(**{"data.name": "numpy:nowhere"}), path / "below"),
        restore_run,
    ):
        with pytest.raises(InputError, match=match):
            act(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / name)
    save(tmp_path / "link", 3)
    assert find(tmp_path / "link").step == 3


@pytest.mark.parametrize("name", ["ünï b#c%d;e&f", "{a,b}", "a:b$c~d", "a'b\"c", "a\nb", "1234"])
def test_other_paths_lose_nothing(tmp_path, name):
    save(tmp_path / name, 3)
    assert find(tmp_path / name).step == 3


def test_the_first_save_of_a_process_is_read_back(tmp_path, monkeypatch):
    damaged = []
    with Checkpoints(tmp_path) as checkpoints:
        real_save = checkpoints._manager.save

        def save_badly(step, **options):
            real_save(step, **options)
            flip_bits(files_of(tmp_path / str(step))["arrays"])
            damaged.append(step)

        monkeypatch.setattr(checkpoints._manager, "save", save_badly)
        checkpoints.save(at_step(10), CONFIG)
        with pytest.raises(SaveError, match=r"step 10 could not be saved: .*read back differs: .*; there is no checkpoint"):
            checkpoints.wait()
        monkeypatch.undo()
        checkpoints.save(at_step(20), CONFIG)
        checkpoints.wait()
        read = []
        monkeypatch.setattr(checkpoints, "_read", read.append)
        checkpoints.save(at_step(30), CONFIG)
    assert read == []


def test_copies_links_and_notes_of_the_user_are_left_alone_and_a_link_to_another_step_is_not_resumed(tmp_path, capsys):
    save(tmp_path, 10, 20)
    for name in ("5000.bak", "20.bak", "020", "best"):
        shutil.copytree(tmp_path / "20", tmp_path / name)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "notes").write_text("")
    (tmp_path / "notes.txt").write_text("")
    links = {"latest": "20", "5": "10", "6": "nowhere", "99": "99", "8": "notes.txt"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    theirs = {path.name for path in tmp_path.iterdir()} - {"10", "20"}
    assert find(tmp_path).step == 20
    save(tmp_path, 30, 40, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == theirs | {"30", "40"}
    shutil.copytree(tmp_path / "40", tmp_path / "50")
    assert find(tmp_path).step == 40
    assert "the checkpoint of step 50 is damaged (it is a copy of that of step 40); it is ignored" in capsys.readouterr().out
    find(tmp_path, read_only=False)  # sets it aside
    save(tmp_path, 50)
    assert find(tmp_path).step == 50


def test_a_checkpoint_that_was_moved_and_linked_is_resumed_and_not_deleted(tmp_path):
    save(tmp_path / "run", 10, 20)
    (tmp_path / "run" / "20").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "20").symlink_to(tmp_path / "elsewhere")
    assert find(tmp_path / "run").step == 20
    save(tmp_path / "run", 30, 40, keep=1)
    assert (tmp_path / "run" / "20").is_symlink()
    assert (tmp_path / "elsewhere" / "commit_success.txt").exists()


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
