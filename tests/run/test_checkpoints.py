"""A checkpoint gives back every bit or says what is wrong with it, is there only when it is whole, and old ones go."""

import json

import jax
import jax.numpy as jnp
import pytest
from small import assert_trees_equal, small_gan, small_state

from gan_jax.errors import InputError, SaveError
from gan_jax.run.checkpoints import Checkpoints, state_digest
from gan_jax.state import abstract_state

CONFIG = {"objective": "minimax", "network": {"hidden": [8, 8]}}
GAN = small_gan()


def at_step(step, gan=GAN):
    return small_state(gan).replace(step=jnp.asarray(step, jnp.int32))


def save(directory, *steps, keep=9, scores=None):
    with Checkpoints(directory, keep=keep) as checkpoints:
        for index, step in enumerate(steps):
            checkpoints.save(at_step(step), CONFIG, score=scores and scores[index])


def restore(directory, which="final", gan=GAN, said=None, read_only=True):
    lines = [] if said is None else said
    with Checkpoints(directory, read_only=read_only) as checkpoints:
        return checkpoints.restore(which, lambda config: abstract_state(gan), lines.append)


def folders(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_every_bit_and_the_config_come_back_in_the_same_structure(tmp_path, ema_decay):
    gan = small_gan(ema_decay=ema_decay)
    state, configs = at_step(7, gan), []
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, CONFIG)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 7
        restored = checkpoints.restore("final", lambda config: configs.append(config) or abstract_state(gan))
    assert configs == [CONFIG]
    assert_trees_equal(restored, state)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


def test_a_state_that_is_donated_after_the_save_is_saved_whole(tmp_path):
    state = jax.tree.map(jnp.copy, small_state(GAN))
    expected = jax.device_get(jax.tree.map(jnp.copy, state))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, CONFIG)
        jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)(state)
    assert_trees_equal(jax.device_get(restore(tmp_path)), expected)


def test_the_newest_and_the_best_are_kept(tmp_path):
    save(tmp_path, 10, 20, 30, 40, 50, keep=2, scores=[3.0, 1.0, float("nan"), 2.0, None])
    assert folders(tmp_path) == [20, 40, 50]
    assert int(restore(tmp_path, "best").step) == 20
    assert int(restore(tmp_path).step) == 50
    save(tmp_path, 60, keep=2, scores=[0.5])  # a new process knows the scores of the old one
    assert folders(tmp_path) == [50, 60]


@pytest.mark.parametrize("scores", [[float("nan"), 4.0], [4.0, float("-inf")], [4.0, float("inf")], [4.0, 4.0]])
def test_a_score_that_is_not_finite_never_wins_and_of_equals_the_earliest_does(tmp_path, scores):
    save(tmp_path, 1, 2, scores=scores)
    assert int(restore(tmp_path, "best").step) == 1 + scores.index(4.0)


def test_a_run_without_scores_has_no_best(tmp_path):
    assert restore(tmp_path) is None
    save(tmp_path, 1)
    with pytest.raises(InputError, match="no checkpoint has a score"):
        restore(tmp_path, "best")


def test_what_a_cut_off_save_leaves_does_not_count_and_a_writer_removes_it(tmp_path):
    save(tmp_path, 10, 20)
    (tmp_path / "30").mkdir()
    (tmp_path / "40.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "20" / "commit_success.txt").unlink()
    assert int(restore(tmp_path).step) == 10
    assert folders(tmp_path) == [10, 20, 30]
    assert int(restore(tmp_path, read_only=False).step) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10"]
    save(tmp_path, 20)
    assert int(restore(tmp_path).step) == 20


def flip_a_bit(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


DAMAGES = {
    "a flipped bit": flip_a_bit,
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
def test_a_damaged_checkpoint_is_skipped_named_and_replaced(tmp_path, damage, part):
    save(tmp_path, 10, 20)
    damage(files_of(tmp_path / "20")[part])
    said = []
    assert_trees_equal(restore(tmp_path, said=said), at_step(10))
    assert len(said) == 1
    assert "the checkpoint of step 20 is damaged" in said[0]
    assert folders(tmp_path) == [10, 20]  # a reader removes nothing
    restore(tmp_path, read_only=False)
    assert folders(tmp_path) == [10]
    assert len(list(tmp_path.glob("damaged-20-*"))) == 1  # nothing is deleted
    save(tmp_path, 20)
    assert int(restore(tmp_path).step) == 20


def test_every_flipped_bit_is_found(tmp_path):
    """In 40 places of the arrays' file, one at a time: the state is refused, or no bit of it has changed."""
    save(tmp_path, 1)
    path = files_of(tmp_path / "1")["arrays"]
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            assert_trees_equal(restore(tmp_path), at_step(1))
        except InputError as error:
            refused += "no checkpoint there is whole" in str(error)
    assert refused > 20


def test_the_best_that_is_whole_stands_in_for_a_damaged_best(tmp_path):
    save(tmp_path, 10, 20, 30, scores=[3.0, 1.0, 2.0])
    flip_a_bit(files_of(tmp_path / "20")["arrays"])
    said = []
    assert int(restore(tmp_path, "best", said=said).step) == 30
    assert "the checkpoint of step 20 is damaged" in said[0]


def test_a_score_of_a_damaged_record_is_not_believed(tmp_path):
    save(tmp_path, 10, 20, scores=[2.0, 3.0])
    path = files_of(tmp_path / "20")["record"]
    path.write_text(path.read_text().replace('"score": 3.0', '"score": 1.0'))
    assert json.loads(path.read_text())["score"] == 1.0
    assert int(restore(tmp_path, "best").step) == 10


def test_a_state_that_does_not_fit_gives_its_first_leaf_in_one_line(tmp_path):
    save(tmp_path, 10)
    with pytest.raises(InputError, match=r"state\.ema\['batch_stats'\].* is absent in step 10") as error:
        restore(tmp_path, gan=small_gan(ema_decay=0.9))
    assert len(str(error.value)) < 300
    with pytest.raises(InputError, match=r"state\.params\.gen\['Dense_0'\]\['bias'\] is .*in step 10, and .*by the config"):
        restore(tmp_path, gan=small_gan("mlp"))
    assert folders(tmp_path) == [10]


def test_a_save_that_fails_says_so_and_what_is_kept(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(at_step(10), CONFIG)
        checkpoints.wait()

        def full(*arguments, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        checkpoints.save(at_step(20), CONFIG)
        with pytest.raises(SaveError, match=r"step 20 could not be saved: .*No space left .*the checkpoint of step 10 is kept"):
            checkpoints.wait()
        monkeypatch.undo()
        checkpoints.save(at_step(20), CONFIG)
    assert int(restore(tmp_path).step) == 20


def test_the_digest_of_a_state_is_that_of_its_bits():
    state = at_step(1)
    assert state_digest(state) == state_digest(jax.tree.map(jnp.copy, state))
    turned = jax.tree.map(lambda leaf: -leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state.batch_stats)
    assert state_digest(state) != state_digest(state.replace(batch_stats=turned))  # 0.0 and -0.0 are equal, and not the same
