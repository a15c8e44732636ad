"""How many modes of a ring and of a grid of narrow Gaussians does a plain GAN find?

Claim (notes 002, 003, 004): G minimises the JSD, so that in the end it has every mode. Published: PacGAN's plain GAN finds 6.3
of 8 and 17.3 of 25 (Lin et al. 2018, table 1). Such tables measure the recipe, so the row states ours in full, as a `Recipe`:
10 seeds in one vmapped call, none left out, evaluated once, after the last step. PacGAN's own recipe (400,000 steps, G of
4 × 400 with batch norm, D of 3 × 200 maxout) takes hours on a CPU and is not run here.

Command: python experiments/theory/mixtures.py [--full]      seconds: long form 230 on 2 cores
Expect (long form, 10 seeds): ring 8 ± 0 of 8 modes, 95 % of high quality; grid 24.5 ± 0.3 of 25, 81 %.
A perfect sampler has 98.9 % of high quality.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import report
from gan_jax.data import Batch
from gan_jax.evaluation.metrics import ModeStatistics, mode_statistics
from gan_jax.evaluation.results import plus_minus
from gan_jax.networks import make_networks
from gan_jax.objectives import OBJECTIVES
from gan_jax.schedules import warmed_up_decay
from gan_jax.state import GAN, Players, TrainState, create_state, generator_variables
from gan_jax.steps import example_keys, sample_latents, train_step
from gan_jax.theory.distributions import GaussianMixture, grid, ring

DENSITIES = {"ring": ring(), "grid": grid()}
_SAMPLES = 2500

# Lin et al. 2018, table 1: a plain non-saturating GAN, and PacGAN4's modes; 10 trials.
PUBLISHED = {
    "ring": {"modes": "6.3 ± 0.5", "high_quality": "98.2 %", "reverse_kl": "0.45", "js": "", "PacGAN4": "7.8"},
    "grid": {"modes": "17.3 ± 0.8", "high_quality": "94.8 %", "reverse_kl": "0.70", "js": "", "PacGAN4": "24.8"},
}


class Recipe(NamedTuple):
    """The non-saturating loss, ReLU and leaky-ReLU MLPs of these widths, Adam with rates that fall to 0 along a cosine."""

    steps: int
    batch_size: int = 256
    disc_steps: int = 1
    rate: float = 1e-3
    b1: float = 0.5
    b2: float = 0.99
    hidden: tuple[int, ...] = (128, 128)
    latent_dim: int = 2
    ema_decay: float = 0.999


def make_gan(recipe: Recipe) -> GAN:
    """Make the GAN of a recipe."""
    adam = optax.adam(optax.cosine_decay_schedule(recipe.rate, recipe.steps * recipe.disc_steps), recipe.b1, recipe.b2)
    return GAN(
        networks=make_networks("mlp", (2,), hidden=tuple(recipe.hidden)),
        optimizers=Players(adam, adam),
        objective=OBJECTIVES["non_saturating"],
        sample_shape=(2,),
        latent_dim=recipe.latent_dim,
        disc_steps=recipe.disc_steps,
        ema=warmed_up_decay(recipe.ema_decay),
    )


def train(gan: GAN, density: GaussianMixture, recipe: Recipe, rng: jax.Array) -> jax.Array:
    """Train with one seed, and return 2,500 samples `[2500, 2]` of the averaged generator after the last step."""
    init_rng, data_rng, train_rng, sample_rng = jax.random.split(rng, 4)

    def one_step(step: jax.Array, state: TrainState) -> TrainState:
        real = density.sample(jax.random.fold_in(data_rng, step), (recipe.disc_steps, recipe.batch_size))
        return train_step(gan, state, Batch(real), train_rng)[0]

    state = jax.lax.fori_loop(0, recipe.steps, one_step, create_state(gan, init_rng))
    latents = sample_latents(example_keys(sample_rng, "latents", _SAMPLES), gan.latent_dim)
    return gan.networks.gen.apply(generator_variables(state), latents, None, train=False)


def statistics(samples: Any, density: GaussianMixture) -> dict[str, list[float]]:
    """Compute the mode statistics by seed, of samples `[S, N, 2]`."""
    by_seed = [mode_statistics(points, density.means, density.stddev) for points in samples]
    return {name: [getattr(entry, name) for entry in by_seed] for name in ModeStatistics._fields}


def run(recipes: Mapping[str, Mapping[str, Any]], seeds: int) -> Mapping[str, Any]:
    """Train on every density with its recipe, and evaluate a perfect sampler, the upper limit."""
    results = {}
    for name, settings in recipes.items():
        density, recipe = DENSITIES[name], Recipe(**settings)
        rngs = jax.random.split(jax.random.key(1), seeds)  # tuned on others
        samples = jax.jit(jax.vmap(partial(train, make_gan(recipe), density, recipe)))(rngs)
        perfect = jax.vmap(lambda rng, density=density: density.sample(rng, (_SAMPLES,)))(rngs)
        results[name] = {
            "recipe": recipe._asdict(),
            "gan": statistics(samples, density),
            "perfect": statistics(perfect, density),
            "samples": np.asarray(samples[:, :400], np.float64).round(3),
        }
    return {"densities": results}


def table(row: report.Row) -> list[dict[str, Any]]:
    """List means ± SE over seeds, beside a perfect sampler and the published rows."""
    lines = []
    for name, result in row["densities"].items():
        count = len(DENSITIES[name].means)
        for who, key in ((f"this GAN, {row['settings']['seeds']} seeds", "gan"), ("perfect sampler", "perfect")):
            shares = plus_minus(100 * np.array(result[key]["high_quality"]))
            lines.append(
                {
                    "data": f"{name} of {count}",
                    "sampler": who,
                    "modes": plus_minus(result[key]["modes"]),
                    "high quality": f"{shares} %",
                    "reverse KL": plus_minus(result[key]["reverse_kl"]),
                    "JSD": plus_minus(result[key]["js"]),
                }
            )
        cells = PUBLISHED[name]
        published = dict(zip(("modes", "high quality", "reverse KL", "JSD"), list(cells.values())[:4], strict=True))
        lines.append({"data": f"{name} of {count}", "sampler": "plain GAN, Lin et al. 2018", **published})
    return lines


def plot(row: report.Row) -> Figure:
    """Plot samples of the first five seeds over the modes."""
    columns = min(5, row["settings"]["seeds"])
    figure = Figure(figsize=(3 * columns, 3.2 * len(row["densities"])), layout="constrained")
    grid_of_axes = figure.subplots(len(row["densities"]), columns, squeeze=False)
    for line, (name, result) in zip(grid_of_axes, row["densities"].items(), strict=True):
        for seed, axes in enumerate(line):
            axes.plot(*DENSITIES[name].means.T, "o", color="lightgrey", markersize=12, zorder=0)
            axes.scatter(*np.transpose(result["samples"][seed]), s=2, color="tab:green", zorder=2)
            modes, quality = result["gan"]["modes"][seed], result["gan"]["high_quality"][seed]
            reach = 1.4 * float(np.abs(DENSITIES[name].means).max())
            axes.set(
                title=f"seed {seed}: {modes:.0f} modes, {100 * quality:.0f} % good", xlim=(-reach, reach), ylim=(-reach, reach)
            )
            axes.set(aspect="equal", xticks=[], yticks=[])
    return figure


EXPERIMENT = report.Experiment(
    "mixtures",
    run,
    table,
    plot,
    short={"recipes": {"ring": {"steps": 1000}, "grid": {"steps": 500}}, "seeds": 2},
    full={
        "recipes": {"ring": {"steps": 8000, "batch_size": 512}, "grid": {"steps": 10_000, "hidden": (128, 128, 128)}},
        "seeds": 10,
    },
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
