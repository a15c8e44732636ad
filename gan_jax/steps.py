"""One step of a GAN: k discriminator updates, then one generator update (Goodfellow et al. 2014, algorithm 1).

The functions are pure in (recipe, state, batch, key) and know no configs, files or devices. Under a mapped axis `axis_name`
that splits the batch, each part computes its own examples; objectives see the logits of the whole batch, and gradients and
statistics are averaged over the axis, so that all parts arrive at one state.

Randomness. Example i of an update has a key of its own for each purpose, a function of (the update's key, purpose, i) alone:
however a batch is split, example i has the same latents and the same augmentation.

Statistics. Both networks run in train mode, on real and fake samples in separate passes. All passes of an update start from the
statistics of the state, so that every pass has the same D. D's new statistics are the mean of its two passes; they change in
D's update alone, and G's in G's. Neither update touches a leaf of the other player.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gan_jax.data.batch import Batch
from gan_jax.errors import InputError
from gan_jax.objectives import accuracy, js_lower_bound, value
from gan_jax.state import GAN, TrainState, pack, update_ema

Metrics = dict[str, jax.Array]

PURPOSES = ("latents", "real", "fake", "penalty")
"""What an example's keys are for: its latent, the augmentation of real and of fake sample i, what a penalty draws.

A new purpose goes last: no bits of the others move.
"""


def example_keys(rng: jax.Array, purpose: str, num: int, *, first: int | jax.Array = 0) -> jax.Array:
    """Return the keys `[num]` that the examples from `first` on have for a purpose."""
    tag = PURPOSES.index(purpose)
    # Examples count up from 0, tags down from 2**32: they never meet.
    of_purpose = jax.random.fold_in(rng, 2**32 - tag) if tag else rng
    return jax.vmap(partial(jax.random.fold_in, of_purpose))(first + jnp.arange(num))


def sample_latents(keys: jax.Array, latent_dim: int) -> jax.Array:
    """Draw z ~ N(0, I) `[N, Z]`, each from its own key."""
    return jax.vmap(lambda key: jax.random.normal(key, (latent_dim,)))(keys)


def _keys_of_part(rng: jax.Array, num: int, axis_name: str | None) -> Mapping[str, jax.Array]:
    """Return the keys by purpose of the `num` examples of this part of the batch."""
    first = 0 if axis_name is None else num * jax.lax.axis_index(axis_name)
    return {purpose: example_keys(rng, purpose, num, first=first) for purpose in PURPOSES}


def _apply(network: nn.Module, params: Any, stats: Any, inputs: jax.Array, labels: jax.Array | None) -> tuple[jax.Array, Any]:
    """Run a network in train mode: the output, and the running statistics after it (`{}` for a network without any)."""
    variables = {"params": params, "batch_stats": stats}
    outputs, updated = network.apply(variables, inputs, labels, train=True, mutable=["batch_stats"])
    return outputs, updated.get("batch_stats", {})


def draw_fakes(gan: GAN, params: Any, state: TrainState, labels: jax.Array | None, keys: jax.Array) -> tuple[jax.Array, Any]:
    """Draw a sample for each key with G's `params` and the state's statistics; return samples `[B, ...]`, new statistics."""
    return _apply(gan.networks.gen, params, state.stats.gen, sample_latents(keys, gan.latent_dim), labels)


def judge(
    gan: GAN, params: Any, state: TrainState, samples: jax.Array, labels: jax.Array | None, keys: jax.Array
) -> tuple[jax.Array, Any]:
    """Augment, pack and judge with D's `params` and the state's statistics; return logits `[B / packing]`, new statistics."""
    augmented = gan.augment(samples, keys, state.step)
    return _apply(gan.networks.disc, params, state.stats.disc, pack(augmented, gan.packing), labels)


def _whole_batch(axis_name: str | None, logits: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Gather the logits of all parts: an objective may compare any example with any other."""
    return logits if axis_name is None else jax.lax.all_gather(logits, axis_name, tiled=True)


def _mean_over(axis_name: str | None, tree: Any) -> Any:
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def _apply_gradients(gan: GAN, state: TrainState, player: str, gradients: Any, stats: Any) -> TrainState:
    """Let one player's optimiser descend by these gradients; the other player's leaves stay as they are."""
    params, opt_state = getattr(state.params, player), getattr(state.opt_state, player)
    updates, opt_state = getattr(gan.optimizers, player).update(gradients, opt_state, params)
    return state.replace(
        params=state.params._replace(**{player: optax.apply_updates(params, updates)}),
        stats=state.stats._replace(**{player: stats}),
        opt_state=state.opt_state._replace(**{player: opt_state}),
    )


def _disc_metrics(gan: GAN, objective: jax.Array, real_logits: jax.Array, fake_logits: jax.Array) -> Metrics:
    metrics = {"loss/disc": -objective, "logits/real": jnp.mean(real_logits), "logits/fake": jnp.mean(fake_logits)}
    metrics["accuracy/disc"] = accuracy(real_logits, fake_logits, gan.objective.threshold)
    if gan.objective.is_probability:
        metrics |= {
            "value": jnp.mean(value(real_logits, fake_logits)),
            "jsd/lower_bound": js_lower_bound(real_logits, fake_logits),
            "prob/real": jnp.mean(jax.nn.sigmoid(real_logits)),
            "prob/fake": jnp.mean(jax.nn.sigmoid(fake_logits)),
        }
    return metrics


def _penalise(
    gan: GAN, params: Any, state: TrainState, batch: Batch, fake: jax.Array, keys: Mapping[str, jax.Array]
) -> tuple[jax.Array, Metrics]:
    """Return the weighted sum of the penalties' means, and the means by name; 0 at the steps that a lazy penalty skips.

    Of several penalties of one name, all are in the sum, and the last is the one whose mean has the name.
    """

    def disc(samples: jax.Array, of: jax.Array) -> jax.Array:
        return judge(gan, params, state, samples, batch.labels, of)[0]

    def total() -> tuple[jax.Array, Metrics]:
        terms = [jnp.mean(each(disc, batch.images, fake, keys)) for each, _ in gan.penalties]
        weights = [gan.penalty_every * weight(state.step) for _, weight in gan.penalties]
        means = {f"penalty/{each.__name__}": term for (each, _), term in zip(gan.penalties, terms, strict=True)}
        return sum(map(jnp.multiply, weights, terms), jnp.zeros(())), means

    if gan.penalty_every == 1:
        return total()
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(total))
    due: tuple[jax.Array, Metrics] = jax.lax.cond(state.step % gan.penalty_every == 0, total, lambda: nothing)
    return due


def disc_update(
    gan: GAN, state: TrainState, batch: Batch, rng: jax.Array, *, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Ascend the mean of `objective.disc`, less the weighted penalties, in D's parameters.

    batch: real examples; as many fake ones are drawn, and fake i has real i's label. The metrics are those of the batch before
    the update: loss/disc is that of the objective, without penalties; `value` is V, present if sigmoid(logit) is a probability.
    """
    real, labels = batch
    keys = _keys_of_part(rng, len(real), axis_name)
    fake, _ = draw_fakes(gan, state.params.gen, state, labels, keys["latents"])

    def ascended(params: Any) -> tuple[jax.Array, tuple[Metrics, Metrics, Any]]:
        real_logits, stats_of_real = judge(gan, params, state, real, labels, keys["real"])
        fake_logits, stats_of_fake = judge(gan, params, state, fake, labels, keys["fake"])
        logits = _whole_batch(axis_name, (real_logits, fake_logits))
        objective = jnp.mean(gan.objective.disc(*logits))
        penalty, means = _penalise(gan, params, state, batch, fake, keys) if gan.penalties else (0.0, {})
        stats = jax.tree.map(lambda a, b: (a + b) / 2, stats_of_real, stats_of_fake)
        return objective - penalty, (_disc_metrics(gan, objective, *logits), means, stats)

    gradients, (metrics, means, stats) = jax.grad(ascended, has_aux=True)(state.params.disc)
    gradients, means, stats = _mean_over(axis_name, (gradients, means, stats))
    metrics |= means | {"grad_norm/disc": optax.tree.norm(gradients)}
    # Negated before the optimiser: negating its updates instead would turn weight decay into growth.
    return _apply_gradients(gan, state, "disc", jax.tree.map(jnp.negative, gradients), stats), metrics


def gen_update(
    gan: GAN, state: TrainState, batch: Batch, rng: jax.Array, *, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Descend the mean of `objective.gen` in G's parameters, on fresh latents.

    batch: real examples, for the objectives that compare with them, and their labels, which the fake ones get. If the objective
    ignores the real logits, a compiler drops them.
    """
    real, labels = batch
    keys = _keys_of_part(rng, len(real), axis_name)

    def descended(params: Any) -> tuple[jax.Array, Any]:
        fake, stats = draw_fakes(gan, params, state, labels, keys["latents"])
        fake_logits, _ = judge(gan, state.params.disc, state, fake, labels, keys["fake"])
        real_logits, _ = judge(gan, state.params.disc, state, real, labels, keys["real"])
        return jnp.mean(gan.objective.gen(*_whole_batch(axis_name, (real_logits, fake_logits)))), stats

    (loss, stats), gradients = jax.value_and_grad(descended, has_aux=True)(state.params.gen)
    gradients, stats = _mean_over(axis_name, (gradients, stats))
    metrics = {"loss/gen": loss, "grad_norm/gen": optax.tree.norm(gradients)}
    return _apply_gradients(gan, state, "gen", gradients, stats), metrics


def train_step(
    gan: GAN, state: TrainState, batches: Batch, rng: jax.Array, *, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D k times, each on its own batch and latents, then G once; `rng` is the run's key, the same at every step.

    batches: `[gan.batches_per_step, B, ...]`, float32, images in [-1, 1]. G gets the last batch: a batch of its own if the
    objective is paired, otherwise that of the last discriminator update, for its labels.
    axis_name: the mapped axis over which batches are split; B is then the size of a part, and part i has examples from i B on.
    Returns the metrics of the last discriminator update and of G's.

    Raises:
        InputError: another number of batches.
    """
    if len(batches.images) != gan.batches_per_step:  # JAX would take the last one for any that is missing
        raise InputError(f"{len(batches.images)} batches: a step of this recipe must have {gan.batches_per_step}")
    step_rng = jax.random.fold_in(rng, state.step)
    metrics: Metrics = {}
    for update in range(gan.disc_steps):  # unrolled: convolutions inside a loop are slow on CPUs
        batch = jax.tree.map(lambda leaf, update=update: leaf[update], batches)
        state, metrics = disc_update(gan, state, batch, jax.random.fold_in(step_rng, update), axis_name=axis_name)
    batch = jax.tree.map(lambda leaf: leaf[gan.batches_per_step - 1], batches)
    gen_rng = jax.random.fold_in(step_rng, gan.disc_steps)
    state, gen_metrics = gen_update(gan, state, batch, gen_rng, axis_name=axis_name)
    state = update_ema(gan, state.replace(step=state.step + 1))
    return state, metrics | gen_metrics
