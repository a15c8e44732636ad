"""The updates of the players, compiled, with batches for them and what D says of the samples of one."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import Batch, example_keys, steps
from gan_jax.steps import PURPOSES

# Compiled, for speed: the recipe is static.
disc_update = jax.jit(steps.disc_update, static_argnums=0)
gen_update = jax.jit(steps.gen_update, static_argnums=0)
train_step = jax.jit(steps.train_step, static_argnums=0)
draw_fakes = jax.jit(steps.draw_fakes, static_argnums=0)
judge = jax.jit(steps.judge, static_argnums=0)
RNG = jax.random.key(1)


def real_images(gan, batch_size=8, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (batch_size, *gan.sample_shape)), jnp.float32)


def real_batch(gan, batch_size=8, seed=0):
    labels = jnp.arange(batch_size, dtype=jnp.int32) % gan.num_classes if gan.num_classes else None
    return Batch(real_images(gan, batch_size, seed), labels)


def real_batches(gan, seed=0):
    """The batches of one step."""
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(real_batch(gan, seed=seed + i) for i in range(gan.batches_per_step))
    )


def logits_on(gan, state, batch, rng):
    """The logits of the real and of the fake samples of an update with this batch and key."""
    keys = {purpose: example_keys(rng, purpose, len(batch.images)) for purpose in PURPOSES}
    fake, _ = draw_fakes(gan, state.params.gen, state, batch.labels, keys["latents"])
    return [
        judge(gan, state.params.disc, state, images, batch.labels, keys[purpose])[0]
        for images, purpose in ((batch.images, "real"), (fake, "fake"))
    ]


def goal_on(gan, state, batch, rng):
    """What `disc_update(gan, state, batch, rng)` ascends."""
    return float(jnp.mean(gan.objective.disc(*logits_on(gan, state, batch, rng))))
