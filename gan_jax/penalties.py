"""Penalties on the discriminator: functions of D itself, unreduced, whose weighted mean D descends.

`disc(images [B, ...], keys [B]) -> logits [B / packing]` includes labels, packing, augmentation and statistics; gradients are
taken with respect to the images before augmentation. A term is that of a pack, D's input: its squared gradient norm is summed
over the samples in it. Batch norm in D couples packs, which then have no gradients of their own, so it excludes every penalty
here. Only reverse mode is used: `networks.conv` has no forward mode.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Discriminate = Callable[[jax.Array, jax.Array], jax.Array]
Penalty = Callable[[Discriminate, jax.Array, jax.Array, Mapping[str, jax.Array]], jax.Array]
"""`penalty(disc, real [B, ...], fake [B, ...], keys) -> [B / packing]`; keys: `[B]` by purpose, see `steps`."""


def squared_gradient_norm(disc: Discriminate, images: jax.Array, keys: jax.Array) -> jax.Array:
    """Return |d logit_i / d pack_i|^2 `[B / packing]`, summed over height, width, channels and the images of a pack."""

    def total(inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = disc(inputs, keys)
        return jnp.sum(logits), logits

    # The gradient of the sum: an image enters the logit of its own pack alone.
    gradients, logits = jax.grad(total, has_aux=True)(images)
    of_images = jnp.sum(gradients**2, axis=tuple(range(1, gradients.ndim)))
    return jnp.sum(of_images.reshape(len(logits), -1), axis=1)


def r1(disc: Discriminate, real: jax.Array, fake: jax.Array, keys: Mapping[str, jax.Array]) -> jax.Array:
    """|grad D(x)|^2 / 2 at real images (Mescheder et al. 2018 eq. 9). Published weights are for images in [-1, 1]."""
    del fake
    return squared_gradient_norm(disc, real, keys["real"]) / 2


def r2(disc: Discriminate, real: jax.Array, fake: jax.Array, keys: Mapping[str, jax.Array]) -> jax.Array:
    """|grad D(G(z))|^2 / 2 at fake images (Mescheder et al. 2018 eq. 10): R3GAN needs it beside R1, with the same weight."""
    del real
    return squared_gradient_norm(disc, fake, keys["fake"]) / 2


def gradient_penalty(disc: Discriminate, real: jax.Array, fake: jax.Array, keys: Mapping[str, jax.Array]) -> jax.Array:
    """(|grad D| - 1)^2 at a random point between real pack i and fake pack i (WGAN-GP, Gulrajani et al. 2017 eq. 3)."""

    def between(key: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        return y + jax.random.uniform(key) * (x - y)

    for_points, for_disc = _split(keys["penalty"])
    packing = len(real) // len(jax.eval_shape(disc, real, for_disc))
    of_packs = jnp.repeat(for_points[::packing], packing)  # the samples of a pack move together
    return _slope_of_one(disc, jax.vmap(between)(of_packs, real, fake), for_disc)


def dragan(disc: Discriminate, real: jax.Array, fake: jax.Array, keys: Mapping[str, jax.Array]) -> jax.Array:
    """(|grad D| - 1)^2 near real images (Kodali et al. 2017), each pixel moved by U(0, 1) / 2 of a standard deviation.

    The standard deviation is the image's own rather than the batch's, so that an example's term does not depend on the others.
    """
    del fake

    def near(key: jax.Array, x: jax.Array) -> jax.Array:
        return x + 0.5 * jnp.std(x) * jax.random.uniform(key, x.shape)

    for_points, for_disc = _split(keys["penalty"])
    return _slope_of_one(disc, jax.vmap(near)(for_points, real), for_disc)


def _split(keys: jax.Array) -> jax.Array:
    """Split each of the keys `[B]` in two: keys `[2, B]`, for the point where D is penalised and for D's augmentation."""
    return jax.vmap(jax.random.split, out_axes=1)(keys)


def _slope_of_one(disc: Discriminate, images: jax.Array, keys: jax.Array) -> jax.Array:
    # The root has no slope at 0, where a D that is constant begins.
    return (jnp.sqrt(squared_gradient_norm(disc, images, keys) + 1e-12) - 1.0) ** 2


PENALTIES: dict[str, Penalty] = {"r1": r1, "r2": r2, "gradient_penalty": gradient_penalty, "dragan": dragan}
"""Name, which is the function's -> penalty. A new one is a function, an entry here, its weights in the default config, a test
of its closed form."""
