"""How many modes of a ring and of a grid of narrow Gaussians does a GAN find?

Claim (notes 002, 003, 004): G minimises the JSD, so that in the end it has every mode. Published: PacGAN's plain GAN finds 6.3
of 8 and 17.3 of 25 (Lin et al. 2018, table 1). Such tables measure the recipe, so the row states ours in full, as a `Recipe`:
the plain GAN, and relativistic pairs with R1 + R2 in a narrower and deeper net, tuned on seeds of key 7. 10 seeds of key 1 in
one vmapped call, none left out, evaluated once, after the last step. PacGAN's own recipe (400,000 steps, G of 4 × 400 with
batch norm, D of 3 × 200 maxout) takes hours on a CPU and is not run here.

Command: python experiments/theory/mixtures.py [--full]      seconds: long form 1,246, one core of two
Expect (long form, 10 seeds), modes, high quality, reverse KL: ring 8 ± 0 of 8, 97.0 %, 0.0020; grid 25 ± 0 of 25, 96.8 %,
0.0060; plain 8 ± 0, 95 %, 0.10 and 24.5 ± 0.3, 81 %, 0.18. A perfect sampler has 98.9 %, 0.0013 and 0.0048.
The modes of RpGAN + R1 + R2 are narrow: JSD 0.12.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import report
from gan_jax.data import Batch
from gan_jax.evaluation.metrics import ModeStatistics, mode_statistics
from gan_jax.evaluation.results import plus_minus
from gan_jax.networks import make_networks
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import constant, warmed_up_decay
from gan_jax.state import GAN, Players, TrainState, create_state, generator_variables
from gan_jax.steps import example_keys, sample_latents, train_step
from gan_jax.theory.distributions import GaussianMixture, grid, ring
from gan_jax.theory.divergences import MAX_JSD

DENSITIES = {"ring": ring(), "grid": grid()}
_SAMPLES = 2500

# Lin et al. 2018, table 1: a plain non-saturating GAN, 10 trials.
PUBLISHED = {
    "ring": {"modes": "6.3 ± 0.5", "high quality": "98.2 %", "reverse KL": "0.45", "JSD": ""},
    "grid": {"modes": "17.3 ± 0.8", "high quality": "94.8 %", "reverse KL": "0.70", "JSD": ""},
}


class Recipe(NamedTuple):
    """ReLU and leaky-ReLU MLPs of these widths, Adam with rates that fall to 0 along a cosine, an average of G.

    r1, r2: weights of the penalties, which may be traced; penalty_every: the steps from one penalty to the next.
    """

    steps: int
    batch_size: int = 256
    disc_steps: int = 1
    rate: float = 1e-3
    b1: float = 0.5
    b2: float = 0.99
    hidden: tuple[int, ...] = (128, 128)
    latent_dim: int = 2
    ema_decay: float = 0.999
    objective: str = "non_saturating"
    r1: Any = 0.0
    r2: Any = 0.0
    penalty_every: int = 1


def make_gan(recipe: Recipe) -> GAN:
    """Make the GAN of a recipe. A weight of 0 is no penalty at all, one that is traced is."""

    def make_adam(updates: int) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(recipe.rate, updates), recipe.b1, recipe.b2)

    weights = {"r1": recipe.r1, "r2": recipe.r2}
    return GAN(
        networks=make_networks("mlp", (2,), hidden=tuple(recipe.hidden)),
        optimizers=Players(make_adam(recipe.steps), make_adam(recipe.steps * recipe.disc_steps)),
        objective=OBJECTIVES[recipe.objective],
        sample_shape=(2,),
        latent_dim=recipe.latent_dim,
        disc_steps=recipe.disc_steps,
        penalties=tuple(
            (PENALTIES[name], constant(weight)) for name, weight in weights.items() if not isinstance(weight, float) or weight
        ),
        penalty_every=recipe.penalty_every,
        ema=warmed_up_decay(recipe.ema_decay),
    )


def train(gan: GAN, density: GaussianMixture, recipe: Recipe, rng: jax.Array, looks: int = 1) -> jax.Array:
    """Train with one seed: 2,500 samples `[looks, 2500, 2]` of the averaged generator after each of so many equal parts."""
    init_rng, data_rng, train_rng, sample_rng = jax.random.split(rng, 4)
    latents = sample_latents(example_keys(sample_rng, "latents", _SAMPLES), gan.latent_dim)

    def one_step(step: jax.Array, state: TrainState) -> TrainState:
        real = density.sample(jax.random.fold_in(data_rng, step), (gan.batches_per_step, recipe.batch_size))
        return train_step(gan, state, Batch(real), train_rng)[0]

    def one_part(state: TrainState, part: jax.Array) -> tuple[TrainState, jax.Array]:
        steps = recipe.steps // looks
        state = jax.lax.fori_loop(part * steps, (part + 1) * steps, one_step, state)
        return state, gan.networks.gen.apply(generator_variables(state), latents, None, train=False)

    return jax.lax.scan(one_part, create_state(gan, init_rng), jnp.arange(looks))[1]


def statistics(samples: Any, density: GaussianMixture) -> dict[str, list[float]]:
    """Compute the mode statistics by seed, of samples `[S, N, 2]`; of a seed that has nan or inf, those of no good sample."""
    nothing = ModeStatistics(0, 0.0, float("nan"), MAX_JSD)
    by_seed = [
        mode_statistics(points, density.means, density.stddev) if np.all(np.isfinite(points)) else nothing
        for points in np.asarray(samples)
    ]
    return {name: [getattr(entry, name) for entry in by_seed] for name in ModeStatistics._fields}


def run(recipes: Mapping[str, Mapping[str, Mapping[str, Any]]], seeds: int) -> Mapping[str, Any]:
    """Train on every density with its recipes, and evaluate a perfect sampler, the upper limit."""
    results = {}
    for name, of_density in recipes.items():
        density = DENSITIES[name]
        rngs = jax.random.split(jax.random.key(1), seeds)  # tuned on those of key 7
        games = {}
        for game, settings in of_density.items():
            recipe = Recipe(**settings)
            samples = jax.jit(jax.vmap(partial(train, make_gan(recipe), density, recipe)))(rngs)[:, -1]
            shown = np.asarray(samples[:5, :400], np.float64).round(3)
            games[game] = {"recipe": recipe._asdict(), "statistics": statistics(samples, density), "samples": shown}
        perfect = jax.vmap(lambda rng, density=density: density.sample(rng, (_SAMPLES,)))(rngs)
        results[name] = {"games": games, "perfect": statistics(perfect, density)}
    return {"densities": results}


def cells(result: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Format statistics by seed as the entries of a line, means ± SE."""
    return {
        "modes": plus_minus(result["modes"]),
        "high quality": f"{plus_minus(100 * np.array(result['high_quality']))} %",
        "reverse KL": plus_minus(result["reverse_kl"]),
        "JSD": plus_minus(result["js"]),
    }


def table(row: report.Row) -> list[dict[str, Any]]:
    """List means ± SE over seeds, beside a perfect sampler and the published rows."""
    lines = []
    for name, result in row["densities"].items():
        data = {"data": f"{name} of {len(DENSITIES[name].means)}"}
        for game, of_game in result["games"].items():
            lines.append(data | {"sampler": f"{game}, {row['settings']['seeds']} seeds"} | cells(of_game["statistics"]))
        lines.append(data | {"sampler": "perfect sampler"} | cells(result["perfect"]))
        lines.append(data | {"sampler": "plain GAN, Lin et al. 2018"} | PUBLISHED[name])
    return lines


def plot(row: report.Row) -> Figure:
    """Plot samples of the first three seeds over the modes, of every game on every density."""
    columns = min(3, row["settings"]["seeds"])
    games = [(name, game, of_game) for name, of in row["densities"].items() for game, of_game in of["games"].items()]
    figure = report.make_figure(height=2.3 * -(-len(games) // 2))
    lines = figure.subplots(-(-len(games) // 2), 2 * columns, squeeze=False).reshape(-1, columns)
    for line, (name, game, of_game) in zip(lines, games, strict=False):
        for seed, axes in enumerate(line):
            axes.plot(*DENSITIES[name].means.T, "o", color="lightgrey", markersize=8, zorder=0)
            axes.scatter(*np.transpose(of_game["samples"][seed]), s=1.5, color="tab:green", zorder=2)
            modes, quality = of_game["statistics"]["modes"][seed], of_game["statistics"]["high_quality"][seed]
            reach = 1.4 * float(np.abs(DENSITIES[name].means).max())
            title = f"{game if seed == 0 else ''}\nseed {seed}: {modes:.0f} modes,\n{100 * quality:.1f} % high quality"
            axes.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    return figure


LEGEND = (
    "High quality: within three standard deviations of the nearest mean; a mode counts with one such sample. Reverse KL: of "
    "the modes' shares of these samples from equal shares. JSD: over discs and rings of one standard deviation, a lower bound."
)
_REGULARISED = {"objective": "relativistic", "rate": 3e-3, "b1": 0.0, "hidden": (64, 64, 64, 64)}
EXPERIMENT = report.Experiment(
    "mixtures",
    run,
    table,
    plot,
    short={
        "recipes": {"ring": {"RpGAN + R1 + R2": _REGULARISED | {"steps": 500, "batch_size": 128, "r1": 0.03, "r2": 0.03}}},
        "seeds": 2,
    },
    full={
        "recipes": {
            "ring": {
                "plain GAN": {"steps": 8000, "batch_size": 512},
                "RpGAN + R1 + R2": _REGULARISED | {"steps": 10_000, "r1": 0.03, "r2": 0.03},
            },
            "grid": {
                "plain GAN": {"steps": 10_000, "hidden": (128, 128, 128)},
                "RpGAN + R1 + R2": _REGULARISED | {"steps": 15_000, "r1": 0.1, "r2": 0.1},
            },
        },
        "seeds": 10,
    },
    legend=LEGEND,
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
