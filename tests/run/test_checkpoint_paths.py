"""A folder of checkpoints may have any path but a pattern, and what else a user keeps in it is left alone."""

import shutil

import pytest
from saved_steps import find, save
from small import small_config

from gan_jax.errors import InputError
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run


@pytest.mark.parametrize("name", ["lr[1e-3]", "a*b", "a?b", "a]b", "a\\b", "a\udce9"])
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
