"""Inception's features, without its weights: the resize, and the network with random ones.

That the real weights give the features of the TorchScript module is in experiments/results/inception.jsonl.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import random_images

from gan_jax.errors import InputError
from gan_jax.evaluation.features import inception
from gan_jax.evaluation.features.inception import (
    Inception,
    average_pool,
    kernel_shapes,
    legacy_bilinear,
    make_inception,
    prepare,
)

SHRINKING = (0, 26, 29, 71, 75)  # the convolutions of stride 2, none of them padded
UNPADDED = (*SHRINKING, 1, 4)

# A plain network: windows by numpy, its wiring in counts of layers, features and windows from the kernels.


def windows(x, height, width, stride=1):
    """`[B, H', W', C, height, width]`."""
    return np.lib.stride_tricks.sliding_window_view(x, (height, width), (1, 2))[:, ::stride, ::stride]


def pad(x, height, width, value=0.0):
    return np.pad(x, ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0)), constant_values=value)


def plain_conv(x, kernel, stride=1, *, padded=True):
    kernel = kernel.reshape((1, 1, *kernel.shape)[-4:])
    height, width = kernel.shape[:2]
    seen = windows(pad(x, height, width) if padded else x, height, width, stride)
    return np.einsum("bhwcij,ijco->bhwo", seen, kernel, optimize=True)


def plain_max(x, stride=1, *, padded=True):
    return windows(pad(x, 3, 3, -np.inf) if padded else x, 3, 3, stride).max(axis=(-2, -1))


def plain_average(x):
    """Over what of the window lies in the image."""
    return np.nanmean(windows(pad(x, 3, 3, np.nan), 3, 3), axis=(-2, -1))


def plain_inception(x, weights):
    numbers = iter(range(94))

    def layers(x, count):
        for _ in range(count):
            number = next(numbers)
            kernel, bias = (weights[f"conv_{number:02d}.{part}"].astype(np.float64) for part in ("kernel", "bias"))
            x = plain_conv(x, kernel, 2 if number in SHRINKING else 1, padded=number not in UNPADDED)
            x = np.maximum(x + bias, 0)
        return x

    def join(*branches):
        return np.concatenate(branches, axis=-1)

    def shrink(x):
        return plain_max(x, 2, padded=False)

    x = shrink(layers(x, 3))
    x = shrink(layers(x, 2))
    for _ in range(3):
        x = join(layers(x, 1), layers(x, 2), layers(x, 3), layers(plain_average(x), 1))
    x = join(layers(x, 1), layers(x, 3), shrink(x))
    for _ in range(4):
        x = join(layers(x, 1), layers(x, 3), layers(x, 5), layers(plain_average(x), 1))
    x = join(layers(x, 2), layers(x, 4), shrink(x))
    for pool in (plain_average, plain_max):
        branches = [layers(x, 1)]
        for depth in (1, 2):
            stem = layers(x, depth)
            branches += [layers(stem, 1), layers(stem, 1)]
        x = join(*branches, layers(pool(x), 1))
    return x.mean(axis=(1, 2))


@pytest.fixture(scope="module")
def weights():
    """Random ones that keep the scale of the activations."""
    rng, weights = np.random.default_rng(0), {}
    for name, shape in kernel_shapes().items():
        scale = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        weights[f"{name}.kernel"] = scale * rng.standard_normal(shape, np.float32)
        weights[f"{name}.bias"] = np.float32(0.1) * rng.standard_normal(shape[-1], np.float32)
    return weights


@pytest.fixture
def small_inception(weights, monkeypatch):
    """With random weights, at 107 pixels: the least whose last maps, 2 × 2, are more than one pixel."""
    monkeypatch.setattr(inception, "SIZE", 107)
    monkeypatch.setattr(inception, "load_weights", lambda: weights)
    return make_inception(batch_size=3)


# The resize


@pytest.mark.parametrize("size", [9, 4, 31])
def test_resize_reads_the_plane_at_the_legacy_points(size):
    """A plane is resized to itself at i · H / size, and is flat beyond the last pixel."""
    rows, columns = np.mgrid[:7, :13].astype(np.float32)
    resized = legacy_bilinear(jnp.asarray((100 + 10 * rows - 3 * columns)[None, :, :, None]), size)
    down, right = (np.minimum(np.arange(size) * length / size, length - 1) for length in (7, 13))
    np.testing.assert_allclose(resized[0, :, :, 0], 100 + 10 * down[:, None] - 3 * right, rtol=1e-5)


def test_resize_is_the_direct_formula():
    images, size = random_images(2, 5, 3).astype(np.float32), 8
    expected = np.empty((2, size, size, 3))
    for i, j in np.ndindex(size, size):
        (y, v), (x, u) = (divmod(5 * index / size, 1) for index in (i, j))
        above, below, left, right = int(y), min(int(y) + 1, 4), int(x), min(int(x) + 1, 4)
        upper = (1 - u) * images[:, above, left] + u * images[:, above, right]
        lower = (1 - u) * images[:, below, left] + u * images[:, below, right]
        expected[:, i, j] = (1 - v) * upper + v * lower
    np.testing.assert_allclose(legacy_bilinear(jnp.asarray(images), size), expected, rtol=1e-5)


def test_resize_to_the_same_size_changes_nothing():
    images = random_images(1, 16, 3).astype(np.float32)
    np.testing.assert_array_equal(legacy_bilinear(jnp.asarray(images), 16), images)


def test_prepared_images():
    images = random_images(2, 28, 1)
    prepared = prepare(images)
    assert (prepared.shape, prepared.dtype) == ((2, 299, 299, 3), jnp.float32)
    np.testing.assert_array_equal(prepared[:, 0, 0], np.repeat(images[:, 0, 0] / 128 - 1, 3, axis=-1))
    np.testing.assert_array_equal(prepared, prepare(np.repeat(images, 3, axis=-1)))
    levels, rounded = (np.asarray(128 * x + 128) for x in (prepared, prepare(images, quantise=True)))
    assert np.any(levels % 1)
    np.testing.assert_array_equal(rounded, np.round(levels))


# The network


def test_the_network_is_the_plain_one(weights, small_inception):
    images = random_images(2, 40, 3)
    features = small_inception.extract(images)
    expected = plain_inception(np.asarray(prepare(images), np.float64), weights)
    assert (features.shape, features.dtype) == ((2, small_inception.dimensions), np.float32)
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(features[0] - features[1]).max() > 0.01 * expected.max()


def test_features_do_not_depend_on_the_company(small_inception):
    images = random_images(3, 40, 3)
    together = small_inception.extract(images)
    np.testing.assert_allclose(small_inception.extract(images[1:2]), together[1:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(small_inception.extract(images[::-1]), together[::-1], rtol=1e-5, atol=1e-6)


def test_shapes_of_the_real_one():
    """The file's windows, height and width, and as many numbers: kernel, and shift, mean and variance of a batch norm."""
    shapes = kernel_shapes()
    expected = (
        "33 33 33  11 33"
        + 3 * "  11  11 55  11 33 33  11"
        + "  33  11 33 33"
        + 4 * "  11  11 17 71  11 71 17 71 17  11"
        + "  11 33  11 17 71 33"
        + 2 * "  11  11 13 31  11 33 13 31  11"
    )
    assert ["{}{}".format(*(1, 1, *shape)[-4:-2]) for shape in shapes.values()] == expected.split()
    assert sum(np.prod(shape) + 3 * shape[-1] for shape in shapes.values()) == 21_802_784
    images = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
    features, _ = jax.eval_shape(Inception().init_with_output, jax.random.key(0), images)
    assert features.shape == (2, 2048)


def test_a_pool_leaves_the_border_of_a_flat_image_flat():
    np.testing.assert_allclose(average_pool(jnp.full((1, 5, 5, 2), 3.0)), 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 2), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((4, 8, 8, 3), np.uint8),
    ],
)
def test_bad_images_are_one_line(images, small_inception):
    with pytest.raises(InputError, match=r"must be uint8 \[N, H, W, C\], N from 1 to 3, C 1 or 3") as caught:
        small_inception.extract(images)
    assert "\n" not in str(caught.value)
