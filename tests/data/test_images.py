"""Folders and arrays of images: every mode and every broken file, the transform, and the cache of what was decoded."""

import errno
import io
import json
import os
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from small import random_images

from gan_jax.data import Transform, cache, load_images, make_dataset
from gan_jax.errors import InputError

RED, GREEN, BLUE = (200, 30, 20), (10, 180, 40), (30, 20, 210)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def load(folder, size=8, channels=3, **options):
    return np.array(load_images(f"folder:{folder}", Transform(size, channels, **options))[0])


def plain(color=RED, size=(12, 12), mode="RGB"):
    return Image.new(mode, size, color)


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


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


def cached_files(tmp_path):
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_every_mode_and_format_becomes_the_colour_that_it_shows(folder, capsys):
    """All levels of folders, in the order of the files' names."""
    (folder / "deep" / "er").mkdir(parents=True)
    sixteen = Image.fromarray(np.full((12, 12), 40000, np.uint16))
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
    assert {line.partition(": ")[2] for line in said} == {"3 of 13 images have transparency, drawn over data.background=blue"}
    colors = [GREEN, *(color for _, _, color in expected.values())]
    assert images.shape == (13, 8, 8, 3)
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

    def full_disk(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(InputError, match=r"\.npy: No space left on device; point XDG_CACHE_HOME"):
            load(folder)
    assert cached_files(tmp_path) == []
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="point XDG_CACHE_HOME to a folder"):
        load(folder)


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
