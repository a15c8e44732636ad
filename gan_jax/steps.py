"""One step of a GAN: k ascents of D, then one descent of G (Goodfellow et al. 2014, algorithm 1; seed 001, algorithm 1).

Pure functions that know nothing of configs, files or devices: the same step runs under `jit`, `vmap` and `scan`. Given the
name of a mapped axis that splits the batch, each part draws its own examples' latents, and gradients, statistics and metrics
are averaged over the axis: all parts go on with one and the same state.

Batch norm. Both networks run in train mode, real and fake images in separate passes, each with the statistics of its own
batch. D's running statistics move in D's update (by the real pass, then the fake pass), G's in G's update: what one player's
pass does to the other's statistics is dropped, so that neither update touches a leaf of the other player.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gan_jax.objectives import js_lower_bound, value
from gan_jax.state import GAN, Players, TrainState, update_ema

Metrics = dict[str, jax.Array]


def draw_latents(rng: jax.Array, batch_size: int, latent_dim: int, *, first: int | jax.Array = 0) -> jax.Array:
    """z ~ N(0, I) `[B, Z]` of the examples from `first` on. i depends on `(rng, i)` alone: a batch may be split in any way."""

    def draw(index: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(rng, index), (latent_dim,))

    return jax.vmap(draw)(first + jnp.arange(batch_size))


def _draw_part(rng: jax.Array, part_size: int, latent_dim: int, axis_name: str | None) -> jax.Array:
    """The latents of this part of the batch."""
    first = 0 if axis_name is None else part_size * jax.lax.axis_index(axis_name)
    return draw_latents(rng, part_size, latent_dim, first=first)


def _mean_over(axis_name: str | None, tree: Any) -> Any:
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def _apply(network: nn.Module, params: Any, batch_stats: Any, inputs: jax.Array) -> tuple[jax.Array, Any]:
    """Train-mode pass: the output, and the running statistics after it (`{}` for a network without batch norm)."""
    variables = {"params": params, "batch_stats": batch_stats}
    outputs, updated = network.apply(variables, inputs, train=True, mutable=["batch_stats"])
    return outputs, updated.get("batch_stats", {})


def _descend(optimizer: Any, gradients: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _ascend(optimizer: Any, gradients: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
    # Negated before the optimiser: negating its updates instead would turn weight decay into growth.
    return _descend(optimizer, jax.tree.map(jnp.negative, gradients), opt_state, params)


def disc_update(
    gan: GAN, state: TrainState, real: jax.Array, rng: jax.Array, *, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Ascend the mean of `objective.disc` in D's parameters, on real images `[B, …]` and as many fake ones.

    The metrics are those of the batch before the ascent: V(D, G) above all, whatever the objective.
    """
    latents = _draw_part(rng, real.shape[0], gan.latent_dim, axis_name)
    fake, _ = _apply(gan.networks.gen, state.params.gen, state.batch_stats.gen, latents)

    def ascended(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Any]]:
        real_logits, batch_stats = _apply(gan.networks.disc, params, state.batch_stats.disc, real)
        fake_logits, batch_stats = _apply(gan.networks.disc, params, batch_stats, fake)
        return jnp.mean(gan.objective.disc(real_logits, fake_logits)), (real_logits, fake_logits, batch_stats)

    (goal, (real_logits, fake_logits, batch_stats)), gradients = jax.value_and_grad(ascended, has_aux=True)(state.params.disc)
    metrics = {
        "loss/disc": -goal,
        "value": jnp.mean(value(real_logits, fake_logits)),
        "jsd/lower_bound": js_lower_bound(real_logits, fake_logits),
        "logits/real": jnp.mean(real_logits),
        "logits/fake": jnp.mean(fake_logits),
        "prob/real": jnp.mean(jax.nn.sigmoid(real_logits)),
        "prob/fake": jnp.mean(jax.nn.sigmoid(fake_logits)),
    }
    gradients, batch_stats, metrics = _mean_over(axis_name, (gradients, batch_stats, metrics))
    metrics["grad_norm/disc"] = optax.tree.norm(gradients)
    params, opt_state = _ascend(gan.optimizers.disc, gradients, state.opt_state.disc, state.params.disc)
    return state.replace(
        params=Players(state.params.gen, params),
        batch_stats=Players(state.batch_stats.gen, batch_stats),
        opt_state=Players(state.opt_state.gen, opt_state),
    ), metrics


def gen_update(
    gan: GAN, state: TrainState, batch_size: int, rng: jax.Array, *, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Descend the mean of `objective.gen` in G's parameters, on fresh latents."""
    latents = _draw_part(rng, batch_size, gan.latent_dim, axis_name)

    def descended(params: Any) -> tuple[jax.Array, Any]:
        fake, batch_stats = _apply(gan.networks.gen, params, state.batch_stats.gen, latents)
        fake_logits, _ = _apply(gan.networks.disc, state.params.disc, state.batch_stats.disc, fake)
        return jnp.mean(gan.objective.gen(fake_logits)), batch_stats

    (loss, batch_stats), gradients = jax.value_and_grad(descended, has_aux=True)(state.params.gen)
    gradients, batch_stats, loss = _mean_over(axis_name, (gradients, batch_stats, loss))
    params, opt_state = _descend(gan.optimizers.gen, gradients, state.opt_state.gen, state.params.gen)
    metrics = {"loss/gen": loss, "grad_norm/gen": optax.tree.norm(gradients)}
    return state.replace(
        params=Players(params, state.params.disc),
        batch_stats=Players(batch_stats, state.batch_stats.disc),
        opt_state=Players(opt_state, state.opt_state.disc),
    ), metrics


def train_step(
    gan: GAN, state: TrainState, batch: dict[str, Any], rng: jax.Array, *, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """k updates of D, each on its own images and latents, then one of G; `rng` is the run's key, the same at every step.

    batch["images"]: `[k, B, …]`, float32 in [-1, 1] for images: k is the batch's. The last ascent's metrics are returned.
    axis_name: of the mapped axis over which batches are split; B is then a part's, and part i holds its examples from i B on.
    """
    images = batch["images"]
    disc_steps, batch_size = images.shape[:2]
    step_rng = jax.random.fold_in(rng, state.step)
    metrics: Metrics = {}
    for ascent in range(disc_steps):  # unrolled: convolutions inside a loop are slow on CPUs
        ascent_rng = jax.random.fold_in(step_rng, ascent)
        state, metrics = disc_update(gan, state, images[ascent], ascent_rng, axis_name=axis_name)
    state, gen_metrics = gen_update(gan, state, batch_size, jax.random.fold_in(step_rng, disc_steps), axis_name=axis_name)
    state = update_ema(gan, state.replace(step=state.step + 1))
    return state, metrics | gen_metrics
