"""Arrays in .npy and .npz files become images and labels, and whatever else such a file holds is one line."""

import os
import zipfile

import numpy as np
import pytest
from image_files import cached_files
from small import random_images

from gan_jax.data import Transform, load_images, make_dataset
from gan_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.array(["a"] * 4)}, r"labels <U1 \[4\] must be one integer for each of 4 images"),
        ({"labels": np.array([0, 1, np.nan, 2])}, r"labels float64 \[4\] must be one integer"),
        ({"labels": np.array([0, 1, 2, 2**40])}, "label 1099511627776 must be an integer of 32 bits"),
        ({"labels": np.zeros((4, 1), np.int32)}, r"labels int32 \[4, 1\] must be one integer"),
        ({"images": np.array("text")}, "must be uint8"),
        ({"images": np.array([object()])}, "must be a .npy or .npz file of uint8"),
    ],
)
@pytest.mark.parametrize("size", [8, 16])
def test_arrays_that_are_no_images_or_labels_are_one_line(tmp_path, arrays, message, size):
    """Also where they are resized and cached."""
    np.savez(tmp_path / "bad.npz", **{"images": random_images(4, 8, 3)} | arrays)
    with pytest.raises(InputError, match=message):
        load_images(f"numpy:{tmp_path / 'bad.npz'}", Transform(size, 3))


def test_files_that_hold_no_arrays_are_one_line(tmp_path, monkeypatch):
    """A member that is no array, a pipe, a folder, and an archive that unpacks to more than the memory."""
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("images.npy", "no array")
    os.mkfifo(tmp_path / "pipe.npy")
    np.savez_compressed(tmp_path / "large.npz", images=np.zeros((100, 8, 8, 1), np.uint8))
    monkeypatch.setattr("gan_jax.memory.host_bytes", lambda: 4096)
    for name, message in [
        ("text.npz", "images is not an array"),
        ("pipe.npy", "must be a regular .npy or .npz file"),
        ("", "must be a regular .npy or .npz file"),
        ("large.npz", "unpacked, takes 6.38 KiB, and this machine has 4 KiB of memory"),
    ]:
        with pytest.raises(InputError, match=message):
            load_images(f"numpy:{tmp_path / name}", Transform(8, 1))


@pytest.mark.parametrize("scheme", ["numpy", "folder"])
def test_files_have_one_split(tmp_path, scheme):
    with pytest.raises(InputError, match=r"data\.name=\w+:.* has one split only: data\.split=train\[:500\] must be train"):
        load_images(f"{scheme}:{tmp_path}", Transform(8, 1), split="train[:500]")


def numpy_images(path, size=8, channels=1):
    return load_images(f"numpy:{path}", Transform(size, channels))


def test_arrays_in_files(tmp_path):
    images = random_images(6, 8, 1)
    np.save(tmp_path / "four.npy", images)
    np.save(tmp_path / "three.npy", images[..., 0])
    np.save(tmp_path / "many.npy", random_images(6, 8, 5))
    np.savez(tmp_path / "labelled.npz", images=images, labels=np.arange(6))
    np.savez(tmp_path / "one.npz", images)
    for name in ("four.npy", "three.npy", "labelled.npz", "one.npz"):
        loaded, labels = numpy_images(tmp_path / name)
        np.testing.assert_array_equal(loaded, images)
        assert (labels is None) == (name != "labelled.npz")
    assert numpy_images(tmp_path / "many.npy", channels=5)[0].shape == (6, 8, 8, 5)
    assert cached_files(tmp_path) == []  # as they are
    loaded, labels = numpy_images(tmp_path / "labelled.npz", size=4, channels=3)
    assert loaded.shape == (6, 4, 4, 3)
    assert labels.tolist() == list(range(6))
    assert make_dataset(f"numpy:{tmp_path / 'labelled.npz'}", batch_size=2, image_size=8).batches(0, 0).labels.shape == (
        1,
        2,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((4, 8, 8), np.float32), r"float32 \[4, 8, 8\] must be uint8"),
        (np.zeros((4, 8), np.uint8), r"uint8 \[4, 8\] must be uint8"),
        (np.zeros((4, 8, 8, 0), np.uint8), r"uint8 \[4, 8, 8, 0\] must be uint8"),
        (np.zeros((0, 8, 8), np.uint8), r"uint8 \[0, 8, 8\] must be uint8"),
        (np.zeros((4, 8, 8, 2), np.uint8), r"images are \[8, 8, 2\]: data.image_size and data.channels must match"),
        (np.array([np.zeros((8, 8)), np.zeros((9, 9))], object), "FILE must be a .npy or .npz file of uint8"),
        (
            {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(3, int)},
            r"labels int64 \[3\] must be one integer for",
        ),
        ({"a": np.zeros((4, 8, 8), np.uint8), "b": np.zeros(3)}, "arrays a, b: the name of the images must be `images`"),
        ({}, "FILE must be a .npy or .npz file of uint8"),
        (b"not an array", "FILE must be a .npy or .npz file of uint8"),
        (b"", "FILE must be a .npy or .npz file of uint8"),
        (b"PK\x03\x04 cut", "FILE must be a .npy or .npz file of uint8"),
        (None, "No such file or directory; FILE must be a .npy or .npz file"),
    ],
)
def test_bad_arrays_in_files_are_named(tmp_path, content, message):
    path = tmp_path / "images.npy"
    if isinstance(content, dict):
        path = tmp_path / "images.npz"
        np.savez(path, **content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(InputError, match=message) as error:
        numpy_images(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
