"""What was decoded is cached: nothing is decoded twice, a change or damage makes it anew, and a failure is named."""

import errno
import os
import threading

import numpy as np
import pytest
from image_files import cached_files, load, plain
from PIL import Image
from small import random_images

from gan_jax.data import cache
from gan_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def decodings(monkeypatch):
    """How many images have been decoded."""
    calls = []
    real_decode = cache.decode
    monkeypatch.setattr(cache, "decode", lambda *args: calls.append(1) or real_decode(*args))
    return calls


def test_a_second_start_decodes_nothing_and_a_change_everything(folder, decodings):
    for index in range(3):
        Image.fromarray(random_images(1, 9, 3, seed=index)[0]).save(folder / f"{index}.png")
    first = load(folder)
    assert len(decodings) == 3
    np.testing.assert_array_equal(load(folder), first)
    assert len(decodings) == 3
    os.utime(folder / "1.png", ns=(1, 1))  # another time
    np.testing.assert_array_equal(load(folder), first)
    assert len(decodings) == 6
    (folder / "2.png").rename(folder / "0a.png")  # another name, another order
    np.testing.assert_array_equal(load(folder), first[[0, 2, 1]])
    assert len(decodings) == 9
    (folder / "0.png").unlink()
    np.testing.assert_array_equal(load(folder), first[[2, 1]])
    assert len(decodings) == 11
    assert load(folder, channels=1).shape == (2, 8, 8, 1)  # another transform has a cache of its own
    load(folder)
    assert len(decodings) == 13


def test_of_two_that_start_together_one_decodes(folder, monkeypatch, tmp_path, capsys):
    """As the processes of a run on several hosts do; the other waits, and takes what the first has made."""
    Image.fromarray(random_images(1, 8, 3)[0]).save(folder / "0.png")
    real_decode, other, calls = cache.decode, [], []
    second = threading.Thread(target=lambda: other.append(load(folder)))

    def decode(*args):
        calls.append(1)
        if len(calls) == 1:
            second.start()
            second.join(0.5)
        return real_decode(*args)

    monkeypatch.setattr(cache, "decode", decode)
    first = load(folder)
    second.join()
    np.testing.assert_array_equal(first, other[0])
    assert len(calls) == 1
    assert [path.suffix for path in cached_files(tmp_path)] == [".json", ".npy"]
    assert capsys.readouterr().err == ""


def failing(number):
    """What the system would do, but with an error of this number."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_that_cannot_be_read_is_refused_rather_than_missing_from_the_cache(folder, tmp_path, monkeypatch):
    plain().save(folder / "locked.png")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "decode", failing(errno.EACCES))
        with pytest.raises(InputError, match=r"locked\.png: Permission denied; every file must be readable"):
            load(folder)
    assert cached_files(tmp_path) == []
    assert len(load(folder)) == 1


def test_a_damaged_cache_is_rebuilt(folder, decodings, tmp_path):
    for index in range(3):
        Image.fromarray(random_images(1, 8, 3, seed=index)[0]).save(folder / f"{index}.png")
    expected = load(folder)
    record, images = cached_files(tmp_path)
    assert (record.suffix, images.suffix) == (".json", ".npy")
    whole = images.read_bytes()
    damages = [
        lambda: images.write_bytes(whole[:-100]),
        lambda: images.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]),
        lambda: images.write_bytes(b""),
        images.unlink,
        record.unlink,
        lambda: record.write_text('{"fingerprint": '),
        lambda: record.write_text("[]"),
        lambda: record.write_text("{}"),
    ]
    for count, damage in enumerate(damages):
        assert len(decodings) == 3 * (count + 1)
        damage()
        np.testing.assert_array_equal(load(folder), expected)
        assert images.read_bytes() == whole
    np.testing.assert_array_equal(load(folder), expected)
    assert len(decodings) == 3 * (len(damages) + 1)


def test_a_cache_that_cannot_be_written_is_named_and_leaves_nothing(folder, tmp_path, monkeypatch):
    plain().save(folder / "file.png")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(InputError, match=r"\.npy: No space left on device; point XDG_CACHE_HOME"):
            load(folder)
    assert cached_files(tmp_path) == []
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="point XDG_CACHE_HOME to a folder"):
        load(folder)
