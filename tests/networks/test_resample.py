"""Resampling against depthwise convolutions of lax, against bilinear resizing, and each against the other's transpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan_jax.networks import resample as library

downsample, upsample = jax.jit(library.downsample), jax.jit(library.upsample)  # else each of their operations is compiled
LAYOUT = ("NHWC", "HWIO", "NHWC")
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def depthwise(images, scale, strides, padding, dilation):
    channels = images.shape[-1]
    kernel = jnp.broadcast_to(jnp.asarray(scale * FILTER, images.dtype)[..., None, None], (4, 4, 1, channels))
    return lax.conv_general_dilated(
        images,
        kernel,
        (strides, strides),
        [(padding, padding)] * 2,
        lhs_dilation=(dilation, dilation),
        dimension_numbers=LAYOUT,
        feature_group_count=channels,
    )


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (1, 6, 10, 2), (3, 2, 2, 1)])
def test_equal_to_depthwise_convolutions(shape):
    with jax.enable_x64(True):
        x = images(*shape)
        assert x.dtype == jnp.float64
        np.testing.assert_allclose(downsample(x), depthwise(x, 1, 2, 1, 1), rtol=0, atol=1e-12)
        np.testing.assert_allclose(upsample(x), depthwise(x, 4, 1, 2, 2), rtol=0, atol=1e-12)


def test_one_is_four_times_the_others_transpose():
    with jax.enable_x64(True):
        x, y = images(2, 4, 6, 3), images(2, 8, 12, 3, seed=1)
        assert float(jnp.vdot(upsample(x), y)) == pytest.approx(4 * float(jnp.vdot(x, downsample(y))), rel=1e-12)
        (transposed,) = jax.linear_transpose(upsample, x)(y)
        np.testing.assert_allclose(transposed, 4 * downsample(y), rtol=0, atol=1e-12)


def test_bilinear_inside_and_darker_at_the_border():
    with jax.enable_x64(True):
        x = images(2, 8, 8, 3)
        for resample, size in ((downsample, 4), (upsample, 16)):
            bilinear = jax.image.resize(x, (2, size, size, 3), "bilinear", antialias=True)
            inside = np.s_[:, 1:-1, 1:-1]
            np.testing.assert_allclose(resample(x)[inside], bilinear[inside], rtol=0, atol=1e-12)
        # Of a constant, the filter's weights beyond the border are missing: 1/8 in each direction downwards, 1/4 upwards.
        ones = jnp.ones((1, 8, 8, 1))
        for resample, border in ((downsample, 7 / 8), (upsample, 3 / 4)):
            profile = np.array([border, *[1.0] * (resample(ones).shape[1] - 2), border])
            np.testing.assert_allclose(resample(ones)[0, :, :, 0], np.outer(profile, profile), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("resample", [downsample, upsample])
def test_dtype_stays_and_no_derivative_convolves_or_scatters(resample, dtype):
    x = jnp.ones((1, 4, 4, 2), dtype)
    assert resample(x).dtype == dtype

    def slope(x):
        return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(resample(x).astype(jnp.float32))))(x).astype(jnp.float32) ** 2)

    text = str(jax.make_jaxpr(jax.grad(slope))(x))
    assert "pad" in text
    assert not any(operation in text for operation in ("conv_general", "scatter", "gather"))
