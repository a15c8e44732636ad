"""How does maximum likelihood compare with a GAN on the same data, with the same family of densities?

Claim (notes 002, sections 1.2 and 1.3): maximum likelihood is the minimum of KL(p‖q), and Gaussian mixtures fitted by it give
way to generators that minimise another divergence. Here one Gaussian is fitted to two modes by KL, reverse KL and JSD; the
KL of maximum likelihood is measured as n grows; and a mixture with the true number of components is fitted to the same
points by EM (scikit-learn), by gradient ascent of the likelihood, and by GANs whose generator is that mixture: that of 2014,
first with D's learning rate falling to 0 half way, by mistake, then as intended; and relativistic pairs with R1 + R2, tuned
on the seeds of key 12 and reported on those of key 2. Fits start from k-means, as EM does, or from random means.

Command: python experiments/theory/maximum_likelihood.py [--full]      seconds: long form 322, one core of two
Expect: KL covers both modes (0 ± 3.04, the data's own moments), reverse KL and the JSD take one (±3 ± 0.5), where the JSD is
3/4·log(4/3) = 0.2158. The KL of maximum likelihood is 0.53/n above its minimum. JSD on the ring (5 seeds): EM 0.0012, from
random means the likelihood 0.0009, RpGAN + R1 + R2 0.011, the GAN of 2014 0.034, and 0.55 where its D stopped half way.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.figure import Figure

import known
import report
from gan_jax.evaluation.results import plus_minus
from gan_jax.state import create_state
from gan_jax.theory.distributions import GaussianMixture, gaussian, grid, ring
from gan_jax.theory.divergences import estimate, js_from_logs, kl_from_logs
from mixture_fits import GANS, REGULARISED, fit_by_em, fit_by_gan, fit_by_gradients, start_at_clusters
from one_gaussian import PLACE, TWO_MODES, WIDTH, draw_fits, minimise

# Data, and how far apart the initial components of the fitted mixture are.
DATA = {"two modes": (TWO_MODES, 2.0), "ring": (ring(stddev=0.15), 1.0), "grid": (grid(stddev=0.3), 3.0)}
DIVERGENCES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "KL(p‖q), maximum likelihood": kl_from_logs,
    "KL(q‖p), reverse": lambda log_p, log_q: kl_from_logs(log_q, log_p),
    "JSD": js_from_logs,
}
_LINE = (-20.0, 20.0)


def _entry(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def one_gaussian(steps: int) -> dict[str, Any]:
    """Fit N(m, s²) to the two modes by each divergence, and keep the best fit of eleven starts."""
    quadrature = known.make_quadrature(TWO_MODES, *_LINE, count=800)

    def logs(params: Any) -> tuple[jax.Array, jax.Array]:
        return quadrature.log_p + quadrature.log_width, quadrature.log_q(params) + quadrature.log_width

    def fit(divergence: Callable[[jax.Array, jax.Array], jax.Array], mean: jax.Array) -> tuple[Any, jax.Array]:
        start = {"means": mean.reshape(1, 1), "log_stddevs": jnp.zeros((1, 1))}
        params = minimise(lambda params: divergence(*logs(params)), start, optax.adam(2e-2), steps)
        return params, divergence(*logs(params))

    fits = {}
    for name, divergence in DIVERGENCES.items():
        all_params, reached = jax.jit(jax.vmap(partial(fit, divergence)))(jnp.linspace(-3.0, 3.0, 11))
        params = _entry(all_params, int(jnp.argmin(reached)))
        fits[name] = {
            "mean": params["means"].reshape(()),
            "stddev": jnp.exp(params["log_stddevs"]).reshape(()),
            **{other: formula(*logs(params)) for other, formula in DIVERGENCES.items()},
        }
    return fits


def excess_kl(sizes: tuple[int, ...], repeats: int) -> list[jax.Array]:
    """Return KL(p‖q_n) − min KL `[repeats]` for each n; q_n has the mean and variance of n samples: maximum likelihood."""
    quadrature = known.make_quadrature(TWO_MODES, *_LINE, count=800)

    def kl(mean: jax.Array, stddev: jax.Array) -> jax.Array:
        log_q = gaussian(mean.reshape(1), stddev).log_prob(quadrature.points)
        return kl_from_logs(quadrature.log_p + quadrature.log_width, log_q + quadrature.log_width)

    smallest = kl(jnp.zeros(()), jnp.sqrt(PLACE**2 + WIDTH**2))  # the data's own mean and standard deviation

    def of_one(rng: jax.Array, size: int) -> jax.Array:
        points = TWO_MODES.sample(rng, (size,))
        return kl(jnp.mean(points), jnp.std(points)) - smallest

    keys = jax.random.split(jax.random.key(1), repeats)
    with jax.enable_x64(True):  # differences of 1e-5
        return [jax.lax.map(partial(of_one, size=size), keys) for size in sizes]


def excess_kl_times_n() -> float:
    """Return n·E[KL(p‖q_n) − min KL] to first order: 1/2 for the mean, (κ − 1)/4 for the variance; κ: the data's kurtosis."""
    kurtosis = (PLACE**4 + 6 * PLACE**2 * WIDTH**2 + 3 * WIDTH**4) / (PLACE**2 + WIDTH**2) ** 2
    return 1 / 2 + (kurtosis - 1) / 4


def compare(name: str, gans: tuple[str, ...], points: int, steps: int, gan_steps: int, seeds: int) -> dict[str, Any]:
    """Fit the same points by likelihood and by these GANs: measures by fit, `[seeds]`; random means unless k-means is named."""
    p, spread = DATA[name]
    components, dimensions = p.means.shape
    gen = known.AffineMixture(components, dimensions, nn.initializers.normal(spread), init_stddev=0.5)
    rngs = jax.random.split(jax.random.key(2), seeds)  # tuned on those of key 12
    samples = jax.vmap(lambda rng: p.sample(rng, (points,)))(rngs)
    by_likelihood = jax.jit(jax.vmap(partial(fit_by_gradients, steps=steps)))
    fits: dict[str, list[GaussianMixture]] = {}

    def keep(fit: str, densities: GaussianMixture) -> None:
        fits[fit] = [_entry(densities, seed) for seed in range(seeds)]

    fits["EM, from k-means"] = [fit_by_em(np.asarray(samples[seed]), components, seed) for seed in range(seeds)]
    for fit in gans:
        gan = GANS[fit](gen, gan_steps)
        state = jax.vmap(partial(create_state, gan))(rngs)
        train = jax.jit(jax.vmap(partial(fit_by_gan, gan, gan_steps)))
        keep(fit, train(state, samples, rngs))
        if fit == REGULARISED:
            keep(f"{fit}, from k-means", train(start_at_clusters(state, samples), samples, rngs))
    keep("likelihood by gradients", by_likelihood(samples, state.params.gen))
    keep("likelihood, from k-means", by_likelihood(samples, start_at_clusters(state, samples).params.gen))
    return {
        "measures": {fit: [measure(p, q) for q in densities] for fit, densities in fits.items()},
        "fits": {fit: {"means": densities[0].means, "stddevs": densities[0].stddev} for fit, densities in fits.items()},
        "points": samples[0, :300],
    }


def measure(p: GaussianMixture, q: GaussianMixture) -> dict[str, Any]:
    """Estimate the log-likelihood of new data, and the divergences, from 20,000 samples of each."""
    held_out = p.sample(jax.random.key(3), (20_000,))
    divergences, errors = estimate(p, q, jax.random.key(4), 20_000)
    return {"log_likelihood": jnp.mean(q.log_prob(held_out)), **divergences._asdict(), "js_error": errors.js}


def run(
    descents: int,
    sizes: tuple[int, ...],
    repeats: int,
    data: tuple[str, ...],
    gans: tuple[str, ...],
    points: int,
    steps: int,
    gan_steps: int,
    seeds: int,
) -> Mapping[str, Any]:
    """Run the three parts."""
    return {
        "one_gaussian": one_gaussian(descents),
        "excess_kl": excess_kl(sizes, repeats),
        "data": {name: compare(name, gans, points, steps, gan_steps, seeds) for name in data},
    }


def table(row: report.Row) -> list[dict[str, Any]]:
    """List each fit of each dataset."""
    lines = []
    for name, case in row["data"].items():
        for fit, measures in case["measures"].items():
            columns = {"log-likelihood": "log_likelihood", "KL(p‖q)": "kl", "KL(q‖p)": "reverse_kl", "JSD": "js"}
            numbers = {label: plus_minus([measure[key] for measure in measures]) for label, key in columns.items()}
            lines.append({"data": name, "fit": fit, **numbers})
    return lines


def plot(row: report.Row) -> Figure:
    """Plot one Gaussian by three divergences, the KL of maximum likelihood over n, the fits of the ring and the grid."""
    figure = report.make_figure(height=8)
    in_plane = [name for name in row["data"] if name != "two modes"]
    fits = next(iter(row["data"].values()))["fits"]
    shown = [fit for fit in ("EM, from k-means", *GANS) if fit in fits]
    mosaic: Any = [
        ["one"] * (len(shown) - len(shown) // 2) + ["law"] * (len(shown) // 2),
        *([f"{name}, {fit}" for fit in shown] for name in in_plane),
    ]
    panels: Any = figure.subplot_mosaic(mosaic, height_ratios=[1.2] + [1] * len(in_plane))
    one, law = panels["one"], panels["law"]
    draw_fits(one, row["one_gaussian"], data_label="p, the data")
    one.set(title="one Gaussian, fitted to two modes by", ylim=(0, 1.3))
    sizes, excess = np.array(row["settings"]["sizes"]), np.mean(row["excess_kl"], axis=-1)
    law.loglog(sizes, excess, "o", label="maximum likelihood on n samples")
    law.loglog(sizes, excess_kl_times_n() / sizes, "k:", label=f"{excess_kl_times_n():.2f}/n, closed form")
    law.set(title="KL(p‖q_n) − min KL, nats", xlabel="n")
    law.legend()
    for name in in_plane:
        case = row["data"][name]
        for fit in shown:
            axes, mixture = panels[f"{name}, {fit}"], case["fits"][fit]
            axes.scatter(np.array(case["points"])[:, 0], np.array(case["points"])[:, 1], s=2, color="grey")
            means = np.array(mixture["means"])
            across, along = np.broadcast_to(mixture["stddevs"], means.shape).T
            axes.errorbar(means[:, 0], means[:, 1], along, across, fmt="o", markersize=3, color="tab:red")
            title = fit.replace(", ", ",\n") + f":\nJSD {case['measures'][fit][0]['js']:.3f}"
            axes.set(title=title, aspect="equal", xticks=[], yticks=[])
    return figure


_SETTINGS = {"descents": 600, "sizes": (10, 100, 1000, 10_000), "data": tuple(DATA), "gans": tuple(GANS)}
EXPERIMENT = report.Experiment(
    "maximum_likelihood",
    run,
    table,
    plot,
    short=_SETTINGS
    | {"data": ("ring",), "gans": (REGULARISED,), "repeats": 20, "points": 1000, "steps": 200, "gan_steps": 500, "seeds": 1},
    full=_SETTINGS | {"repeats": 200, "points": 5000, "steps": 1000, "gan_steps": 5000, "seeds": 5},
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
