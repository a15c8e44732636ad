"""The image networks in small, with inputs, labels and variables for them."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import pytest

from gan_jax import make_network

K = 3
LABELS = jnp.arange(8, dtype=jnp.int32) % K
SMALL = {"dcgan": {"base_width": 4}, "sndcgan": {"base_width": 4}, "resnet": {"width": 4}}
every_image_network = pytest.mark.parametrize("name", SMALL)


def network(player, name, *, size=16, channels=1, **options):
    return make_network(player, name, (size, size, channels), **SMALL[name] | options)


def inputs_of(player, *, size=16, channels=1, latent_dim=5, seed=1):
    shape = (len(LABELS), latent_dim) if player == "gen" else (len(LABELS), size, size, channels)
    return jax.random.normal(jax.random.key(seed), shape)


def init(module, inputs, labels=None):
    return jax.jit(partial(module.init, train=False))(jax.random.key(0), inputs, labels)


@cache
def in_train_mode(module):
    return jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))


def leaky_relu(x):
    return jnp.where(x > 0, x, 0.2 * x)
