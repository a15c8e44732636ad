"""The two players, the static recipe of a GAN, and the state that training carries: arrays only."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gan_jax.objectives import Objective


class Players(NamedTuple):
    """One thing for each player: parameters, optimisers, networks, …"""

    gen: Any
    disc: Any


@dataclass(frozen=True)
class GAN:
    """The static recipe: everything about a GAN that is not an array.

    networks: Flax modules; gen maps `(latents [B, Z], train)` to samples, disc maps `(samples, train)` to logits `[B]`.
    optimizers: plain optax transformations; the step turns D's into ascent.
    ema_decay: of the moving average of the generator; 0 keeps none.
    """

    networks: Players
    optimizers: Players
    objective: Objective
    sample_shape: tuple[int, ...]
    latent_dim: int = 100
    ema_decay: float = 0.0


class TrainState(flax.struct.PyTreeNode):
    """Arrays only: a restored state is like a new one to `jit`, so it never retraces.

    step: int32 scalar, updates of G so far. params, batch_stats, opt_state: `Players` of pytrees.
    ema: averaged `{"params", "batch_stats"}` of the generator, or None where `GAN.ema_decay` is 0.
    """

    step: jax.Array
    params: Players
    batch_stats: Players
    opt_state: Players
    ema: dict[str, Any] | None


def _init(network: nn.Module, rng: jax.Array, inputs: jax.Array) -> tuple[Any, Any]:
    variables = network.init(rng, inputs, train=False)
    return variables["params"], variables.get("batch_stats", {})


def create_state(gan: GAN, rng: jax.Array) -> TrainState:
    """Initial parameters, statistics and optimiser states, drawn from `rng` (a typed key)."""

    def create(rng: jax.Array) -> TrainState:
        gen_rng, disc_rng = jax.random.split(rng)
        gen_params, gen_stats = _init(gan.networks.gen, gen_rng, jnp.zeros((1, gan.latent_dim)))
        disc_params, disc_stats = _init(gan.networks.disc, disc_rng, jnp.zeros((1, *gan.sample_shape)))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=Players(gen_params, disc_params),
            batch_stats=Players(gen_stats, disc_stats),
            opt_state=Players(gan.optimizers.gen.init(gen_params), gan.optimizers.disc.init(disc_params)),
            ema={"params": gen_params, "batch_stats": gen_stats} if gan.ema_decay else None,
        )

    return jax.jit(create)(rng)


def abstract_state(gan: GAN) -> TrainState:
    """Shapes and dtypes of the state, without its arrays."""
    state: TrainState = jax.eval_shape(lambda: create_state(gan, jax.random.key(0)))
    return state


def generator_variables(state: TrainState, *, ema: bool | None = None) -> dict[str, Any]:
    """The generator's `{"params", "batch_stats"}`: the average where there is one, unless `ema` says otherwise."""
    if ema is None:
        ema = state.ema is not None
    if not ema:
        return {"params": state.params.gen, "batch_stats": state.batch_stats.gen}
    if state.ema is None:
        raise ValueError("this state keeps no moving average: train with ema_decay > 0")
    return state.ema


def update_ema(gan: GAN, state: TrainState) -> TrainState:
    """One step of the generator's average, parameters and statistics; the decay warms up as (1 + t) / (10 + t)."""
    if state.ema is None:
        return state
    step = state.step.astype(jnp.float32)
    decay = jnp.minimum(gan.ema_decay, (1 + step) / (10 + step))
    raw = generator_variables(state, ema=False)
    return state.replace(ema=optax.incremental_update(raw, state.ema, 1 - decay))
