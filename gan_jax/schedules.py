"""Numbers that are functions of the step, for learning rates, penalty weights and the average of the generator."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.errors import InputError

Schedule = Callable[[jax.Array], jax.Array]
"""`schedule(step)`: the step, an int32 scalar that counts generator updates, to a float32 scalar; traceable."""


def constant(number: float) -> Schedule:
    """Return a schedule with the same number at every step."""
    return lambda step: jnp.full(jnp.shape(step), number, jnp.float32)


def _check_horizon(num_steps: float) -> None:
    if not num_steps > 0:
        raise InputError(f"num_steps={num_steps} of a schedule must be > 0: take constant for a number that stays")


def cosine(start: float, end: float, num_steps: float) -> Schedule:
    """Go from start to end over num_steps > 0 steps along half a cosine, and stay there."""
    _check_horizon(num_steps)

    def schedule(step: jax.Array) -> jax.Array:
        share = jnp.clip(step / num_steps, 0.0, 1.0)
        return start + (end - start) * (1.0 - jnp.cos(math.pi * share)) / 2

    return schedule


def linear(start: float, end: float, num_steps: float) -> Schedule:
    """Go from start to end over num_steps > 0 steps along a line, and stay there."""
    _check_horizon(num_steps)

    def schedule(step: jax.Array) -> jax.Array:
        return start + (end - start) * jnp.clip(step / num_steps, 0.0, 1.0)

    return schedule


SHAPES: dict[str, Callable[[float, float, float], Schedule]] = {"cosine": cosine, "linear": linear}
"""Name -> `make(start, end, num_steps)`."""


def warmed_up_decay(decay: float) -> Schedule:
    """Return min(decay, (1 + step) / (10 + step)), so that the memory of an average grows with the steps that it has seen."""

    def schedule(step: jax.Array) -> jax.Array:
        seen = jnp.asarray(step, jnp.float32)
        return jnp.minimum(decay, (1 + seen) / (10 + seen))

    return schedule


def half_life_decay(half_life: Schedule, images_per_step: int, *, ramp_up: float | None = None) -> Schedule:
    """Return the decay 2^(-images_per_step / half-life) of an average whose half-life in images is a schedule.

    A half-life of 0 means no memory. ramp_up: the half-life is at most so many times the number of images seen so far.
    """

    def schedule(step: jax.Array) -> jax.Array:
        images = half_life(step)
        if ramp_up is not None:
            images = jnp.minimum(images, ramp_up * jnp.asarray(step, jnp.float32) * images_per_step)
        return 0.5 ** (images_per_step / jnp.maximum(images, 1e-8))

    return schedule
