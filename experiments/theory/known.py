"""A game in which every density is known: G is a mixture of affine maps of a normal latent, D an MLP or D* itself."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from gan_jax.networks.mlp import Discriminator
from gan_jax.objectives import OBJECTIVES, VALUE_AT_EQUILIBRIUM
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import gen_update, train_step
from gan_jax.theory.distributions import GaussianMixture
from gan_jax.theory.divergences import cells, js_from_logs, optimal_discriminator_logits, value_from_logs


def density(params: Any) -> GaussianMixture:
    """What an `AffineMixture` with these parameters samples."""
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
    def __call__(self, latents: jax.Array, train: bool) -> jax.Array:
        del train
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
    def __call__(self, samples: jax.Array, train: bool) -> jax.Array:
        del train
        shape = (self.components, samples.shape[-1])
        q = density({name: self.param(name, nn.initializers.zeros, shape) for name in ("means", "log_stddevs")})
        return optimal_discriminator_logits(self.data.log_prob(samples), q.log_prob(samples))


def with_optimal_disc(state: TrainState) -> TrainState:
    """D as D* of where G is now."""
    return state.replace(params=Players(state.params.gen, state.params.gen))


def make_gan(
    gen: AffineMixture,
    gen_optimizer: optax.GradientTransformation,
    disc_optimizer: optax.GradientTransformation | None = None,
    *,
    data: GaussianMixture | None = None,
    objective: str = "minimax",
    hidden: tuple[int, ...] = (32, 32),
) -> GAN:
    """A GAN of a generator with a known density and an MLP or, where the data is given, D*."""
    disc = Discriminator(hidden) if data is None else OptimalDiscriminator(data, gen.components)
    return GAN(
        networks=Players(gen, disc),
        optimizers=Players(gen_optimizer, disc_optimizer or optax.identity()),
        objective=OBJECTIVES[objective],
        sample_shape=(gen.dimensions,),
        latent_dim=gen.dimensions + 1,
    )


class Ruler(NamedTuple):
    """What a game on the line is measured with: sums over its cells. points: `[N, 1]`; log_p: of the data there, `[N]`."""

    points: jax.Array
    log_width: float
    log_p: jax.Array

    def log_q(self, gen_params: Any) -> jax.Array:
        """Log density of G."""
        return density(gen_params).log_prob(self.points)

    def js(self, gen_params: Any) -> jax.Array:
        """JSD(p‖q)."""
        return js_from_logs(self.log_p + self.log_width, self.log_q(gen_params) + self.log_width)

    def estimate(self, gan: GAN, state: TrainState) -> jax.Array:
        """(V(D, G) + log 4)/2: what D says that the JSD is; a lower bound, whatever D."""
        logits = gan.networks.disc.apply({"params": state.params.disc}, self.points, train=False)
        value = value_from_logs(self.log_p + self.log_width, self.log_q(state.params.gen) + self.log_width, logits)
        return (value - VALUE_AT_EQUILIBRIUM) / 2

    def shift(self, before: Any, after: Any) -> jax.Array:
        """Mean of |D0* − D1*| over data and samples, as one step of G turns D0* into D1*."""
        old, new = (jax.nn.sigmoid(optimal_discriminator_logits(self.log_p, self.log_q(params))) for params in (before, after))
        mixture = jnp.exp(jnp.logaddexp(self.log_p, self.log_q(before)) + self.log_width) / 2
        return jnp.sum(mixture * jnp.abs(old - new))


def make_ruler(p: GaussianMixture, low: float, high: float, count: int = 800) -> Ruler:
    """Sums over `count` cells from low to high, which hold the mass of everything that is played."""
    midpoints, log_width = cells([low], [high], count)
    points = jnp.asarray(midpoints, jnp.float32)
    return Ruler(points, log_width, p.log_prob(points))


def play(
    gan: GAN, p: GaussianMixture, ruler: Ruler, rng: jax.Array, *, steps: int, disc_steps: int | None, batch_size: int
) -> tuple[TrainState, dict[str, jax.Array]]:
    """A game: the last state, and numbers `[steps]`: JSD before and after G's step, D's estimate of it, the shift of D*.

    disc_steps: k ascents of a learned D by `train_step`; None: D is D* at every step, and only G learns.
    """
    init_rng, data_rng, game_rng = jax.random.split(rng, 3)

    def step(state: TrainState, number: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        if disc_steps is None:
            judged = with_optimal_disc(state)
            after, _ = gen_update(gan, judged, batch_size, jax.random.fold_in(game_rng, number))
        else:
            real = p.sample(jax.random.fold_in(data_rng, number), (disc_steps, batch_size))
            after, _ = train_step(gan, state, {"images": real}, game_rng)
            judged = state.replace(params=Players(state.params.gen, after.params.disc))  # D as it was when G moved
        return after, {
            "js": ruler.js(state.params.gen),
            "js_after": ruler.js(after.params.gen),
            "estimate": ruler.estimate(gan, judged),
            "shift": ruler.shift(state.params.gen, after.params.gen),
        }

    return jax.lax.scan(step, create_state(gan, init_rng), jnp.arange(steps))
