"""Whatever happens to a file of the cache, the arrays are those that were written, or they are made again after one line."""

import os
import random
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from small import random_images

from gan_jax.cached import cache_dir, load_arrays, save_arrays
from gan_jax.data import Transform, digits, load_images, mnist
from gan_jax.errors import InputError
from gan_jax.evaluation.features import inception_weights, real_statistics
from gan_jax.evaluation.features.pixels import make_pixels
from gan_jax.files import sha256_of

pytestmark = pytest.mark.usefixtures("own_cache")

ARRAYS = {"a": np.arange(12, dtype=np.uint8).reshape(3, 4), "b": np.float64(0.1)}
EXPECTED = {"a": (np.uint8, (None, 4)), "b": (np.float64, ())}


def damages(whole, count, *, header=True):
    """The file with one bit flipped, at random places and in all of the first 200 bytes; cut, emptied, and another file."""
    chance = random.Random(0)
    places = [*chance.sample(range(len(whole)), count), *range(0, min(200, len(whole)), 1 if header else 9)]
    yield from (whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :] for place in places)
    yield from (whole[:-7], whole[: len(whole) // 2], whole[:3], b"", b"not an array", whole + b"x")


def test_arrays_are_read_back_or_named_as_damaged(tmp_path, capsys):
    path = tmp_path / "cache" / "some.arrays"
    assert load_arrays(path, EXPECTED) is None
    assert capsys.readouterr().out == ""
    save_arrays(path, ARRAYS)
    for name, array in load_arrays(path, EXPECTED).items():
        np.testing.assert_array_equal(array, ARRAYS[name])
    for damaged in damages(path.read_bytes(), 100):
        path.write_bytes(damaged)
        assert load_arrays(path, EXPECTED) is None
        assert capsys.readouterr().out == f"{path}: damaged (its checksum is wrong); it is made again\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"a": np.zeros((3, 5), np.uint8)}, r"a is uint8 \[3, 5\]"),
        ({"a": np.zeros((3, 4), np.int8)}, r"a is int8 \[3, 4\]"),
        ({"a": np.zeros(3, np.uint8)}, r"a is uint8 \[3\]"),
        ({"c": np.zeros(3)}, "c is not expected"),
    ],
)
def test_whole_arrays_of_another_shape_are_made_again_too(tmp_path, capsys, change, reason):
    save_arrays(tmp_path / "some.arrays", ARRAYS | change)
    assert load_arrays(tmp_path / "some.arrays", EXPECTED) is None
    assert f"damaged ({reason.replace(chr(92), '')})" in capsys.readouterr().out


def test_the_embedded_digits_are_those_of_the_package_whatever_the_cache_holds(monkeypatch, capsys):
    table = digits._table()
    monkeypatch.setattr(digits, "_parse", lambda: table)
    (path,) = cache_dir().iterdir()
    whole = path.read_bytes()
    for damaged in damages(whole, 3, header=False):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(digits._table(), table)
        assert capsys.readouterr().out.count("\n") == 1
        assert path.read_bytes() == whole


def test_decoded_images_are_those_of_the_files_whatever_the_cache_holds(tmp_path, capsys):
    for index, image in enumerate(random_images(4, 8, 3)):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / f"{index}.png")

    def load():
        return np.array(load_images(f"folder:{tmp_path / 'images'}", Transform(8, 3))[0])

    images = load()
    assert capsys.readouterr().out == ""
    files = sorted((cache_dir() / "images").iterdir())
    assert [path.suffix for path in files] == [".json", ".npy"]
    for path in files:
        for index, damaged in enumerate(damages(path.read_bytes(), 20, header=False)):
            status = path.stat()
            path.write_bytes(damaged)
            if index % 2:  # as a disk does it, without a new time
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            np.testing.assert_array_equal(load(), images)
            assert capsys.readouterr().out.count("damaged") == 1
    np.testing.assert_array_equal(load(), images)
    assert capsys.readouterr().out == ""


def test_moments_of_real_images_are_theirs_whatever_the_cache_holds(capsys):
    images, extractor = random_images(30, 2), replace(make_pixels((2, 2, 1)), digest="weights")
    first = real_statistics(extractor, images, {"moments"})
    (path,) = (cache_dir() / "moments").iterdir()
    for damaged in damages(path.read_bytes(), 20, header=False):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(real_statistics(extractor, images, {"moments"}).moments.scatter, first.moments.scatter)
        assert capsys.readouterr().out.count("damaged") == 1


def assert_whole_or_named(read, expected):
    """Spaces of a header may change without effect."""
    try:
        array = read()
    except InputError as error:
        message = str(error)
    else:
        np.testing.assert_array_equal(array, expected)
        return
    assert "damaged" in message
    assert "\n" not in message


def test_mnist_is_checked_to_the_bit_and_its_header_is_no_traceback(monkeypatch):
    array = np.arange(40, dtype=np.int32)
    monkeypatch.setitem(mnist._DIGESTS, "train-labels", sha256_of(array))
    path = mnist.mnist_folder() / "train-labels.npy"
    path.parent.mkdir(parents=True)
    np.save(path, array)
    whole = path.read_bytes()
    for damaged in damages(whole, 20):
        path.write_bytes(damaged)
        assert_whole_or_named(lambda: mnist._read_array("train-labels"), array)


def test_inception_is_checked_to_the_bit_and_its_header_is_no_traceback(monkeypatch):
    weights = {"conv_00.bias": np.arange(4, dtype=np.float32)}
    monkeypatch.setattr(inception_weights, "DIGEST", inception_weights.digest(weights))
    path = inception_weights.weights_path()
    path.parent.mkdir(parents=True)
    whole = safetensors.numpy.save(weights)
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            assert_whole_or_named(lambda: inception_weights.load_weights()["conv_00.bias"], weights["conv_00.bias"])
