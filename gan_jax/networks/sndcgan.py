"""The standard CNN of SNGAN (Miyato et al. 2018, table 3), for CIFAR-10 at base_width=64.

For an image of size `4 * 2**n` the generator projects the latent to 4 × 4 and doubles the size n times; the discriminator
halves it n times, with a 3 × 3 convolution before each 4 × 4 one of stride 2, and one more at 4 × 4. Widths double towards
4 × 4. Other sizes have another smallest grid, see `layers.pyramid`: 48 × 48, as of STL-10, the paper's 6 × 6. G has batch
norm; D's norm is "spectral", or "none" with biases alone. Weights N(0, 0.02), leaky ReLU 0.1.

With num_classes, G's batch norm is conditional, and D a projection discriminator (Miyato and Koyama 2018).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.networks.conv import Conv, ConvTranspose
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

DISC_NORMS = ("spectral", "none")
_weights = nn.initializers.normal(0.02)


class Generator(nn.Module):
    """Latents `[B, Z]`, labels `[B]` or None -> images `[B, H, W, C]`, float32 in [-1, 1].

    axis_name: of the mapped axis over which batch norm takes the statistics of a training batch, or None.
    """

    image_size: tuple[int, int]
    channels: int
    base_width: int = 64
    dtype: Any = jnp.float32
    num_classes: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        height, grid_width, blocks = pyramid(self.image_size)
        width = self.base_width * 2**blocks
        normed = partial(normalise, norm="batch", train=train, dtype=self.dtype, axis_name=self.axis_name)
        normed = partial(normed, labels=labels, num_classes=self.num_classes)

        x = nn.Dense(height * grid_width * width, use_bias=False, dtype=self.dtype, kernel_init=_weights)(latents)
        x = nn.relu(normed(x.reshape(-1, height, grid_width, width)))
        for block in reversed(range(blocks)):
            x = ConvTranspose(self.base_width * 2**block, dtype=self.dtype, kernel_init=_weights)(x)
            x = nn.relu(normed(x))
        x = Conv(self.channels, kernel_size=3, stride=1, dtype=self.dtype, kernel_init=_weights)(x)
        return jnp.tanh(at_least_float32(Bias(self.dtype)(x)))


class Discriminator(nn.Module):
    """Images `[B, H, W, C]` in [-1, 1], labels `[B]` or None -> logits `[B]`, float32."""

    image_size: tuple[int, int]
    base_width: int = 64
    dtype: Any = jnp.float32
    norm: str = "spectral"
    num_classes: int = 0

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        def layer(x: jax.Array, features: int, kernel_size: int, stride: int) -> jax.Array:
            conv = Conv(features, kernel_size=kernel_size, stride=stride, dtype=self.dtype, kernel_init=_weights)
            x = Bias(self.dtype)(spectrally_normalised(conv, self.norm, train)(x))
            return nn.leaky_relu(x, negative_slope=0.1)

        blocks = pyramid(self.image_size).doublings
        x = images
        for block in range(blocks):
            x = layer(x, self.base_width * 2**block, 3, 1)
            x = layer(x, self.base_width * 2**block, 4, 2)
        x = layer(x, self.base_width * 2**blocks, 3, 1)
        x = at_least_float32(x)  # logits in bfloat16 would be too coarse for differences of them
        dense = spectrally_normalised(nn.Dense(1, dtype=x.dtype, kernel_init=_weights), self.norm, train)
        logits = dense(x.reshape(len(x), -1)).reshape(-1)
        if not self.num_classes:
            return logits
        return logits + projection(x, labels, self.num_classes, self.norm, train, _weights)


def _check(sample_shape: tuple[int, ...], base_width: int, norm: str) -> tuple[tuple[int, int], int]:
    """Return image size and channels, or raise `InputError` at what these networks cannot be."""
    check_width("sndcgan", "base_width", base_width)
    check_norm("sndcgan", norm, DISC_NORMS)
    return check_image("sndcgan", sample_shape, 16)


def make_generator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", base_width: int = 64, norm: str = "spectral"
) -> nn.Module:
    """Make the generator of images `[H, W, C]`; base_width: channels next to the image; norm: D's, which G does not have."""
    size, channels = _check(sample_shape, base_width, norm)
    return Generator(size, channels, base_width, dtype, num_classes)


def make_discriminator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", base_width: int = 64, norm: str = "spectral"
) -> nn.Module:
    """Make the discriminator of images `[H, W, C]`; options as in `make_generator`."""
    size, _ = _check(sample_shape, base_width, norm)
    return Discriminator(size, base_width, dtype, norm, num_classes)
