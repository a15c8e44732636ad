"""The baseline in Flax: the same step, with Flax's own convolutions in place of the closed set of `gan_jax.networks.conv`."""

from dataclasses import replace
from typing import Any

from flax import linen as nn

from gan_jax.state import GAN, Players


def _conv(features: int, kernel_size: int | tuple[int, int] = 4, stride: int = 2, padding: int = 1, **options: Any) -> nn.Conv:
    window = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    return nn.Conv(features, window, strides=stride, padding=padding, use_bias=False, **options)


def _conv_transpose(features: int, kernel_size: int = 4, stride: int = 2, padding: int = 1, **options: Any) -> nn.ConvTranspose:
    border = kernel_size - 1 - padding
    return nn.ConvTranspose(
        features,
        (kernel_size, kernel_size),
        strides=(stride, stride),
        padding=((border, border), (border, border)),
        use_bias=False,
        transpose_kernel=True,
        **options,
    )


def with_plain_layers(gan: GAN) -> GAN:
    """Return the same recipe of a DCGAN on Flax's layers: the same parameters give the same outputs."""
    gen, disc = gan.networks
    return replace(gan, networks=Players(gen.clone(conv_transpose=_conv_transpose), disc.clone(conv=_conv)))
