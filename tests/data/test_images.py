"""Folders of images: what the transform makes of every mode, format and size, and a line for every broken file."""

import errno
import json
import os
import struct
import zlib

import numpy as np
import pytest
from image_files import BLUE, GREEN, RED, cached_files, encoded, load, plain
from PIL import Image
from small import random_images

from gan_jax.data import Transform, make_dataset
from gan_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_every_mode_and_format_becomes_the_colour_that_it_shows(folder, capsys):
    """All levels of folders, in the order of the files' names."""
    (folder / "deep" / "er").mkdir(parents=True)
    sixteen = Image.fromarray(np.full((12, 12), 40000, np.uint16))
    sixteen_clear = sixteen.copy()
    sixteen_clear.info["transparency"] = 40000
    palette = plain().convert("P", palette=Image.Palette.ADAPTIVE)
    clear = palette.copy()
    clear.info["transparency"] = clear.getpixel((0, 0))
    frames = [plain(color).quantize() for color in (GREEN, BLUE)]
    half = Image.new("RGBA", (12, 12), (*RED, 102))  # 40 % of red over the background
    expected = {
        "bmp.BMP": (plain(), "BMP", RED),
        "cmyk.jpg": (plain().convert("CMYK"), "JPEG", RED),
        "deep/bit.png": (Image.new("1", (12, 12), 1), "PNG", (255,) * 3),
        "deep/er/grey.png": (plain(77, mode="L"), "PNG", (77,) * 3),
        "deep/er/grey_alpha.png": (Image.new("LA", (12, 12), (100, 0)), "PNG", (0, 0, 255)),
        "jpeg.jpeg": (plain(), "JPEG", RED),
        "palette.png": (palette, "PNG", RED),
        "palette_clear.png": (clear, "PNG", (0, 0, 255)),
        "rgba.png": (half, "PNG", (80, 12, 161)),
        "rgba_opaque.png": (plain().convert("RGBA"), "PNG", RED),
        "sixteen.png": (sixteen, "PNG", (156,) * 3),
        "sixteen_clear.png": (sixteen_clear, "PNG", (0, 0, 255)),
        "webp.webp": (plain(), "WEBP", RED),
    }
    for name, (image, kind, _) in expected.items():
        (folder / name).write_bytes(encoded(image, kind))
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    (folder / "notes.txt").write_text("not an image by its name")
    said = []
    for _ in range(2):  # from the files, and from the cache
        images = load(folder, background="blue")
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert {line.partition(": ")[2] for line in said} == {"4 of 14 images have transparency, drawn over data.background=blue"}
    colors = [GREEN, *(color for _, _, color in expected.values())]
    assert images.shape == (14, 8, 8, 3)
    np.testing.assert_allclose(images, np.broadcast_to(np.array(colors)[:, None, None], images.shape), atol=6)
    grey = load(folder, channels=1, background="blue")
    luma = np.array(colors) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, np.broadcast_to(luma[:, None, None, None], grey.shape), atol=6)


def test_the_exif_orientation_is_obeyed(folder):
    image = plain(RED, (16, 16))
    image.paste(BLUE, (0, 0, 16, 8))  # blue above red
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: then blue is right of red
    image.save(folder / "turned.png", exif=exif)
    (turned,) = load(folder)
    np.testing.assert_allclose(turned[:, :3], np.broadcast_to(RED, (8, 3, 3)), atol=3)
    np.testing.assert_allclose(turned[:, -3:], np.broadcast_to(BLUE, (8, 3, 3)), atol=3)


def test_the_largest_centred_square_is_resized_with_antialiasing(folder):
    wide = plain(RED, (90, 30))
    wide.paste(GREEN, (30, 0, 60, 30))
    wide.save(folder / "a_wide.png")
    fine = np.indices((64, 64)).sum(axis=0) % 2 * 255  # without antialiasing it would stay black and white
    Image.fromarray(fine.astype(np.uint8)).save(folder / "b_fine.png")
    cut, smooth = load(folder)
    np.testing.assert_array_equal(cut, np.broadcast_to(GREEN, cut.shape))
    assert np.abs(smooth.astype(int) - 127).max() < 16


def test_a_size_may_be_height_and_width(folder, tmp_path):
    """The largest centred rectangle of that shape is resized, and a square is the same image, and the same file, either way."""
    wide = plain(RED, (90, 30))
    wide.paste(GREEN, (15, 0, 75, 30))
    wide.paste(BLUE, (30, 0, 60, 30))
    wide.save(folder / "wide.png")
    (cut,) = load(folder, (8, 16))
    assert cut.shape == (8, 16, 3)
    for column, colour in ((0, GREEN), (8, BLUE), (15, GREEN)):
        np.testing.assert_allclose(cut[:, column], np.broadcast_to(colour, (8, 3)), atol=6)
    (tall,) = load(folder, (16, 8))
    assert tall.shape == (16, 8, 3)
    np.testing.assert_array_equal(load(folder, 8), load(folder, [8, 8]))
    assert Transform(8, 3) == Transform((8, 8), 3)


def test_smaller_images_are_in_the_middle_of_a_background_of_two_sides(folder):
    pixels = random_images(1, 6, 3)
    Image.fromarray(pixels[0]).save(folder / "0.png")
    images = load(folder, (8, 12), resize=False)
    np.testing.assert_array_equal(images[:, 1:7, 3:9], pixels)
    assert int(images.sum()) == int(pixels.sum())
    with pytest.raises(InputError, match=r"0\.png is 6 × 6, data\.image_size=\(12, 4\): data\.resize must be true"):
        load(folder, (12, 4), resize=False)


def test_without_a_resize_pixels_stay_as_they_are_in_the_middle_of_the_background(folder):
    pixels = random_images(3, 6, 3)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index}.png")
    images = load(folder, resize=False, background="#102030")
    np.testing.assert_array_equal(images[:, 1:7, 1:7], pixels)
    assert set(map(tuple, images[:, 0].reshape(-1, 3))) == {(16, 32, 48)}
    with pytest.raises(InputError, match=r"0\.png is 6 × 6, data\.image_size=4: data\.resize must be true"):
        load(folder, 4, resize=False)
    plain(size=(6, 7)).save(folder / "9.png")
    with pytest.raises(InputError, match=r"0\.png is 6 × 6, 9\.png is 6 × 7: data\.resize must be true"):
        load(folder, resize=False)


def write_broken(folder):
    """Files that end in an image's suffix and are none, with what is said of each."""
    noisy = Image.fromarray(random_images(1, 64, 3)[0])
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        whole = encoded(noisy, kind)
        (folder / f"cut.{kind.lower()}").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image")
    (folder / "nowhere.png").symlink_to(folder / "missing")
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "bomb.png").write_bytes(header + encoded(noisy)[33:])
    bitmap = encoded(noisy, "BMP")
    (folder / "large.bmp").write_bytes(bitmap[:18] + struct.pack("<ii", 10_000, 8_000) + bitmap[26:])
    return {
        **{f"cut.{kind}": "" for kind in ("png", "jpeg", "webp", "gif", "bmp")},
        "empty.png": "not an image",
        "text.jpg": "not an image",
        "nowhere.png": "No such file or directory",
        "bomb.png": "pixels",
        "large.bmp": "10000 × 8000 pixels, more than",
    }


def test_broken_files_are_named_counted_and_skipped(folder, tmp_path, capsys):
    broken = write_broken(folder)
    for index in range(4):
        plain((index, index, index)).save(folder / f"good{index}.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.png").mkdir()
    images = load(folder)
    np.testing.assert_array_equal(images[:, 0, 0, 0], range(4))
    said = capsys.readouterr().err
    assert f"skipped {len(broken)} of {len(broken) + 4}: bomb.png (" in said
    assert said.count("\n") == 1
    (record,) = (path for path in cached_files(tmp_path) if path.suffix == ".json")
    assert str(record) in said
    skipped = dict(json.loads(record.read_text())["skipped"])
    assert set(skipped) == set(broken)
    for name, reason in broken.items():
        assert reason in skipped[name], (name, skipped[name])
        assert skipped[name]
    load(folder)
    assert f"skipped {len(broken)} of" in capsys.readouterr().err  # from the cache too


def test_too_few_images_for_a_batch_are_an_error(folder):
    write_broken(folder)
    with pytest.raises(InputError, match="none of its 10 images can be read"):
        load(folder)
    plain().save(folder / "good.png")
    with pytest.raises(InputError, match="batch_size=2 must be 1 to 1, the number of images"):
        make_dataset(f"folder:{folder}", batch_size=2, image_size=8, channels=3)
    assert make_dataset(f"folder:{folder}", batch_size=1, image_size=8, channels=3).sample_shape == (8, 8, 3)


def test_folders_that_cannot_be_used_are_named(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"images has no images: their names must end in \.png, "):
        load(folder)
    with pytest.raises(InputError, match="none: No such file or directory; PATH must be a folder"):
        load(tmp_path / "none")
    plain().save(folder / "file.png")
    with pytest.raises(InputError, match=r"file\.png: Not a directory"):
        load(folder / "file.png")
    locked = folder / "locked"
    locked.mkdir()
    real_scandir = os.scandir

    def scandir(path):  # root may read anything, so that a mode of 000 would prove nothing
        if os.fspath(path) == str(locked):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(locked))
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="locked: Permission denied"):
        load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": "blurple"}, "data.background=blurple must be a colour"),
        ({"channels": 2}, "data.channels=2 must be 1 or 3"),
    ],
)
def test_transforms_that_cannot_be_are_named(folder, options, message):
    plain().save(folder / "file.png")
    with pytest.raises(InputError, match=message):
        load(folder, **options)
