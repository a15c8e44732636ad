"""DCGAN (Radford et al. 2016; seed 001, "Architecture guidelines"): strided convolutions, batch norm, no pooling.

For an image of size `4 * 2**n` the generator doubles the size n times from a 4 × 4 projection of the latent and the
discriminator halves it n times; widths double towards 4 × 4. Weights are N(0, 0.02), batch-norm scales N(1, 0.02).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.errors import InputError
from gan_jax.networks.conv import Conv, ConvTranspose

_weights = nn.initializers.normal(0.02)


def _scale_init(rng: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    return 1.0 + _weights(rng, shape, dtype)


def _blocks(image_size: int) -> int:
    """n of image_size = 4 * 2**n."""
    if image_size < 8 or image_size & (image_size - 1):
        raise InputError(f"image_size={image_size}: DCGAN takes a power of two of at least 8")
    return image_size.bit_length() - 3


def _batch_norm(train: bool, dtype: Any, axis_name: str | None) -> nn.BatchNorm:
    # Flax's momentum is the share that is kept: 0.9 here is 0.1 in PyTorch. Statistics are float32 even for bfloat16.
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, scale_init=_scale_init, axis_name=axis_name)


class Generator(nn.Module):
    """Latents `[B, Z]` -> images `[B, S, S, C]`, float32 in [-1, 1]. S: power of two, at least 8.

    conv_transpose: the fractionally strided layer, called as `ConvTranspose` is. axis_name: of the mapped axis over which batch
    norm takes the statistics of a training batch, or None.
    """

    image_size: int
    channels: int
    base_width: int = 64
    dtype: Any = jnp.float32
    conv_transpose: Callable[..., nn.Module] = ConvTranspose
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: jax.Array, train: bool) -> jax.Array:
        blocks = _blocks(self.image_size)
        width = self.base_width * 2 ** (blocks - 1)
        batch_norm = partial(_batch_norm, train, self.dtype, self.axis_name)

        x = nn.Dense(4 * 4 * width, use_bias=False, dtype=self.dtype, kernel_init=_weights)(latents)
        x = nn.relu(batch_norm()(x.reshape(-1, 4, 4, width)))
        for block in reversed(range(blocks - 1)):
            x = self.conv_transpose(self.base_width * 2**block, dtype=self.dtype)(x)
            x = nn.relu(batch_norm()(x))
        x = self.conv_transpose(self.channels, dtype=self.dtype)(x)
        return jnp.tanh(x.astype(jnp.promote_types(self.dtype, jnp.float32)))


class Discriminator(nn.Module):
    """Images `[B, S, S, C]` in [-1, 1] -> logits `[B]`, float32. S: power of two, at least 8.

    conv: the strided layer, called as `Conv` is. axis_name: as in `Generator`.
    """

    image_size: int
    base_width: int = 64
    dtype: Any = jnp.float32
    conv: Callable[..., nn.Module] = Conv
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)

        x = leaky_relu(self.conv(self.base_width, dtype=self.dtype)(images))
        for block in range(1, _blocks(self.image_size)):
            x = self.conv(self.base_width * 2**block, dtype=self.dtype)(x)
            x = leaky_relu(_batch_norm(train, self.dtype, self.axis_name)(x))
        x = self.conv(1, stride=1, padding=0, dtype=self.dtype)(x)
        return x.reshape(-1).astype(jnp.promote_types(self.dtype, jnp.float32))
