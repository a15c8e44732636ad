"""Penalties on the discriminator: functions of D itself, unreduced, whose weighted mean D descends.

`disc(images [B, ...], keys [B]) -> logits [B]` has labels, augmentation and statistics inside, and the gradient is that with
respect to the images before augmentation. Only examples that D judges independently have a gradient of their own, so that
batch norm in D excludes every penalty here. Reverse mode only: `networks.conv` has no forward mode.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Discriminate = Callable[[jax.Array, jax.Array], jax.Array]
Penalty = Callable[[Discriminate, jax.Array, jax.Array, Mapping[str, jax.Array]], jax.Array]
"""`penalty(disc, real [B, ...], fake [B, ...], keys) -> [B]`; keys: one key for each example, `[B]`, by purpose (`steps`)."""


def squared_gradient_norm(disc: Discriminate, images: jax.Array, keys: jax.Array) -> jax.Array:
    """Return |d logit_i / d image_i|^2 `[B]`, summed over height, width and channels."""
    # The gradient of the sum: a logit depends on its own image alone.
    gradients = jax.grad(lambda inputs: jnp.sum(disc(inputs, keys)))(images)
    return jnp.sum(gradients**2, axis=tuple(range(1, gradients.ndim)))


def r1(disc: Discriminate, real: jax.Array, fake: jax.Array, keys: Mapping[str, jax.Array]) -> jax.Array:
    """|grad D(x)|^2 / 2 at real images (Mescheder et al. 2018 eq. 9). Published weights are for images in [-1, 1]."""
    del fake
    return squared_gradient_norm(disc, real, keys["real"]) / 2


PENALTIES: dict[str, Penalty] = {"r1": r1}
"""Name -> penalty. A new one is a function, an entry here, its weights in the default config, a test of its closed form."""
