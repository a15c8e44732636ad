"""A damaged checkpoint is named, set aside and replaced by the next one, and nothing of it is deleted."""

import errno
import json
import os
import shutil

import jax
import jax.numpy as jnp
import pytest
from saved_steps import CONFIG, GAN, at_step, find, folders, save
from small import assert_trees_equal

from gan_jax.errors import InputError, SaveError
from gan_jax.run import records
from gan_jax.run.checkpoints import Checkpoints, DamagedError
from gan_jax.state import abstract_state


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


def test_a_checkpoint_that_its_run_deletes_during_the_check_of_its_folder_is_no_error(tmp_path, monkeypatch):
    real, walks = records.check_tree, []

    def check(folder, **limits):
        walks.append(folder)
        if len(walks) == 1:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        real(folder, **limits)

    monkeypatch.setattr(records, "check_tree", check)
    records.check_folder(tmp_path)
    assert walks == [tmp_path, tmp_path]
    with pytest.raises(FileNotFoundError):
        records.check_folder(tmp_path / "none")


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


def test_the_metric_of_a_damaged_record_is_ignored_and_its_checkpoint_named_and_kept(tmp_path, capsys):
    save(tmp_path, 10, 20, metrics=[2.0, 3.0])
    path = files_of(tmp_path / "20")["record"]
    path.write_text(path.read_text().replace('"selection_metric": 3.0', '"selection_metric": 1.0'))
    assert json.loads(path.read_text())["selection_metric"] == 1.0
    assert find(tmp_path, "best").step == 10
    assert "the checkpoint of step 20 is damaged (its record differs from its sha256); it is ignored" in capsys.readouterr().out
    save(tmp_path, 30, 40, keep=1)
    assert folders(tmp_path) == [10, 20, 40]


def test_a_record_that_cannot_be_read_for_a_moment_is_not_that_of_the_best(tmp_path, monkeypatch):
    save(tmp_path, 10, 20, metrics=[2.0, 3.0])
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        read, failures = checkpoints._read_record, [DamagedError("its record: Input/output error")]

        def read_late(step):
            if step == 20 and failures:
                raise failures.pop()
            return read(step)

        monkeypatch.setattr(checkpoints, "_read_record", read_late)
        assert checkpoints.find("best").step == 10


@pytest.mark.parametrize(("which", "keep"), [("best", 2), ("best", 1), ("final", 1)])
def test_what_a_run_replaces_while_it_is_read_is_not_damaged(tmp_path, capsys, which, keep):
    save(tmp_path, 10, 20, metrics=[1.0, 2.0])
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        save(tmp_path, 30, keep=keep, metrics=[0.5])
        assert checkpoints.find(which).step == 30
    assert "damaged" not in capsys.readouterr().out


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
