"""How many modes of a ring and a grid of narrow Gaussians does a plain GAN find?

Claim (seeds 002, 003, 004): G minimises the JSD, so that at the end it has every mode. Published: PacGAN's GAN finds 6.3 of 8
and 17.3 of 25 (Lin et al. 2018, table 1). Such tables measure the recipe; this one is ours, stated in full by the settings of
the row: ReLU MLPs, the non-saturating loss, Adam with b1 0.5 on falling rates, one ascent of D to one descent of G, samples
from a moving average of G. 10 seeds train in one vmapped call.

Command: python experiments/theory/mixtures.py [--full] [--data=ring]
"""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from gan_jax.distributions import GaussianMixture, grid, ring
from gan_jax.networks import NETWORKS
from gan_jax.objectives import OBJECTIVES
from gan_jax.state import GAN, Players, TrainState
from gan_jax.steps import train_step

DENSITIES = {"ring": ring, "grid": grid}


def make_gan(recipe: Mapping[str, Any]) -> GAN:
    """The recipe of a row."""
    adam = optax.adam(optax.cosine_decay_schedule(recipe["rate"], recipe["steps"]), b1=recipe["b1"], b2=recipe["b2"])
    return GAN(
        networks=NETWORKS["mlp"]((2,), hidden=tuple(recipe["hidden"])),
        optimizers=Players(adam, adam),
        objective=OBJECTIVES["non_saturating"],
        sample_shape=(2,),
        latent_dim=recipe["latent_dim"],
        ema_decay=recipe["ema_decay"],
    )


def train(
    gan: GAN, density: GaussianMixture, state: TrainState, rng: jax.Array, recipe: Mapping[str, Any], steps: int
) -> TrainState:
    def step(state: TrainState, _: None) -> tuple[TrainState, None]:
        data_rng, game_rng = jax.random.split(rng)
        real = density.sample(jax.random.fold_in(data_rng, state.step), (recipe["disc_steps"], recipe["batch_size"]))
        return train_step(gan, state, {"images": real}, game_rng)[0], None

    return jax.lax.scan(step, state, length=steps)[0]
