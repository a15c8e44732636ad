"""What is opened: regular files of a bounded size, and nothing that blocks, has no end, or leads elsewhere."""

import os

import pytest

from gan_jax.cached import cache_dir
from gan_jax.errors import InputError
from gan_jax.files import check_tree, expand, open_regular


@pytest.fixture
def strange(tmp_path):
    """A link, a link to nothing, a pipe, a link to a device without end, and a folder, by name."""
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("elsewhere")
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize("name", ["link", "broken", "zero", "pipe"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC])
def test_no_link_pipe_or_device_is_opened(strange, name, flags):
    with pytest.raises(InputError, match=f"{name}: must be a regular file"):
        open_regular(strange / name, flags)
    assert (strange / "file").read_text() == "kept"
    assert not (strange / "elsewhere").exists()


def test_a_file_of_bounded_size_is_opened(strange):
    with os.fdopen(open_regular(strange / "file", at_most=4)) as file:
        assert file.read() == "kept"
    with pytest.raises(InputError, match="must be at most 3 bytes, not 4"):
        open_regular(strange / "file", at_most=3)
    with pytest.raises(FileNotFoundError):
        open_regular(strange / "absent")


def test_a_tree_has_files_and_folders_alone(strange, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("four")
    check_tree(folder, at_most=4)
    with pytest.raises(InputError, match="must be at most 3 bytes"):
        check_tree(folder, at_most=3)
    (folder / "deep" / "link").symlink_to(strange)
    with pytest.raises(InputError, match="link: must be a regular file"):
        check_tree(folder, at_most=4)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(InputError, match="set HOME or XDG_CACHE_HOME"):
        cache_dir()
    with pytest.raises(InputError, match="no such home folder"):
        expand("~nobody-of-this-name/images")
