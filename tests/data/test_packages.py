"""Colour images out of files that packages of Debian bring: the real ones where they are installed, and damaged ones."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from small import random_images, small_config

from gan_jax.data import PACKAGES, Transform, load_images, make_dataset, packages
from gan_jax.errors import InputError
from gan_jax.run.config import check_config, load_configured_images

pytestmark = pytest.mark.usefixtures("own_cache")

COLOUR = Transform(32, 3, background="white")
DEBIAN_12 = {"crossfire": (3_332_649, 5235, 5072), "emoji": (10_980_856, 3926, 3916)}
"""Bytes of each file, images in it, and those that differ."""


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def opaque(count, width=32, height=32):
    """Encoded images, and their pixels `[N, H, W, 3]`."""
    pixels = random_images(count, max(width, height), channels=3)[:, :height, :width]
    return [png(each) for each in pixels], pixels


def put(folder, name, *parts):
    """Write a package's file of encoded images with other bytes around them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PACKAGES[name].file.name
    path.write_bytes(b"head" + b"IMAGE ./arch\n\x89PNG\r\n".join(parts) + b"tail")
    return path


@pytest.mark.parametrize("below", [True, False])
def test_images_of_the_size_are_found_between_other_bytes_in_their_order(tmp_path, below, capsys):
    encoded, pixels = opaque(4)
    others = opaque(2, 64, 32)[0] + opaque(1, 16, 16)[0]
    path = put(tmp_path, "crossfire", encoded[0], others[0], *encoded[1:], *others[1:])
    assert list(packages.find_pngs(path.read_bytes())) == [encoded[0], others[0], *encoded[1:], *others[1:]]
    images, labels = load_images("crossfire", COLOUR, data_dir=str(tmp_path if below else path))
    np.testing.assert_array_equal(images, pixels)
    assert labels is None
    assert "same to the byte" not in capsys.readouterr().err


def test_images_that_are_the_same_to_the_byte_count_once(tmp_path, capsys):
    encoded, pixels = opaque(3)
    put(tmp_path, "crossfire", *encoded, encoded[1], encoded[0], encoded[1])
    images, _ = load_images("crossfire", COLOUR, data_dir=str(tmp_path))
    np.testing.assert_array_equal(images, pixels)
    assert "crossfire: 3 images, without 3 that are the same to the byte as one of these" in capsys.readouterr().err


def test_transparent_pixels_show_the_background_and_emoji_lose_their_sides(tmp_path):
    """A red square of 128 × 128 between sides of 4 pixels, half of it transparent."""
    pixels = np.zeros((128, 136, 4), np.uint8)
    pixels[:64, 4:-4] = (255, 0, 0, 255)
    put(tmp_path, "emoji", png(pixels))
    images, _ = load_images("emoji", Transform(64, 3, background="#0000ff"), data_dir=str(tmp_path))
    assert images.shape == (1, 64, 64, 3)
    assert (images[0, :28] == (255, 0, 0)).all()
    assert (images[0, 36:] == (0, 0, 255)).all()


def test_the_folder_can_be_in_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "art", "crossfire", *opaque(2)[0])
    assert len(load_images("crossfire", COLOUR, data_dir="~/art")[0]) == 2


def test_another_file_in_the_same_place_is_decoded_anew(tmp_path):
    encoded, pixels = opaque(3)
    path = put(tmp_path, "crossfire", *encoded[:2])
    status = path.stat()
    load_images("crossfire", COLOUR, data_dir=str(tmp_path))
    put(tmp_path, "crossfire", *encoded[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(load_images("crossfire", COLOUR, data_dir=str(tmp_path))[0], pixels[1:])


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_file_is_one_line_with_the_remedy(tmp_path, name, monkeypatch):
    package = PACKAGES[name]
    for data_dir in (str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match=rf"data\.name={name}: .* is missing: apt-get install {package.name}, or") as error:
            load_images(name, COLOUR, data_dir=data_dir)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="~nouser/x: no such home folder"):
        load_images(name, COLOUR, data_dir="~nouser/x")
    monkeypatch.setitem(packages.PACKAGES, name, package._replace(file=tmp_path / "none.ttf"))
    with pytest.raises(InputError, match=r"none\.ttf is missing: .*, or set data\.dir to none\.ttf or its folder"):
        load_images(name, COLOUR)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


ENCODED = opaque(1)[0][0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no PNG images of 32 × 32 pixels"),
        (b"no image", "it has no PNG images of 32 × 32 pixels"),
        (opaque(1, 136, 128)[0][0], "it has no PNG images of 32 × 32 pixels"),
        (ENCODED[:8] + chunk(b"IEND", b""), "it has no PNG images of 32 × 32 pixels"),
        (ENCODED + ENCODED[:-1], f"the PNG image at byte {len(ENCODED)} is cut off"),
        (ENCODED[:8], "the PNG image at byte 0 is cut off"),
        (ENCODED[:8] + b"\xff\xff\xff\xffIHDR", "the PNG image at byte 0 is cut off"),
        (ENCODED[:-12], "the PNG image at byte 0 is cut off"),
        (flipped(ENCODED, 19), "the PNG image at byte 0 is damaged"),  # its width
        (b"font" + flipped(ENCODED, len(ENCODED) // 2), "the PNG image at byte 4 is damaged"),
        (ENCODED + bytes(2**16), "larger than 0 MiB"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line(tmp_path, content, message, monkeypatch):
    monkeypatch.setattr(packages, "_MAX_BYTES", 2**16)
    path = tmp_path / "crossfire.base"
    path.write_bytes(content)
    remedy = "it must be crossfire.base of Debian: apt-get install --reinstall crossfire-client-images"
    with pytest.raises(InputError) as error:
        load_images("crossfire", COLOUR, data_dir=str(tmp_path))
    assert str(error.value) == f"data.name=crossfire: {path}: {message}; {remedy}"


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "crossfire.base")
    with pytest.raises(InputError, match=r"crossfire\.base: not a file; it must be crossfire\.base of Debian"):
        load_images("crossfire", COLOUR, data_dir=str(tmp_path))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"Not a directory; it must be crossfire\.base"):
        load_images("crossfire", COLOUR, data_dir=str(tmp_path / "file" / "crossfire.base"))


def test_there_is_one_split_and_no_label(tmp_path):
    put(tmp_path, "crossfire", *opaque(4)[0])
    dataset = make_dataset("crossfire", batch_size=4, channels=3, flip=True, data_dir=str(tmp_path))
    assert dataset.batches(0, 0).labels is None
    config = small_config(**{"data.name": "crossfire", "data.dir": str(tmp_path), "data.channels": 3})
    assert load_configured_images(config, "train")[0].shape == (4, 8, 8, 3)
    with pytest.raises(InputError, match="split=test: crossfire has one split only"):
        load_configured_images(config, "test")
    config.data.split = "test"
    with pytest.raises(InputError, match=r"data\.name=crossfire has one split only: data\.split=test must be train"):
        load_configured_images(config)
    config.num_classes = 4
    with pytest.raises(InputError, match=r"config\.num_classes=4 must be 0: images of crossfire have no labels"):
        check_config(config)


@pytest.mark.parametrize("name", DEBIAN_12)
def test_debians_files_have_these_images(name, capsys):
    package, (size, total, different) = PACKAGES[name], DEBIAN_12[name]
    if not package.file.exists() or package.file.stat().st_size != size:
        pytest.skip(f"apt-get install {package.name}, of Debian 12")
    images, labels = load_images(name, COLOUR)
    assert images.shape == (different, 32, 32, 3)
    assert labels is None
    assert f"{different} images, without {total - different} that" in capsys.readouterr().err
    assert images.max(axis=(0, 1, 2)).tolist() == [255] * 3
    plain = (images == images[:, :1, :1]).all(axis=(1, 2, 3))
    assert plain.mean() < 0.015  # of one colour; on black, which hides black ones, 3 % of the pixel art
    grey = (images == images[..., :1]).all(axis=(1, 2, 3))
    assert grey.mean() < 0.2
