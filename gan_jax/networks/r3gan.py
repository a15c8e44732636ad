"""R3GAN, configuration E (Huang et al. 2024, §3 and table 9): residual networks without normalisation, for penalised training.

At each resolution, from 4 × 4 (for some sizes another grid, see `layers.pyramid`) to the image's, there are a few inverted
bottlenecks with grouped convolutions. Fix-up initialisation (Zhang et al. 2019) keeps variances without a norm: the last
convolution of a block starts at 0. The filter of `resample` is between resolutions. Meant for latents N(0, I) of 64 numbers,
the relativistic objective, and r1 and r2 of equal weight at every step; there is no batch norm, as it would couple the
examples, which these penalties take one by one.

The paper computes in bfloat16 at the three or four highest resolutions alone; here dtype is that of all but D's head, whose
logits bfloat16 would round to 1 part in 256: only their differences count, and their level is free.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.errors import InputError
from gan_jax.networks.conv import Conv
from gan_jax.networks.layers import Bias, at_least_float32, check_image, check_width, projection, pyramid
from gan_jax.networks.resample import downsample, upsample

_EXPANSION = 2
_SLOPE = 0.2
_EMBEDDED = 64  # numbers that stand for G's label


def _init(variance: float = 1.0) -> nn.initializers.Initializer:
    """Make the initialiser N(0, variance / inputs of an output)."""
    return nn.initializers.variance_scaling(variance, "fan_in", "normal")


def _pointwise(features: int, dtype: Any, init: nn.initializers.Initializer | None = None) -> Conv:
    return Conv(features, kernel_size=1, stride=1, padding=0, dtype=dtype, kernel_init=init or _init())


class Activation(nn.Module):
    """Add a bias, then take the leaky ReLU: `[..., C]` -> `[..., C]`."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.leaky_relu(Bias(self.dtype)(x), negative_slope=_SLOPE)


class Block(nn.Module):
    """Residual block, the identity at first: `[B, H, W, C]` -> `[B, H, W, C]`, with twice the channels inside.

    group_size: channels in a group of the 3 × 3 convolution. num_blocks: of the whole network, by which fix-up scales.
    """

    group_size: int
    num_blocks: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inner = _EXPANSION * x.shape[-1]
        # He's 2 / (1 + slope²); of the m = 3 layers of a branch each has num_blocks ** (-1 / (2m - 2)) as its scale.
        init = _init(2.0 / (1.0 + _SLOPE**2) * self.num_blocks**-0.5)
        y = Activation(self.dtype)(_pointwise(inner, self.dtype, init)(x))
        grouped = Conv(inner, 3, 1, 1, groups=inner // self.group_size, dtype=self.dtype, kernel_init=init)
        y = Activation(self.dtype)(grouped(y))
        return x + _pointwise(x.shape[-1], self.dtype, nn.initializers.zeros)(y)


class Generator(nn.Module):
    """Latents `[B, Z]`, labels `[B]` or None -> images `[B, H, W, C]`, float32 and unbounded.

    widths: channels at each resolution, from the image's to the smallest grid. blocks: at each resolution. group_size: as in
    `Block`.
    """

    image_size: tuple[int, int]
    channels: int
    widths: tuple[int, ...]
    blocks: int = 2
    group_size: int = 16
    dtype: Any = jnp.float32
    num_classes: int = 0

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        del train  # no statistics
        dense = partial(nn.Dense, use_bias=False, dtype=self.dtype, kernel_init=_init())
        if self.num_classes:
            embedded = dense(_EMBEDDED, name="embedding")(jax.nn.one_hot(labels, self.num_classes, dtype=latents.dtype))
            latents = jnp.concatenate([latents, embedded.astype(latents.dtype)], axis=-1)
        smallest = self.widths[-1]
        basis = self.param("basis", nn.initializers.normal(1.0), (*pyramid(self.image_size)[:2], smallest))
        x = basis[None].astype(self.dtype) * dense(smallest)(latents)[:, None, None]
        for stage, width in enumerate(reversed(self.widths)):
            if x.shape[-1] != width:
                x = _pointwise(width, self.dtype)(x)
            x = _blocks(self, upsample(x) if stage else x)
        return at_least_float32(_pointwise(self.channels, self.dtype)(x))


class Discriminator(nn.Module):
    """Images `[B, H, W, C]`, labels `[B]` or None -> logits `[B]`, float32; fields as in `Generator`.

    With num_classes the head has a vector in place of a logit, whose product with the label's own vector is the logit.
    """

    image_size: tuple[int, int]
    widths: tuple[int, ...]
    blocks: int = 2
    group_size: int = 16
    dtype: Any = jnp.float32
    num_classes: int = 0

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        x = images
        for stage, width in enumerate(self.widths):
            x = downsample(x) if stage else x
            if x.shape[-1] != width or not stage:
                x = _pointwise(width, self.dtype)(x)
            x = _blocks(self, x)
        # The depthwise h × w convolution of an h × w image: one product of each channel.
        height, width, _ = pyramid(self.image_size)
        init = nn.initializers.normal((height * width) ** -0.5)
        kernel = self.param("head", init, (height, width, x.shape[-1]))
        x = jnp.sum(at_least_float32(x) * kernel[None], axis=(1, 2))
        x = nn.Dense(x.shape[-1] if self.num_classes else 1, use_bias=False, dtype=x.dtype, kernel_init=_init())(x)
        if not self.num_classes:
            return x.reshape(-1)
        init = _init(1.0 / x.shape[-1])
        return projection(x[:, None, None], labels, self.num_classes, "none", train, init)


def _blocks(player: Generator | Discriminator, x: jax.Array) -> jax.Array:
    """Apply the blocks of one resolution."""
    for _ in range(player.blocks):
        x = Block(player.group_size, player.blocks * len(player.widths), player.dtype)(x)
    return x


def _check(
    sample_shape: tuple[int, ...], widths: Sequence[int], blocks: int, group_size: int
) -> tuple[tuple[int, int], int, tuple[int, ...]]:
    """Return image size, channels, and the width at each resolution, or raise `InputError` at what an R3GAN cannot be."""
    size, channels = check_image("r3gan", sample_shape, 6)
    grid = pyramid(size)
    widths, resolutions = tuple(widths), grid.doublings + 1
    if len(widths) not in (1, resolutions) or not all(isinstance(width, int) and width >= 1 for width in widths):
        allowed = f"{resolutions} integers ≥ 1, from {size[0]} × {size[1]} to {grid.height} × {grid.width}, or one for all"
        raise InputError(f"network r3gan: widths={widths} must be {allowed}")
    check_width("r3gan", "blocks", blocks)
    check_width("r3gan", "group_size", group_size)
    for width in widths:
        if _EXPANSION * width % group_size:
            raise InputError(f"network r3gan: group_size={group_size} must divide {_EXPANSION} × {width}, for widths={widths}")
    return size, channels, widths if len(widths) > 1 else widths * resolutions


def make_generator(
    sample_shape: tuple[int, ...],
    *,
    num_classes: int = 0,
    dtype: str = "float32",
    widths: Sequence[int] = (96,),
    blocks: int = 2,
    group_size: int = 16,
) -> nn.Module:
    """Make the generator of images `[H, W, C]`.

    widths: channels at each resolution, from H × W to the smallest grid, or one number for all. blocks: residual blocks at
    each. group_size: channels in a group of the grouped convolutions, which have twice the width: the published "groups" are
    2 × width / group_size.
    """
    size, channels, widths = _check(sample_shape, widths, blocks, group_size)
    return Generator(size, channels, widths, blocks, group_size, dtype, num_classes)


def make_discriminator(
    sample_shape: tuple[int, ...],
    *,
    num_classes: int = 0,
    dtype: str = "float32",
    widths: Sequence[int] = (96,),
    blocks: int = 2,
    group_size: int = 16,
) -> nn.Module:
    """Make the discriminator of images `[H, W, C]`; options as in `make_generator`."""
    size, _, widths = _check(sample_shape, widths, blocks, group_size)
    return Discriminator(size, widths, blocks, group_size, dtype, num_classes)
