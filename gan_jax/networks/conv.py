"""Strided and fractionally strided convolution with gradients that stay fast, to any order of reverse mode.

Three linear maps are one another's gradients: the strided convolution, its input gradient (the fractionally strided
convolution) and its weight gradient. Each is a `custom_vjp` written in the other two, so that no derivative leaves the set.

Why not `lax.conv_transpose` and autodiff: XLA:CPU runs the weight gradient of a dilated-input convolution, and second
derivatives through strided ones, on a naive path that is tens of times slower than an ordinary convolution
(jax issue 23783), and those of a grouped one up to hundreds of times. How each map is computed is chosen here, by the platform
and the geometry: 1 × 1 is a matrix product; on a CPU large 4 × 4 layers of stride 2 go by `winograd`, 3 × 3 ones of stride 1 by
`im2col` where they are grouped, and for their weight gradients. Equal to `lax` to rounding. Cost: no forward mode (`jvp`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export, lax

from gan_jax.networks import im2col, winograd

UNKNOWN_BATCH = 64
"""The batch size assumed where it is symbolic, as in an exported program, which learns it only when it is called."""

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """What the arrays of a convolution do not say. image_size: (H, W) of its large side; padding: zeros on each border.

    groups: the channels are in so many groups, and each output sees its own group alone.
    """

    image_size: tuple[int, int]
    stride: int
    padding: int
    groups: int = 1

    def is_pointwise(self, kernel: tuple[int, ...]) -> bool:
        """Whether this is the same matrix product at each pixel."""
        return (self.stride, self.padding, self.groups, *kernel[:2]) == (1, 0, 1, 1, 1)


_Form = Callable[[], jax.Array]


def _choose(
    geometry: Geometry, inputs: jax.Array, kernel: tuple[int, ...], by_lax: _Form, by_winograd: _Form, by_im2col: _Form | None
) -> jax.Array:
    """Compute by the form that is fastest on a CPU where this is lowered for one, and by `by_lax` elsewhere.

    The platform decides at lowering, so that a step can be lowered for any. bfloat16 would lose its last digits.
    """
    on_cpu = by_lax
    if jnp.finfo(inputs.dtype).bits >= 32:
        stride_and_padding = geometry.stride, geometry.padding
        batch = UNKNOWN_BATCH if export.is_symbolic_dim(inputs.shape[0]) else inputs.shape[0]
        if geometry.groups == 1 and winograd.applies(batch, geometry.image_size, *stride_and_padding, kernel):
            on_cpu = by_winograd
        elif by_im2col is not None and im2col.applies(*stride_and_padding, kernel):
            on_cpu = by_im2col
    if on_cpu is by_lax:
        return by_lax()
    result: jax.Array = lax.platform_dependent(cpu=on_cpu, default=by_lax)
    return result


def _conv_forward(geometry: Geometry, images: jax.Array, kernel: jax.Array) -> jax.Array:
    if geometry.is_pointwise(kernel.shape):
        return images @ kernel[0, 0]
    return _choose(
        geometry,
        images,
        kernel.shape,
        lambda: _lax_conv(geometry, images, kernel),
        lambda: winograd.conv(images, kernel),
        (lambda: im2col.conv(images, kernel, geometry.groups)) if geometry.groups > 1 else None,
    )


def _lax_conv(geometry: Geometry, images: jax.Array, kernel: jax.Array) -> jax.Array:
    padding = (geometry.padding, geometry.padding)
    strides = (geometry.stride, geometry.stride)
    return lax.conv_general_dilated(
        images, kernel, strides, (padding, padding), dimension_numbers=_LAYOUT, feature_group_count=geometry.groups
    )


def _conv_input_gradient(geometry: Geometry, features: jax.Array, kernel: jax.Array) -> jax.Array:
    if geometry.is_pointwise(kernel.shape):
        return features @ kernel[0, 0].T
    return _choose(
        geometry,
        features,
        kernel.shape,
        lambda: _lax_input_gradient(geometry, features, kernel),
        lambda: winograd.input_gradient(features, kernel),
        (lambda: im2col.input_gradient(features, kernel, geometry.groups)) if geometry.groups > 1 else None,
    )


def _lax_input_gradient(geometry: Geometry, features: jax.Array, kernel: jax.Array) -> jax.Array:
    # The high side also takes up the rows that a strided window cannot reach, so that the large size comes back exactly.
    padding = [
        (window - 1 - geometry.padding, large + geometry.padding - 1 - (small - 1) * geometry.stride)
        for window, large, small in zip(kernel.shape[:2], geometry.image_size, features.shape[1:3], strict=True)
    ]

    def conv(turned: jax.Array, layout: str) -> jax.Array:
        return lax.conv_general_dilated(
            features,
            turned,
            (1, 1),
            padding,
            lhs_dilation=(geometry.stride, geometry.stride),
            dimension_numbers=(_LAYOUT[0], layout, _LAYOUT[2]),
            feature_group_count=geometry.groups,
        )

    def exchanged() -> jax.Array:
        return conv(im2col.transposed(kernel, geometry.groups), "HWIO")

    if geometry.groups > 1:
        return exchanged()
    # XLA:GPU knows cuDNN's input gradient by the reversed kernel itself; any other it computes among the zeros of the dilation.
    gradient: jax.Array = lax.platform_dependent(cpu=exchanged, default=lambda: conv(lax.rev(kernel, (0, 1)), "HWOI"))
    return gradient


def _conv_weight_gradient(geometry: Geometry, window: tuple[int, int], images: jax.Array, features: jax.Array) -> jax.Array:
    kernel = (*window, images.shape[-1] // geometry.groups, features.shape[-1])
    if geometry.is_pointwise(kernel):
        return jnp.tensordot(images, features, ((0, 1, 2), (0, 1, 2)))[None, None]
    return _choose(
        geometry,
        images,
        kernel,
        lambda: _lax_weight_gradient(geometry, kernel, images, features),
        lambda: winograd.weight_gradient(images, features),
        lambda: im2col.weight_gradient(images, features, geometry.groups),
    )


def _lax_weight_gradient(geometry: Geometry, kernel: tuple[int, ...], images: jax.Array, features: jax.Array) -> jax.Array:
    transpose = jax.linear_transpose(partial(_lax_conv, geometry, images), jax.ShapeDtypeStruct(kernel, images.dtype))
    gradient: jax.Array = transpose(features)[0]
    return gradient


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def strided_conv(geometry: Geometry, images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images `[B, H, W, I]`, kernel `[h, w, I / groups, O]` -> features `[B, H', W', O]`.

    H' = (H + 2 padding - h) // stride + 1. The channels of a group are neighbours.
    """
    return _conv_forward(geometry, images, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def fractionally_strided_conv(geometry: Geometry, features: jax.Array, kernel: jax.Array) -> jax.Array:
    """Features `[B, H', W', O]`, kernel `[h, w, I / groups, O]` -> images `[B, H, W, I]`: `strided_conv`'s input gradient."""
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
    """Strided convolution without bias: `[B, H, W, I]` -> `[B, H', W', features]`. Parameters float32, arithmetic in dtype.

    kernel_size: of both sides, or (h, w).
    """

    features: int
    kernel_size: int | tuple[int, int] = 4
    stride: int = 2
    padding: int = 1
    groups: int = 1
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        window = (self.kernel_size,) * 2 if isinstance(self.kernel_size, int) else self.kernel_size
        shape = (*window, images.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        geometry = Geometry((images.shape[1], images.shape[2]), self.stride, self.padding, self.groups)
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
