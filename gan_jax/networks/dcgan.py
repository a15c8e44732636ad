"""DCGAN (Radford et al. 2016; notes 001, "Architecture guidelines"): strided convolutions, no pooling.

For an image of size `4 * 2**n` the generator doubles the size n times from a 4 × 4 projection of the latent and the
discriminator halves it n times; widths double towards 4 × 4. Other sizes have another smallest grid h × w in its place, see
`layers.pyramid`. norm="batch" is the paper's: weights N(0, 0.02), batch-norm scales
N(1, 0.02). norm="none" has biases in place of batch norm, and He's initialisation (He et al. 2015), which keeps the variance of
activations without it: a penalty on D needs that. D alone also has norm="layer", in batch norm's places, and "spectral", with
biases. Their weights start from N(0, 0.02) too, as those of SN-DCGAN do: either norm divides their scale out.

With num_classes, what follows G's convolutions has a row of parameters for each class, and D is a projection discriminator
(Miyato and Koyama 2018), whose vectors of the classes start from N(0, 0.02) under every norm.
"""

from collections.abc import Callable
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

GEN_NORMS = ("batch", "none")
DISC_NORMS = (*GEN_NORMS, "layer", "spectral")
_weights = nn.initializers.normal(0.02)


def _scale_init(rng: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    return 1.0 + _weights(rng, shape, dtype)


def _kernel_init(norm: str, *, in_axis: int = -2, stride: int = 1) -> nn.initializers.Initializer:
    """Make the initialiser of a kernel; of a fractionally strided one, only one entry in stride × stride meets an input."""
    if norm != "none":
        return _weights
    out_axis = -1 if in_axis == -2 else -2
    return nn.initializers.variance_scaling(2.0 * stride**2, "fan_in", "normal", in_axis=in_axis, out_axis=out_axis)


class Generator(nn.Module):
    """Latents `[B, Z]`, labels `[B]` or None -> images `[B, H, W, C]`, float32 in [-1, 1].

    conv_transpose: the fractionally strided layer, called as `ConvTranspose` is. axis_name: of the mapped axis over which batch
    norm takes the statistics of a training batch, or None.
    """

    image_size: tuple[int, int]
    channels: int
    base_width: int = 64
    dtype: Any = jnp.float32
    norm: str = "batch"
    num_classes: int = 0
    conv_transpose: Callable[..., nn.Module] = ConvTranspose
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        height, grid_width, blocks = pyramid(self.image_size)
        width = self.base_width * 2 ** (blocks - 1)
        normed = partial(normalise, norm=self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        normed = partial(normed, labels=labels, num_classes=self.num_classes, scale_init=_scale_init)
        init = _kernel_init(self.norm, in_axis=-1, stride=2)

        dense = nn.Dense(height * grid_width * width, use_bias=False, dtype=self.dtype, kernel_init=_kernel_init(self.norm))
        x = nn.relu(normed(dense(latents).reshape(-1, height, grid_width, width)))
        for block in reversed(range(blocks - 1)):
            x = self.conv_transpose(self.base_width * 2**block, dtype=self.dtype, kernel_init=init)(x)
            x = nn.relu(normed(x))
        x = self.conv_transpose(self.channels, dtype=self.dtype, kernel_init=init)(x)
        return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
    """Images `[B, H, W, C]` in [-1, 1], labels `[B]` or None -> logits `[B]`, float32.

    conv: the strided layer, called as `Conv` is. axis_name: as in `Generator`.
    """

    image_size: tuple[int, int]
    base_width: int = 64
    dtype: Any = jnp.float32
    norm: str = "batch"
    num_classes: int = 0
    conv: Callable[..., nn.Module] = Conv
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        normed = partial(normalise, norm=self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        normed = partial(normed, scale_init=_scale_init)
        leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)

        def conv(x: jax.Array, features: int, **options: Any) -> jax.Array:
            options = {"dtype": self.dtype, "kernel_init": _kernel_init(self.norm)} | options
            layer = self.conv(features, **options)
            return spectrally_normalised(layer, self.norm, train)(x)

        x = conv(images, self.base_width)
        x = leaky_relu(x if self.norm in ("batch", "layer") else Bias(self.dtype)(x))  # the paper has no norm next to the image
        height, width, blocks = pyramid(self.image_size)
        for block in range(1, blocks):
            x = leaky_relu(normed(conv(x, self.base_width * 2**block)))
        x = at_least_float32(x)  # logits in bfloat16 would be too coarse for differences of them
        logits = conv(x, 1, kernel_size=(height, width), stride=1, padding=0, dtype=x.dtype).reshape(-1)
        if not self.num_classes:
            return logits
        return logits + projection(x, labels, self.num_classes, self.norm, train, _weights)


def make_generator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", base_width: int = 64, norm: str = "batch"
) -> nn.Module:
    """Make the generator of images `[H, W, C]`; base_width: channels next to the image, doubling towards the smallest grid."""
    size, channels = check_image("dcgan", sample_shape, 6)
    check_width("dcgan", "base_width", base_width)
    check_norm("dcgan", norm, GEN_NORMS, of_disc=DISC_NORMS[2:])
    return Generator(size, channels, base_width, dtype, norm, num_classes)


def make_discriminator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", base_width: int = 64, norm: str = "batch"
) -> nn.Module:
    """Make the discriminator of images `[H, W, C]`; options as in `make_generator`."""
    size, _ = check_image("dcgan", sample_shape, 6)
    check_width("dcgan", "base_width", base_width)
    check_norm("dcgan", norm, DISC_NORMS)
    return Discriminator(size, base_width, dtype, norm, num_classes)
