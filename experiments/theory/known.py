"""A GAN whose densities are all known: G is a mixture of affine maps of a normal latent, D an MLP or D* itself."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gan_jax.data import Batch
from gan_jax.networks.mlp import Discriminator
from gan_jax.objectives import OBJECTIVES, Objective, js_bound_of_value
from gan_jax.penalties import Penalty
from gan_jax.schedules import Schedule
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import gen_update, train_step
from gan_jax.theory.distributions import GaussianMixture
from gan_jax.theory.divergences import cells, js_from_logs, optimal_discriminator_logits, value_from_logs


def density(params: Any) -> GaussianMixture:
    """Return the density of the samples of an `AffineMixture` with these parameters."""
    return GaussianMixture(params["means"], jnp.exp(params["log_stddevs"]))


class AffineMixture(nn.Module):
    """G(z, u) = m_c + s_c z: component c is the one of K equal parts of N(0, 1) that the last latent u falls into.

    Latents `[B, D + 1]` -> samples `[B, D]`. init_means: `(rng, [K, D])`.
    """

    components: int
    dimensions: int
    init_means: nn.initializers.Initializer
    init_stddev: float = 1.0

    @nn.compact
    def __call__(self, latents: jax.Array, labels: None, train: bool) -> jax.Array:
        shape = (self.components, self.dimensions)
        means = self.param("means", self.init_means, shape)
        stddevs = jnp.exp(self.param("log_stddevs", nn.initializers.constant(jnp.log(self.init_stddev)), shape))
        part = jnp.floor(jax.scipy.stats.norm.cdf(latents[:, -1]) * self.components).astype(jnp.int32)
        component = jnp.clip(part, 0, self.components - 1)
        return means[component] + stddevs[component] * latents[:, :-1]


class OptimalDiscriminator(nn.Module):
    """D*: its logit is log p − log q, of the data and of the `AffineMixture` whose parameters it is given as its own."""

    data: GaussianMixture
    components: int

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        shape = (self.components, samples.shape[-1])
        q = density({name: self.param(name, nn.initializers.zeros, shape) for name in ("means", "log_stddevs")})
        return optimal_discriminator_logits(self.data.log_prob(samples), q.log_prob(samples))


def with_optimal_disc(state: TrainState) -> TrainState:
    """Make D the D* of where G is now."""
    return state.replace(params=Players(state.params.gen, state.params.gen))


def make_gan(
    gen: AffineMixture,
    gen_optimizer: optax.GradientTransformation,
    disc_optimizer: optax.GradientTransformation | None = None,
    *,
    data: GaussianMixture | None = None,
    objective: str = "minimax",
    disc_steps: int = 1,
    hidden: tuple[int, ...] = (32, 32),
    penalties: tuple[tuple[Penalty, Schedule], ...] = (),
) -> GAN:
    """Make the recipe of a generator with a known density and an MLP for D or, where the data is given, D*."""
    disc = Discriminator(hidden) if data is None else OptimalDiscriminator(data, gen.components)
    return GAN(
        networks=Players(gen, disc),
        optimizers=Players(gen_optimizer, disc_optimizer or optax.identity()),
        objective=OBJECTIVES[objective],
        sample_shape=(gen.dimensions,),
        latent_dim=gen.dimensions + 1,
        disc_steps=disc_steps,
        penalties=penalties,
    )


def logits(gan: GAN, state: TrainState, points: jax.Array) -> jax.Array:
    """Return D's logits `[N]` at points `[N, D]`."""
    return gan.networks.disc.apply({"params": state.params.disc}, points, None, train=False)


def mean_over_pairs(objective: Objective, p: jax.Array, q: jax.Array, logits: jax.Array) -> jax.Array:
    """Return the mean of D's formula over independent pairs of a real and a fake point, of probabilities `[K]`, exactly."""
    real, fake = (entry.reshape(-1) for entry in jnp.broadcast_arrays(logits[:, None], logits[None, :]))
    return jnp.sum((p[:, None] * q[None, :]).reshape(-1) * objective.disc(real, fake))


class Quadrature(NamedTuple):
    """Sums over the cells of a line, in place of integrals. points: `[N, 1]`; log_p: of the data there, `[N]`."""

    points: jax.Array
    log_width: float
    log_p: jax.Array

    def log_q(self, gen_params: Any) -> jax.Array:
        """Return the log density of G's samples, `[N]`."""
        return density(gen_params).log_prob(self.points)

    def js(self, gen_params: Any) -> jax.Array:
        """Return JSD(p‖q)."""
        return js_from_logs(self.log_p + self.log_width, self.log_q(gen_params) + self.log_width)

    def js_estimate(self, gan: GAN, state: TrainState) -> jax.Array:
        """Return D's estimate of the JSD, (V(D, G) + log 4)/2: a lower bound, whatever D."""
        of_state = self.log_p + self.log_width, self.log_q(state.params.gen) + self.log_width
        return js_bound_of_value(value_from_logs(*of_state, logits(gan, state, self.points)))

    def shift(self, before: Any, after: Any) -> jax.Array:
        """Return the mean of |D0* − D1*| over data and samples, as an update of G turns D0* into D1*."""
        old, new = (jax.nn.sigmoid(optimal_discriminator_logits(self.log_p, self.log_q(params))) for params in (before, after))
        mixture = jnp.exp(jnp.logaddexp(self.log_p, self.log_q(before)) + self.log_width) / 2
        return jnp.sum(mixture * jnp.abs(old - new))


def make_quadrature(p: GaussianMixture, low: float, high: float, count: int = 800) -> Quadrature:
    """Make the sums over `count` cells from low to high, which must hold the mass of p and of every q."""
    midpoints, log_width = cells([low], [high], count)
    points = jnp.asarray(midpoints, jnp.float32)
    return Quadrature(points, log_width, p.log_prob(points))


def play(
    gan: GAN, p: GaussianMixture, quadrature: Quadrature, rng: jax.Array, *, num_steps: int, batch_size: int
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Train from new parameters; where the recipe's D is D*, D follows G exactly, and only G learns.

    Returns the last state, and for each step `[num_steps]` the JSD before and after G's update, D's estimate of it, and the
    shift of D*.
    """
    init_rng, data_rng, train_rng = jax.random.split(rng, 3)

    def one_step(state: TrainState, step: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        real = p.sample(jax.random.fold_in(data_rng, step), (gan.batches_per_step, batch_size))
        if isinstance(gan.networks.disc, OptimalDiscriminator):
            judge = with_optimal_disc(state)
            after, _ = gen_update(gan, judge, Batch(real[0]), jax.random.fold_in(train_rng, step))
        else:
            after, _ = train_step(gan, state, Batch(real), train_rng)
            judge = state.replace(params=Players(state.params.gen, after.params.disc))  # D as it was when G moved
        return after, {
            "js": quadrature.js(state.params.gen),
            "js_after": quadrature.js(after.params.gen),
            "estimate": quadrature.js_estimate(gan, judge),
            "shift": quadrature.shift(state.params.gen, after.params.gen),
        }

    return jax.lax.scan(one_step, create_state(gan, init_rng), jnp.arange(num_steps))


def measure_at_leads(
    state: TrainState,
    leads: tuple[int, ...],
    update_alone: Callable[[jax.Array, TrainState], TrainState],
    measure: Callable[[TrainState], Any],
) -> Any:
    """Train D alone by `update_alone(update, state)`, and measure after each number of updates; stacked `[len(leads), …]`."""
    measured = []
    for start, lead in itertools.pairwise((0, *leads)):
        state = jax.lax.fori_loop(start, lead, update_alone, state)
        measured.append(measure(state))
    return jax.tree.map(lambda *numbers: jnp.stack(numbers), *measured)
