"""DCGAN (Radford et al. 2016; notes 001, "Architecture guidelines"): strided convolutions, no pooling.

For an image of size `4 * 2**n` the generator doubles the size n times from a 4 × 4 projection of the latent and the
discriminator halves it n times; widths double towards 4 × 4. norm="batch" is the paper's: weights N(0, 0.02), batch-norm scales
N(1, 0.02). norm="none" has biases in place of batch norm, and He's initialisation (He et al. 2015), which keeps the variance of
activations without it: a penalty on D needs that.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.errors import InputError, nearest
from gan_jax.networks.conv import Conv, ConvTranspose

_weights = nn.initializers.normal(0.02)
NORMS = ("batch", "none")


def _scale_init(rng: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    return 1.0 + _weights(rng, shape, dtype)


def _check(sample_shape: tuple[int, ...], num_classes: int, base_width: int, norm: str) -> tuple[int, int]:
    """Return image size and channels, or raise `InputError` at what a DCGAN cannot be."""
    if len(sample_shape) != 3:
        raise InputError(f"network dcgan makes images, and the samples are {sample_shape}: choose mlp, or an image dataset")
    height, width, channels = sample_shape
    if height != width or height < 8 or height & (height - 1):
        raise InputError(f"network dcgan: image size {height} × {width} must be a power of two ≥ 8, squared")
    if num_classes:
        raise InputError("network dcgan is unconditional: set num_classes to 0, or choose mlp")
    if base_width < 1:
        raise InputError(f"network dcgan: base_width={base_width} must be an integer ≥ 1")
    if norm not in NORMS:
        raise InputError(f"network dcgan: norm={norm} must be one of {', '.join(NORMS)}{nearest(norm, NORMS)}")
    return height, channels


def _blocks(image_size: int) -> int:
    """Return n of image_size = 4 * 2**n."""
    return image_size.bit_length() - 3


class Bias(nn.Module):
    """Add one number to each channel: `[..., C]` -> `[..., C]`."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x + bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def _normalise(norm: str, train: bool, dtype: Any, axis_name: str | None) -> nn.Module:
    """Make what follows a convolution: batch norm, or a bias where there is none."""
    if norm == "none":
        return Bias(dtype)
    # Flax's momentum is the share that is kept: 0.9 here is 0.1 in PyTorch. Statistics are float32 even for bfloat16.
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, scale_init=_scale_init, axis_name=axis_name)


def _kernel_init(norm: str, *, in_axis: int = -2, stride: int = 1) -> nn.initializers.Initializer:
    """Make the initialiser of a kernel; of a fractionally strided one, only one entry in stride × stride meets an input."""
    if norm == "batch":
        return _weights
    out_axis = -1 if in_axis == -2 else -2
    return nn.initializers.variance_scaling(2.0 * stride**2, "fan_in", "normal", in_axis=in_axis, out_axis=out_axis)


class Generator(nn.Module):
    """Latents `[B, Z]` -> images `[B, S, S, C]`, float32 in [-1, 1]. S: power of two ≥ 8.

    conv_transpose: the fractionally strided layer, called as `ConvTranspose` is. axis_name: of the mapped axis over which batch
    norm takes the statistics of a training batch, or None.
    """

    image_size: int
    channels: int
    base_width: int = 64
    dtype: Any = jnp.float32
    norm: str = "batch"
    conv_transpose: Callable[..., nn.Module] = ConvTranspose
    axis_name: str | None = None

    @nn.compact
    def __call__(self, latents: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        del labels
        blocks = _blocks(self.image_size)
        width = self.base_width * 2 ** (blocks - 1)
        normalise = partial(_normalise, self.norm, train, self.dtype, self.axis_name)
        init = _kernel_init(self.norm, in_axis=-1, stride=2)

        x = nn.Dense(4 * 4 * width, use_bias=False, dtype=self.dtype, kernel_init=_kernel_init(self.norm))(latents)
        x = nn.relu(normalise()(x.reshape(-1, 4, 4, width)))
        for block in reversed(range(blocks - 1)):
            x = self.conv_transpose(self.base_width * 2**block, dtype=self.dtype, kernel_init=init)(x)
            x = nn.relu(normalise()(x))
        x = self.conv_transpose(self.channels, dtype=self.dtype, kernel_init=init)(x)
        return jnp.tanh(x.astype(jnp.promote_types(self.dtype, jnp.float32)))


class Discriminator(nn.Module):
    """Images `[B, S, S, C]` in [-1, 1] -> logits `[B]`, float32. S: power of two ≥ 8.

    conv: the strided layer, called as `Conv` is. axis_name: as in `Generator`.
    """

    image_size: int
    base_width: int = 64
    dtype: Any = jnp.float32
    norm: str = "batch"
    conv: Callable[..., nn.Module] = Conv
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        del labels
        leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)
        conv = partial(self.conv, dtype=self.dtype, kernel_init=_kernel_init(self.norm))

        x = conv(self.base_width)(images)
        x = leaky_relu(Bias(self.dtype)(x) if self.norm == "none" else x)  # the paper has no batch norm next to the image
        for block in range(1, _blocks(self.image_size)):
            x = conv(self.base_width * 2**block)(x)
            x = leaky_relu(_normalise(self.norm, train, self.dtype, self.axis_name)(x))
        x = conv(1, stride=1, padding=0)(x)
        return x.reshape(-1).astype(jnp.promote_types(self.dtype, jnp.float32))


def make_generator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", base_width: int = 64, norm: str = "batch"
) -> nn.Module:
    """Make the generator of images `[S, S, C]`; base_width: channels next to the image, doubling towards 4 × 4."""
    size, channels = _check(sample_shape, num_classes, base_width, norm)
    return Generator(size, channels, base_width, dtype, norm)


def make_discriminator(
    sample_shape: tuple[int, ...], *, num_classes: int = 0, dtype: str = "float32", base_width: int = 64, norm: str = "batch"
) -> nn.Module:
    """Make the discriminator of images `[S, S, C]`; options as in `make_generator`."""
    size, _ = _check(sample_shape, num_classes, base_width, norm)
    return Discriminator(size, base_width, dtype, norm)
