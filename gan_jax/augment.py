"""Differentiable augmentation of real and fake images alike: functions of the images and a key for each.

DiffAugment (Zhao et al. 2020) transforms all that D sees, in its updates and in G's, so that D does not memorise a small
dataset; gradients pass through. Images are in [-1, 1], grey is 0, and the results are not clipped.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.errors import InputError, nearest
from gan_jax.schedules import Schedule

Augment = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""`augment(images [B, H, W, C], keys [B], step) -> images`: image i depends on itself, key i and the step alone."""

_Transform = Callable[[jax.Array, jax.Array], jax.Array]  # (image [H, W, C], key) -> image


def identity(images: jax.Array, keys: jax.Array, step: jax.Array) -> jax.Array:
    """Return the images as they are."""
    del keys, step
    return images


def brightness(image: jax.Array, key: jax.Array) -> jax.Array:
    """Add a number from U(-1/2, 1/2)."""
    return image + (jax.random.uniform(key) - 0.5)


def saturation(image: jax.Array, key: jax.Array) -> jax.Array:
    """Scale the deviations from each pixel's mean over the channels by a number from U(0, 2)."""
    mean = jnp.mean(image, axis=-1, keepdims=True)
    return (image - mean) * (2.0 * jax.random.uniform(key)) + mean


def contrast(image: jax.Array, key: jax.Array) -> jax.Array:
    """Scale the deviations from the image's mean by a number from U(1/2, 3/2)."""
    mean = jnp.mean(image)
    return (image - mean) * (jax.random.uniform(key) + 0.5) + mean


def translation(image: jax.Array, key: jax.Array) -> jax.Array:
    """Shift by up to an eighth of the size along both axes, by whole pixels, and fill with zeros."""
    for axis, axis_key in enumerate(jax.random.split(key)):
        size = image.shape[axis]
        most = int(size * 0.125 + 0.5)
        shift = jax.random.randint(axis_key, (), -most, most + 1)
        # By a matrix of zeros and ones: its gradient needs no scatter, which is slow and on GPUs not deterministic.
        positions = jnp.arange(size)
        matrix = (positions[:, None] + shift == positions[None]).astype(image.dtype)
        moved = jnp.tensordot(matrix, image, axes=(1, axis), precision=jax.lax.Precision.HIGHEST)
        image = jnp.moveaxis(moved, 0, axis)
    return image


def cutout(image: jax.Array, key: jax.Array) -> jax.Array:
    """Fill a square of half the size with zeros; it is centred anywhere and cut off at the borders."""
    inside = []
    for size, axis_key in zip(image.shape[:2], jax.random.split(key), strict=True):
        side = int(size * 0.5 + 0.5)
        first = jax.random.randint(axis_key, (), 0, size + 1 - side % 2) - side // 2
        positions = jnp.arange(size)
        inside.append((first <= positions) & (positions < first + side))
    hidden = inside[0][:, None, None] & inside[1][None, :, None]
    return jnp.where(hidden, jnp.zeros((), image.dtype), image)


POLICIES: dict[str, tuple[_Transform, ...]] = {
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
}
"""Name -> transforms of one image, in their order."""


def diffaugment(policy: str, probability: Schedule | None = None) -> Augment:
    """Build the augmentation of a policy such as "color,translation,cutout"; "" is none.

    probability: that of each transform of each image, as a function of the step; None applies them all.

    Raises:
        InputError: a name that is not in `POLICIES`.
    """
    names = [name for name in policy.split(",") if name]
    for name in names:
        if name not in POLICIES:
            raise InputError(f"augment={policy}: {name} must be one of {', '.join(POLICIES)}{nearest(name, POLICIES)}")
    transforms = [transform for name in names for transform in POLICIES[name]]
    if not transforms:
        return identity

    def of_one(image: jax.Array, key: jax.Array, step: jax.Array) -> jax.Array:
        for transform, transform_key in zip(transforms, jax.random.split(key, len(transforms)), strict=True):
            own_key, chance = jax.random.split(transform_key)
            transformed = transform(image, own_key)
            if probability is not None:
                transformed = jnp.where(jax.random.uniform(chance) < probability(step), transformed, image)
            image = transformed
        return image

    return jax.vmap(of_one, in_axes=(0, 0, None))
