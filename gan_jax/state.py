"""The two players, the static recipe of a GAN, and the training state, which holds arrays only."""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gan_jax.augment import Augment, identity
from gan_jax.errors import InputError
from gan_jax.objectives import Objective
from gan_jax.penalties import Penalty
from gan_jax.schedules import Schedule


class Players(NamedTuple):
    """Hold one thing for each player: parameters, optimisers, networks, ..."""

    gen: Any
    disc: Any


@dataclass(frozen=True)
class GAN:
    """Hold the static recipe: everything about a GAN that is not an array. Hashable, for `jit`'s static arguments.

    networks: Flax modules; gen maps `(latents [B, Z], labels, train)` to samples `[B, *sample_shape]`, disc maps
        `(samples, labels, train)` to logits `[B]`. labels: int32 `[B]` from 0 to num_classes - 1, None when unconditional.
    optimizers: plain optax transformations; the step turns D's into ascent.
    latent_dim: Z, the length of a latent. num_classes: of the labels, 0 when unconditional.
    disc_steps: k, the discriminator updates before each generator update.
    packing: the number of samples, side by side in the channels, that share one logit (PacGAN, Lin et al. 2018).
    penalties: (penalty, weight as a schedule), descended by D every penalty_every steps, with penalty_every times the weight.
    augment: `(samples [B, ...], keys [B], step) -> samples`, before D judges them.
    ema: decay of the moving average of the generator as a schedule, or None for no average.

    A recipe that was restored for sampling alone has None for disc, the optimisers and the objective.
    """

    networks: Players
    optimizers: Players
    objective: Objective
    sample_shape: tuple[int, ...]
    latent_dim: int = 100
    num_classes: int = 0
    disc_steps: int = 1
    packing: int = 1
    penalties: tuple[tuple[Penalty, Schedule], ...] = ()
    penalty_every: int = 1
    augment: Augment = identity
    ema: Schedule | None = None

    @property
    def is_image(self) -> bool:
        """Tell whether samples are images `[H, W, C]`, rather than points `[D]`."""
        return len(self.sample_shape) == 3

    @property
    def batches_per_step(self) -> int:
        """Return how many batches one step sees: one for each discriminator update, and G's own if the objective is paired."""
        return self.disc_steps + self.objective.paired


class TrainState(flax.struct.PyTreeNode):
    """Hold the training state, arrays only: to `jit` a restored state is like a new one, so it never retraces.

    step: int32 scalar, generator updates so far. params, stats, opt_state: `Players` of pytrees; stats are Flax's batch_stats.
    ema: averaged Flax variables of the generator, or None where `GAN.ema` is None.
    """

    step: jax.Array
    params: Players
    stats: Players
    opt_state: Players
    ema: dict[str, Any] | None


class RunKeys(NamedTuple):
    """Hold the independent keys of a run: for the initial parameters, for its steps, for its pictures."""

    init: jax.Array
    train: jax.Array
    sample: jax.Array


def run_keys(seed: int) -> RunKeys:
    """Derive the keys of the run from its seed."""
    return RunKeys(*jax.random.split(jax.random.key(seed), 3))


def has_batch_norm(stats: Any) -> bool:
    """Tell whether statistics are batch norm's, which couple the examples of a batch, rather than spectral norm's."""
    return any(getattr(path[-1], "key", None) == "mean" for path, _ in jax.tree_util.tree_leaves_with_path(stats))


def pack(samples: jax.Array, packing: int) -> jax.Array:
    """Pack `[B, ..., C]` into `[B / packing, ..., packing * C]`: neighbours in the batch go side by side in the last axis."""
    if packing == 1:
        return samples
    groups = samples.reshape(-1, packing, *samples.shape[1:])
    return jnp.moveaxis(groups, 1, -2).reshape(len(groups), *samples.shape[1:-1], packing * samples.shape[-1])


def _init(network: nn.Module, rng: jax.Array, inputs: jax.Array, labels: jax.Array | None) -> tuple[Any, Any]:
    variables = network.init(rng, inputs, labels, train=False)
    return variables["params"], variables.get("batch_stats", {})


def _one_label(gan: GAN) -> jax.Array | None:
    return jnp.zeros((1,), jnp.int32) if gan.num_classes else None


def create_state(gan: GAN, rng: jax.Array, *, outermost: bool = False) -> TrainState:
    """Draw initial parameters from `rng` (a typed key), with fresh statistics and optimiser states.

    outermost: the call is not inside a transformation. A CPU then compiles the draws in a third of the time, to the same bits.

    Raises:
        InputError: parts of the recipe that exclude one another, or a recipe without a discriminator.
    """
    if gan.networks.disc is None:
        raise InputError("this recipe was restored for sampling only: make one with gan_jax.recipe for a whole state")
    if gan.num_classes and gan.packing > 1:
        raise InputError("num_classes > 0 and packing > 1: packed samples have no single label; choose one of the two")

    def create(rng: jax.Array) -> TrainState:
        gen_rng, disc_rng = jax.random.split(rng)
        labels = _one_label(gan)
        gen_params, gen_stats = _init(gan.networks.gen, gen_rng, jnp.zeros((1, gan.latent_dim)), labels)
        samples = pack(jnp.zeros((gan.packing, *gan.sample_shape)), gan.packing)
        disc_params, disc_stats = _init(gan.networks.disc, disc_rng, samples, labels)
        if gan.penalties and has_batch_norm(disc_stats):
            raise InputError(
                "a gradient penalty is defined for each example, and batch norm in the discriminator couples examples: "
                "set config.network.disc.dcgan.norm=none (or layer, spectral), or the weights in config.penalty to 0"
            )
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=Players(gen_params, disc_params),
            stats=Players(gen_stats, disc_stats),
            opt_state=Players(gan.optimizers.gen.init(gen_params), gan.optimizers.disc.init(disc_params)),
            ema={"params": gen_params, "batch_stats": gen_stats} if gan.ema else None,
        )

    return jax.jit(create, compiler_options=_for_one_run() if outermost else None)(rng)


def _for_one_run() -> dict[str, int] | None:
    """Return compiler options for a program that runs once: on a CPU less optimisation, unless XLA_FLAGS set a level."""
    level = "xla_backend_optimization_level"
    chosen = jax.default_backend() != "cpu" or level in os.environ.get("XLA_FLAGS", "")
    return None if chosen else {level: 1}


def abstract_state(gan: GAN) -> TrainState:
    """Return shapes and dtypes of the state, without its arrays."""
    state: TrainState = jax.eval_shape(lambda: create_state(gan, jax.random.key(0)))
    return state


def abstract_generator(gan: GAN, *, ema: bool) -> TrainState:
    """Return shapes and dtypes of a state with the generator alone, and its average if `ema` is true; all else is None."""

    def create() -> TrainState:
        params, stats = _init(gan.networks.gen, jax.random.key(0), jnp.zeros((1, gan.latent_dim)), _one_label(gan))
        average = {"params": params, "batch_stats": stats} if ema else None
        nothing = Players(None, None)
        return TrainState(jnp.zeros((), jnp.int32), Players(params, None), Players(stats, None), nothing, average)

    state: TrainState = jax.eval_shape(create)
    return state


def generator_variables(state: TrainState, *, ema: bool | None = None) -> dict[str, Any]:
    """Return the generator's Flax variables: by default the average where there is one; see `ema` of `sampling.sample`.

    Raises:
        InputError: ema of a state that keeps no average.
    """
    if ema is None:
        ema = state.ema is not None
    if not ema:
        return {"params": state.params.gen, "batch_stats": state.stats.gen}
    if state.ema is None:
        raise InputError("this state keeps no moving average of the generator: train with config.ema_decay > 0")
    return state.ema


def update_ema(gan: GAN, state: TrainState) -> TrainState:
    """Update the generator's average, of parameters and statistics, by one step."""
    if gan.ema is None:
        return state
    raw = generator_variables(state, ema=False)
    return state.replace(ema=optax.incremental_update(raw, state.ema, 1 - gan.ema(state.step)))
