"""Checkpoints of a small state, saved at given steps, found again and listed."""

import jax.numpy as jnp
from small import small_gan, small_state

from gan_jax.run.checkpoints import Checkpoints

CONFIG = {"objective": "minimax", "network": {"hidden": [8, 8]}}
GAN = small_gan()


def at_step(step, gan=GAN):
    return small_state(gan).replace(step=jnp.asarray(step, jnp.int32))


def save(directory, *steps, keep=9, metrics=None):
    with Checkpoints(directory, keep=keep) as checkpoints:
        for index, step in enumerate(steps):
            checkpoints.save(at_step(step), CONFIG, selection_metric=metrics and metrics[index])


def find(directory, which="final", read_only=True):
    with Checkpoints(directory, read_only=read_only) as checkpoints:
        return checkpoints.find(which)


def folders(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())
