"""Image sets of TFDS by name: read and, from idx files, prepared without TensorFlow."""

import gzip
import importlib.util
import io
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image
from small import random_images

from gan_jax.data import Transform, load_images, make_dataset, tfds
from gan_jax.data.idx import read_idx_split
from gan_jax.errors import InputError

DEBIAN = tfds.IDX_DATASETS["fashion_mnist"][0]
PADDED = Transform(32, 1, resize=False)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


def write_idx(folder, name, array, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path = folder / (f"{name}.gz" if compress else name)
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


def write_idx_set(folder, train=30, test=20):
    """Images `[N, 28, 28]` and labels of both splits, the test's as plain files."""
    sets = {}
    for stem, count in (("train", train), ("t10k", test)):
        images, labels = random_images(count, 28, seed=count)[..., 0], np.arange(count, dtype=np.uint8) % 10
        write_idx(folder, f"{stem}-images-idx3-ubyte", images, compress=stem == "train")
        write_idx(folder, f"{stem}-labels-idx1-ubyte", labels, compress=stem == "train")
        sets[stem] = (images, labels)
    return sets


def pairs(images, labels):
    """Images with their labels, in whatever order."""
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_become_the_set_that_tfds_itself_reads(tmp_path, name, capsys):
    sets = write_idx_set(tmp_path / "data")
    images, labels = load_images(f"tfds:{name}", PADDED, data_dir=str(tmp_path / "data"))
    assert "from the idx files in" in capsys.readouterr().out
    assert images.shape == (30, 32, 32, 1)
    assert pairs(images[:, 2:-2, 2:-2, 0], labels) == pairs(*sets["train"])
    stock = tensorflow_datasets.data_source(name, split="test", data_dir=tmp_path / "data", download=False)
    examples = list(stock)
    tested = pairs([example["image"][..., 0] for example in examples], [example["label"] for example in examples])
    assert tested == pairs(*sets["t10k"])
    if name == "fashion_mnist":
        assert stock.dataset_info.features["label"].names[9] == "Ankle boot"
    both, _ = load_images(f"tfds:{name}", PADDED, data_dir=str(tmp_path / "data"), split="train[:10]+test[50%:]")
    assert len(both) == 20
    np.testing.assert_array_equal(both[:10], images[:10])
    assert "idx" not in capsys.readouterr().out  # prepared once


def test_the_variable_is_the_default_folder_and_labels_reach_the_batch(tmp_path):
    write_idx_set(tmp_path / "tfds" / "mnist")
    dataset = make_dataset("tfds:mnist", batch_size=30, image_size=16, channels=3)
    assert (tmp_path / "tfds" / "mnist" / "3.0.1" / "dataset_info.json").exists()
    batch = dataset.batches(0, 0)
    assert batch.images.shape == (1, 30, 16, 16, 3)
    assert np.bincount(batch.labels[0]).tolist() == [3] * 10


def test_a_set_prepared_anew_is_decoded_anew(tmp_path):
    for count in (30, 40):
        write_idx_set(tmp_path, train=count)
        shutil.rmtree(tmp_path / "mnist", ignore_errors=True)
        assert len(load_images("tfds:mnist", PADDED, data_dir=str(tmp_path))[0]) == count


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="apt-get install dataset-fashion-mnist")
def test_debians_files_are_fashion_mnist(tmp_path):
    """The whole way for its 10,000 test images, beside ten others for training, for time."""
    for path in DEBIAN.glob("t10k-*.gz"):
        (tmp_path / path.name).symlink_to(path)
    write_idx(tmp_path, "train-images-idx3-ubyte", random_images(10, 28)[..., 0])
    write_idx(tmp_path, "train-labels-idx1-ubyte", np.arange(10, dtype=np.uint8))
    images, labels = load_images("tfds:fashion_mnist", PADDED, data_dir=str(tmp_path), split="test")
    assert images.shape == (10_000, 32, 32, 1)
    assert np.bincount(labels).tolist() == [1000] * 10
    raw, _ = read_idx_split(DEBIAN, "test")
    assert images[:, 2:-2, 2:-2].sum() == raw.sum()
    assert not images[:, :2].any()
    ink = [(images[labels == label] > 0).mean() for label in (2, 5)]
    assert ink[0] > 2 * ink[1]  # pullovers fill the picture, sandals do not


def test_damaged_idx_files_are_named(tmp_path):
    def check(path, message):
        with pytest.raises(InputError, match=message) as error:
            load_images("tfds:mnist", PADDED, data_dir=str(tmp_path))
        assert str(path) in str(error.value)

    write_idx_set(tmp_path)
    images, labels = (tmp_path / f"train-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1"))
    whole = images.read_bytes()
    images.write_bytes(whole[:-500])
    check(images, "end-of-stream")
    images.write_bytes(b"not gzip")
    check(images, "Not a gzipped file")
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    check(images, "cannot reshape")
    images.write_bytes(gzip.compress(b"\0\0\x0d\x01" + b"\0" * 8))
    check(images, "not an idx file of bytes")
    images.write_bytes(gzip.compress(b"\0\0"))
    check(images, "download it again")
    images.write_bytes(whole)
    write_idx(tmp_path, "train-labels-idx1-ubyte", np.zeros(29, np.uint8))
    check(tmp_path, "30 train images, 29 labels")
    labels.unlink()
    check(tmp_path, "train-labels-idx1-ubyte, or train-labels-idx1-ubyte.gz, is missing")
    write_idx_set(tmp_path)
    assert len(load_images("tfds:mnist", PADDED, data_dir=str(tmp_path))[0]) == 30


class Records(list):
    """Twelve records of a builder's features, each image as a PNG of its shape and filled with 20 times its number."""

    def __init__(self, builder, split, decoders):
        assert split == "train"
        assert isinstance(decoders["image"], tensorflow_datasets.decode.SkipDecoding)
        for index in range(12):
            file = io.BytesIO()
            pixels = np.full(builder.info.features["image"].shape, 20 * index, np.uint8)
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
            self.append({"image": file.getvalue(), "label": index % 10})

    def __getitems__(self, keys):
        return [self[key] for key in keys]


@pytest.fixture
def mocked(monkeypatch):
    """TFDS's own mock of prepared sets; preparing is a no-op in it, so TensorFlow may seem to be there."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: real("json" if name == "tensorflow" else name, *rest))
    with tensorflow_datasets.testing.mock_data(as_data_source_fn=lambda *args, **options: Records(*args, **options)):
        yield


@pytest.mark.parametrize(("name", "labelled"), [("cifar10", True), ("celeb_a", False), ("fashion_mnist", True)])
def test_sets_by_name(mocked, name, labelled):
    dataset = make_dataset(f"tfds:{name}", batch_size=12, image_size=16, channels=3)
    batch = dataset.batches(0, 0)
    assert batch.images.shape == (1, 12, 16, 16, 3)
    assert (batch.labels is not None) == labelled
    assert sorted(np.round((batch.images[0, :, 8, 8, 0] + 1) * 127.5)) == list(range(0, 240, 20))


def test_sets_without_images_are_named(mocked):
    with pytest.raises(InputError, match=r"tfds:ag_news_subset must be a dataset with the feature image; it has .*title"):
        load_images("tfds:ag_news_subset", PADDED)


def test_unknown_sets_splits_and_versions_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"tfds:fashion_mist: no such dataset; did you mean fashion_mnist or (?!fashion_mnist)"
    ):
        load_images("tfds:fashion_mist", PADDED)
    with pytest.raises(InputError, match=r"tfds:mnist:9\.9\.9: .* only: 3\.0\.1"):
        load_images("tfds:mnist:9.9.9", PADDED)
    with pytest.raises(InputError, match="tfds:mnist/no_such_config"):
        load_images("tfds:mnist/no_such_config", PADDED)
    write_idx_set(tmp_path / "tfds")
    for split in ("trian", "train[:5%", "train[a:b]", "train+no"):
        with pytest.raises(InputError, match=r"tfds:mnist: data\.split=.* must be made of the splits train, test") as error:
            load_images("tfds:mnist", PADDED, split=split)
        assert "\n" not in str(error.value)
    for split, reason in (("train[:31]", "incompatible with 30 examples"), ("all[:50%]", "all cannot be sliced")):
        with pytest.raises(InputError, match=reason):
            load_images("tfds:mnist", PADDED, split=split)


def test_what_needs_tensorflow_says_so_with_the_remedy(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorflow" else real(name, *rest))
    with pytest.raises(
        InputError, match=r"tfds:cifar10 is not in .*tfds; preparing it needs TensorFlow: pip install tensorflow"
    ):
        load_images("tfds:cifar10", PADDED)
    monkeypatch.setitem(tfds.IDX_DATASETS, "fashion_mnist", (tmp_path / "none",))
    with pytest.raises(
        InputError, match=r"; apt-get install dataset-fashion-mnist, or put its four idx files there; otherwise .* pip install"
    ):
        load_images("tfds:fashion_mnist", PADDED)
    with pytest.raises(
        InputError, match="; put its four idx files there; otherwise preparing it needs TensorFlow: pip install"
    ):
        load_images("tfds:mnist", PADDED)


def test_a_set_in_tensorflows_own_format_is_named(tmp_path):
    write_idx_set(tmp_path / "tfds")
    load_images("tfds:mnist", PADDED)
    info = Path(tmp_path / "tfds" / "mnist" / "3.0.1" / "dataset_info.json")
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(InputError, match="holds it as tfrecord, which needs TensorFlow; prepare it again"):
        load_images("tfds:mnist", PADDED)
