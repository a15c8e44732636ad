"""Strided and fractionally strided convolution with gradients that stay fast, to any order of reverse mode.

Three linear maps are one another's gradients: the strided convolution, its input gradient (the fractionally strided
convolution) and its weight gradient. Each is a `custom_vjp` written in the other two, so that no derivative leaves the set.

Why not `lax.conv_transpose` and autodiff: XLA:CPU runs the weight gradient of a dilated-input convolution, and second
derivatives through strided ones, on a naive path that is tens of times slower than an ordinary convolution
(jax issue 23783). Large layers on a CPU go by `winograd`. Equal to `lax` to rounding. Cost: no forward mode (`jvp`).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from gan_jax.networks import winograd

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """What the arrays of a convolution do not say. image_size: (H, W) of its large side; padding: zeros on each border."""

    image_size: tuple[int, int]
    stride: int
    padding: int


def _on_cpus(geometry: Geometry, inputs: jax.Array, kernel: tuple[int, ...], by_winograd: Any, by_lax: Any) -> jax.Array:
    """Compute by Winograd's sums where this is lowered for a CPU, where they are up to twice as fast as XLA's own.

    The platform decides at lowering, so that a step can be lowered for any. bfloat16 would lose its last digits.
    """
    if jnp.finfo(inputs.dtype).bits < 32 or not winograd.applies(len(inputs), *geometry, kernel):
        return by_lax()
    result: jax.Array = lax.platform_dependent(cpu=by_winograd, default=by_lax)
    return result


def _conv_forward(geometry: Geometry, images: jax.Array, kernel: jax.Array) -> jax.Array:
    return _on_cpus(
        geometry, images, kernel.shape, lambda: winograd.conv(images, kernel), lambda: _lax_conv(geometry, images, kernel)
    )


def _lax_conv(geometry: Geometry, images: jax.Array, kernel: jax.Array) -> jax.Array:
    padding = (geometry.padding, geometry.padding)
    strides = (geometry.stride, geometry.stride)
    return lax.conv_general_dilated(images, kernel, strides, (padding, padding), dimension_numbers=_LAYOUT)


def _conv_input_gradient(geometry: Geometry, features: jax.Array, kernel: jax.Array) -> jax.Array:
    return _on_cpus(
        geometry,
        features,
        kernel.shape,
        lambda: winograd.input_gradient(features, kernel),
        lambda: _lax_input_gradient(geometry, features, kernel),
    )


def _lax_input_gradient(geometry: Geometry, features: jax.Array, kernel: jax.Array) -> jax.Array:
    flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    # The high side also takes up the rows that a strided window cannot reach, so that the large size comes back exactly.
    padding = [
        (window - 1 - geometry.padding, large + geometry.padding - 1 - (small - 1) * geometry.stride)
        for window, large, small in zip(kernel.shape[:2], geometry.image_size, features.shape[1:3], strict=True)
    ]
    dilation = (geometry.stride, geometry.stride)
    return lax.conv_general_dilated(features, flipped, (1, 1), padding, lhs_dilation=dilation, dimension_numbers=_LAYOUT)


def _conv_weight_gradient(geometry: Geometry, window: tuple[int, int], images: jax.Array, features: jax.Array) -> jax.Array:
    kernel = jax.ShapeDtypeStruct((*window, images.shape[-1], features.shape[-1]), images.dtype)
    return _on_cpus(
        geometry,
        images,
        kernel.shape,
        lambda: winograd.weight_gradient(images, features),
        lambda: jax.linear_transpose(partial(_lax_conv, geometry, images), kernel)(features)[0],
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def strided_conv(geometry: Geometry, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images `[B, H, W, I]`, kernel `[h, w, I, O]` -> features `[B, H', W', O]`, H' = (H + 2 padding - h) // stride + 1."""
    return _conv_forward(geometry, images, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def fractionally_strided_conv(geometry: Geometry, features: jax.Array, kernel: jax.Array) -> jax.Array:
    """Features `[B, H', W', O]`, kernel `[h, w, I, O]` -> images `[B, H, W, I]`: the input gradient of `strided_conv`."""
    return _conv_input_gradient(geometry, features, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _weight_gradient(geometry: Geometry, window: tuple[int, int], images: jax.Array, features: jax.Array) -> jax.Array:
    return _conv_weight_gradient(geometry, window, images, features)


def _window(kernel: jax.Array) -> tuple[int, int]:
    return kernel.shape[0], kernel.shape[1]


strided_conv.defvjp(
    lambda geometry, images, kernel: (_conv_forward(geometry, images, kernel), (images, kernel)),
    lambda geometry, saved, features: (
        fractionally_strided_conv(geometry, features, saved[1]),
        _weight_gradient(geometry, _window(saved[1]), saved[0], features),
    ),
)
fractionally_strided_conv.defvjp(
    lambda geometry, features, kernel: (_conv_input_gradient(geometry, features, kernel), (features, kernel)),
    lambda geometry, saved, images: (
        strided_conv(geometry, images, saved[1]),
        _weight_gradient(geometry, _window(saved[1]), images, saved[0]),
    ),
)
_weight_gradient.defvjp(
    lambda geometry, window, images, features: (
        _conv_weight_gradient(geometry, window, images, features),
        (images, features),
    ),
    lambda geometry, window, saved, kernel: (
        fractionally_strided_conv(geometry, saved[1], kernel),
        strided_conv(geometry, saved[0], kernel),
    ),
)


class Conv(nn.Module):
    """Strided convolution without bias: `[B, H, W, I]` -> `[B, H', W', features]`. Parameters float32, arithmetic in dtype."""

    features: int
    kernel_size: int = 4
    stride: int = 2
    padding: int = 1
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        geometry = Geometry((images.shape[1], images.shape[2]), self.stride, self.padding)
        return strided_conv(geometry, images.astype(self.dtype), kernel.astype(self.dtype))


class ConvTranspose(nn.Module):
    """Fractionally strided convolution without bias: `[B, H, W, I]` -> `[B, (H - 1) stride + kernel - 2 padding, …, features]`.

    The kernel is stored as that of the convolution whose input gradient this is: `[h, w, features, I]`.
    """

    features: int
    kernel_size: int = 4
    stride: int = 2
    padding: int = 1
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, self.features, features.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        height, width = ((size - 1) * self.stride + self.kernel_size - 2 * self.padding for size in features.shape[1:3])
        geometry = Geometry((height, width), self.stride, self.padding)
        return fractionally_strided_conv(geometry, features.astype(self.dtype), kernel.astype(self.dtype))
