"""Do toys fail without R2, without relativistic pairs, or with lazy penalties, as published?

Claim (Huang et al. 2024): relativistic pairs with R1 + R2 at every step converge, where R1 alone diverges, the classic loss
drops modes, and penalties at every eighth step fail on a line, a circle and 25 Gaussians (appendix E). The paper gives neither
these densities nor its networks: here they are PacGAN's ring and grid, and a line of 8 Gaussians, learned by small MLPs.
For each objective one compiled program trains all seeds and penalty weights, by the package's `train_step`.

Command: python experiments/theory/toys.py [--full]      seconds: long form 415, one core of two
Expect (long form, 10 seeds): no run diverges. All games with penalties of weight 0.1 find nearly all modes with like shares of
high quality: ring 90 %, grid 24 to 31 %, line 60 to 65 %. Without penalties 17 to 19 of the grid's 25. At weight 10 all are
slower, and lazy penalties more so.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import report
from gan_jax.evaluation.results import mean_and_error
from gan_jax.theory.distributions import GaussianMixture, grid, ring
from mixtures import LEGEND, Recipe, cells, make_gan, statistics, train

_LINE = GaussianMixture(np.stack([np.arange(8) - 3.5, np.zeros(8)], axis=-1), 0.05)
DENSITIES = {"ring": ring(), "grid": grid(), "line": _LINE}


class Game(NamedTuple):
    """What is played. r1, r2: weights of the penalties, which come every penalty_every steps, then that many times as heavy."""

    objective: str
    r1: float
    r2: float
    penalty_every: int = 1


_RP, _GAN = "relativistic", "non_saturating"
GAMES = {
    "RpGAN + R1 + R2": Game(_RP, 0.1, 0.1),
    "GAN + R1 + R2": Game(_GAN, 0.1, 0.1),
    "RpGAN + R1": Game(_RP, 0.1, 0.0),
    "GAN + R1": Game(_GAN, 0.1, 0.0),
    "RpGAN + R1 + R2 every 8": Game(_RP, 0.1, 0.1, 8),
    "RpGAN, no penalty": Game(_RP, 0.0, 0.0),
    "GAN, no penalty": Game(_GAN, 0.0, 0.0),
    "RpGAN + R1 + R2, γ = 10": Game(_RP, 10.0, 10.0),
    "RpGAN + R1 + R2 every 8, γ = 10": Game(_RP, 10.0, 10.0, 8),
}


def train_all(recipe: Recipe, looks: int, means: jax.Array, stddev: float, weights: jax.Array, rngs: jax.Array) -> jax.Array:
    """Train for each pair of weights `[W, 2]` of R1 and R2 and each key `[S]`: samples `[W, S, looks, N, 2]`."""

    def one(weights: jax.Array, rng: jax.Array) -> jax.Array:
        weighted = recipe._replace(r1=weights[0], r2=weights[1])
        return train(make_gan(weighted), GaussianMixture(means, stddev), weighted, rng, looks)

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(weights, rngs)


def run(data: tuple[str, ...], games: tuple[str, ...], recipe: Mapping[str, Any], looks: int, seeds: int) -> Mapping[str, Any]:
    """Play each game on each density: the mode statistics `[looks, seeds]`."""
    rngs = jax.random.split(jax.random.key(1), seeds)  # tuned on those of key 7
    programs: dict[tuple[str, int], list[str]] = {}
    for name in games:
        programs.setdefault((GAMES[name].objective, GAMES[name].penalty_every), []).append(name)
    results: dict[str, Any] = {name: {} for name in data}
    for (objective, every), played in programs.items():
        of_objective = Recipe(**recipe, objective=objective, penalty_every=every)
        program = jax.jit(partial(train_all, of_objective, looks))
        weights = jnp.array([(GAMES[name].r1, GAMES[name].r2) for name in played])
        for name in data:
            density = DENSITIES[name]
            samples = np.asarray(program(jnp.asarray(density.means, jnp.float32), density.stddev, weights, rngs))
            for game, of_game in zip(played, samples, strict=True):
                by_look = [statistics(of_game[:, look], density) for look in range(looks)]
                finite = np.all(np.isfinite(of_game), axis=(-2, -1)).T
                results[name][game] = {key: [entry[key] for entry in by_look] for key in by_look[0]} | {"finite": finite}
    return {"densities": results}


def failures(of_game: Mapping[str, Any], count: int) -> dict[str, str]:
    """Say how many seeds ended with samples that are not finite, and how many with fewer than half of the modes."""
    diverged = np.array(of_game["finite"][-1]) == 0
    collapsed = ~diverged & (np.array(of_game["modes"][-1]) < count / 2)
    return {"diverged": f"{np.mean(diverged):.0%}", "collapsed": f"{np.mean(collapsed):.0%}"}


def table(row: report.Row) -> list[dict[str, Any]]:
    """List each game on each density at the end: mean ± SE over seeds, and the shares of seeds that failed."""
    lines = []
    for name, of_density in row["densities"].items():
        count = len(DENSITIES[name].means)
        for game in (game for game in GAMES if game in of_density):
            last = {key: by_look[-1] for key, by_look in of_density[game].items()}
            lines.append({"data": f"{name} of {count}", "game": game} | cells(last) | failures(of_density[game], count))
    return lines


def plot(row: report.Row) -> Figure:
    """Plot the JSD and the share of high quality over the steps: mean ± SE over seeds."""
    names, looks = list(row["densities"]), row["settings"]["looks"]
    figure = report.make_figure(height=5.6)
    panels = figure.subplots(2, len(names), squeeze=False, sharex=True)
    steps = (np.arange(looks) + 1) * (row["settings"]["recipe"]["steps"] // looks)
    for column, name in zip(panels.T, names, strict=True):
        for axes, (key, title) in zip(column, (("js", "JSD"), ("high_quality", "share of high quality")), strict=True):
            for game in (game for game in GAMES if game in row["densities"][name]):
                mean, error = np.transpose([mean_and_error(of_look) for of_look in row["densities"][name][game][key]])
                colour = "tab:blue" if GAMES[game].objective == _RP else "tab:orange"
                style = {(0, 0): ":", (1, 0): "--", (1, 1): "-"}[GAMES[game].r1 > 0, GAMES[game].r2 > 0]
                width, alpha = (2.5, 0.5) if GAMES[game].penalty_every > 1 else (1.5, 1.0)
                colour = "tab:green" if GAMES[game].r1 > 1 else colour
                axes.errorbar(steps, mean, error, color=colour, linestyle=style, linewidth=width, alpha=alpha, label=game)
            axes.set(title=f"{name}: {title}", ylim=(0, None))
        column[-1].set(xlabel="step")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


_RECIPE = {"batch_size": 64, "rate": 3e-3, "b1": 0.0, "hidden": (64, 64, 64), "ema_decay": 0.99}
EXPERIMENT = report.Experiment(
    "toys",
    run,
    table,
    plot,
    short={
        "data": ("ring",),
        "games": ("RpGAN + R1 + R2", "RpGAN + R1", "RpGAN, no penalty"),
        "recipe": _RECIPE | {"steps": 300},
        "looks": 3,
        "seeds": 2,
    },
    full={"data": tuple(DENSITIES), "games": tuple(GAMES), "recipe": _RECIPE | {"steps": 3000}, "looks": 5, "seeds": 10},
    legend=f"{LEGEND} Diverged: seeds with a sample that is not finite; collapsed: others with fewer than half of the modes.",
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
