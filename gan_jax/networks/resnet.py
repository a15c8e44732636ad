"""The residual networks of SNGAN for CIFAR-10 (Miyato et al. 2018, table 4), from those of WGAN-GP (Gulrajani et al. 2017).

For an image of size `4 * 2**n` the generator projects the latent to 4 × 4, and each of n blocks doubles the size. The
discriminator's blocks halve it to 8 × 8 (an 8 × 8 image to 4 × 4), two more keep it, and features are summed over what is left.
Other sizes have another smallest grid in place of 4 × 4, see `layers.pyramid`: 48 × 48, as of STL-10, the paper's 6 × 6.
One width throughout each network: 256 in the paper's G, 128 in its D. G has batch norm; D's norm is "spectral" (SNGAN), "layer"
(before the activations of all blocks but the first) or "none". Glorot's uniform initialisation, of gain √2 in the 3 × 3
convolutions of blocks. Batch norm has ε = 1e-5, in the authors' code 2e-5.

With num_classes, batch norm in G's blocks is conditional, and D a projection discriminator (Miyato and Koyama 2018).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.networks.conv import Conv
from gan_jax.networks.layers import (
    Bias,
    at_least_float32,
    check_image,
    check_norm,
    check_width,
    normalise,
    projection,
    pyramid,
    spectrally_normalised,
)

DISC_NORMS = ("spectral", "layer", "none")
_glorot = nn.initializers.glorot_uniform()
_glorot_for_relu = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")  # a gain of √2


def repeat_pixels(x: jax.Array) -> jax.Array:
    """`[B, H, W, C]` -> `[B, 2 H, 2 W, C]`: each entry four times."""
    batch, height, width, channels = x.shape
    repeated = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return repeated.reshape(batch, 2 * height, 2 * width, channels)


def mean_of_pixels(x: jax.Array) -> jax.Array:
    """`[B, H, W, C]` -> `[B, H / 2, W / 2, C]`: means of 2 × 2 entries."""
    batch, height, width, channels = x.shape
    return jnp.mean(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def _conv(x: jax.Array, features: int, *, norm: str, train: bool, dtype: Any, init: Any = _glorot_for_relu) -> jax.Array:
    """Apply a 3 × 3 convolution with bias, its kernel under norm="spectral" over its spectral norm."""
    conv = Conv(features, kernel_size=3, stride=1, dtype=dtype, kernel_init=init)
    return Bias(dtype)(spectrally_normalised(conv, norm, train)(x))


class GenBlock(nn.Module):
    """`[B, H, W, C]`, labels `[B]` or None -> `[B, 2 H, 2 W, C]`: batch norm, ReLU, convolution, twice, beside a shortcut."""

    dtype: Any = jnp.float32
    num_classes: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        width = x.shape[-1]
        normed = partial(normalise, norm="batch", train=train, dtype=self.dtype, axis_name=self.axis_name)
        normed = partial(normed, labels=labels, num_classes=self.num_classes)
        conv = partial(_conv, features=width, norm="none", train=train, dtype=self.dtype)

        residual = conv(repeat_pixels(nn.relu(normed(x))))
        residual = conv(nn.relu(normed(residual)))
        # A 1 × 1 convolution, which may as well come before the copies.
        return residual + repeat_pixels(nn.Dense(width, dtype=self.dtype, kernel_init=_glorot)(x))


class DiscBlock(nn.Module):
    """`[B, H, W, I]` -> `[B, H, W, width]`, with down H / 2, W / 2: ReLU, convolution, twice, beside a shortcut.

    first: on the image, which no ReLU must cut off.
    """

    width: int
    down: bool
    first: bool = False
    dtype: Any = jnp.float32
    norm: str = "spectral"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def activated(x: jax.Array) -> jax.Array:
            return nn.relu(normalise(x, norm="layer", train=train, dtype=self.dtype) if layer_norm else x)

        layer_norm = self.norm == "layer" and not self.first
        conv = partial(_conv, features=self.width, norm=self.norm, train=train, dtype=self.dtype)
        residual = conv(x if self.first else activated(x))
        residual = conv(activated(residual))
        if not self.down:
            return x + residual
        # A 1 × 1 convolution, which may as well come after the means.
        shortcut = nn.Dense(self.width, dtype=self.dtype, kernel_init=_glorot)
        return spectrally_normalised(shortcut, self.norm, train)(mean_of_pixels(x)) + mean_of_pixels(residual)


class Generator(nn.Module):
    """Latents `[B, Z]`, labels `[B]` or None -> images `[B, H, W, C]`, float32 in [-1, 1].

    axis_name: of the mapped axis over which batch norm takes the statistics of a training batch, or None.
    """

    image_size: tuple[int, int]
    channels: int
    width: int = 128
    dtype: Any = jnp.float32
    num_classes: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        height, width, doublings = pyramid(self.image_size)
        x = nn.Dense(height * width * self.width, dtype=self.dtype, kernel_init=_glorot)(latents)
        x = x.reshape(-1, height, width, self.width)
        for _ in range(doublings):
            x = GenBlock(self.dtype, self.num_classes, self.axis_name)(x, labels, train)
        x = nn.relu(normalise(x, norm="batch", train=train, dtype=self.dtype, axis_name=self.axis_name))  # of every class
        x = _conv(x, self.channels, norm="none", train=train, dtype=self.dtype, init=_glorot)
        return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
    """Images `[B, H, W, C]` in [-1, 1], labels `[B]` or None -> logits `[B]`, float32."""

    image_size: tuple[int, int]
    width: int = 128
    dtype: Any = jnp.float32
    norm: str = "spectral"
    num_classes: int = 0

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        x = images.astype(self.dtype)
        downs = max(1, pyramid(self.image_size).doublings - 1)
        for block in range(downs + 2):
            x = DiscBlock(self.width, block < downs, block == 0, self.dtype, self.norm)(x, train)
        x = at_least_float32(nn.relu(x))
        dense = nn.Dense(1, use_bias=False, dtype=x.dtype, kernel_init=_glorot)
        logits = spectrally_normalised(dense, self.norm, train)(jnp.sum(x, axis=(1, 2))).reshape(-1)
        if not self.num_classes:
            return logits
        return logits + projection(x, labels, self.num_classes, self.norm, train, _glorot)


def _check(sample_shape: tuple[int, ...], width: int, norm: str) -> tuple[tuple[int, int], int]:
    """Return image size and channels, or raise `InputError` at what these networks cannot be."""
    check_width("resnet", "width", width)
    check_norm("resnet", norm, DISC_NORMS)
    return check_image("resnet", sample_shape, 6)


def make_generator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", width: int = 128, norm: str = "spectral"
) -> nn.Module:
    """Make the generator of images `[H, W, C]`; width: channels of all layers; norm: D's, which G does not have."""
    size, channels = _check(sample_shape, width, norm)
    return Generator(size, channels, width, dtype, num_classes)


def make_discriminator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", width: int = 128, norm: str = "spectral"
) -> nn.Module:
    """Make the discriminator of images `[H, W, C]`; options as in `make_generator`."""
    size, _ = _check(sample_shape, width, norm)
    return Discriminator(size, width, dtype, norm, num_classes)
