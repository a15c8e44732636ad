"""One game, many divergences: what does each objective's discriminator estimate, and what does one Gaussian make of two modes?

Claims: minimax estimates 2·JSD − log 4 (notes 000 eq. 21), hinge 2·TV − 2, least squares Δ/8 − 1/4 with the triangular Δ, the
Wasserstein objective W1 for slopes of at most 1. Relativistic pairs: JSD(p⊗q‖q⊗p) − log 2 (derived in
gan_jax/theory/optima.py); relativistic average: no formula, but a concave problem, solved by Newton steps and certified by its
gradient. D is learned by the package's own `disc_update`: a table on a finite support, where the batch is the distribution
itself (all pairs of it), and an MLP on densities, whose mean under p and q is taken by quadrature.

Command: python experiments/theory/divergences_of_objectives.py [--full]      seconds: 60; long form 99, one core of two
Expect (long form): tables reach the closed forms to 1e-12, hinge's to 1e-6; MLPs come within 1e-3 of them, hinge's within 0.01,
WGAN-GP's within 0.006. Under R1 + R2 an MLP of leaky ReLUs ends 17 % short of its closed form, one of tanh within 0.4 %. One
real point in 1,000 that no fake is near moves relativistic average half way to its upper limit. One Gaussian covers two modes
by minimising KL, Pearson's χ² or W1; by all else that objectives estimate or descend it sits on one.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import report
from gan_jax.objectives import OBJECTIVES
from gan_jax.theory.distributions import gaussian
from gan_jax.theory.divergences import cells
from gan_jax.theory.f_divergences import F_DIVERGENCES
from gan_jax.theory.optima import OPTIMA, relativistic_average_optimum, wasserstein_on_line
from learned_discs import DENSITIES, SUPPORT, TANH, line, on_densities, on_support
from one_gaussian import TWO_MODES, draw_fits, minimise


def outlier(shares: tuple[float, ...]) -> dict[str, list[float]]:
    """Return the values of three objectives where p = q but for a real point in 1,000 that so few fakes are near."""
    values: dict[str, list[float]] = {"minimax": [], "relativistic": [], "relativistic_average": []}
    for share in shares:
        p, q = np.array([0.999, 0.001]), np.array([1 - share, share])
        values["relativistic_average"].append(relativistic_average_optimum(p, q).value)
        for name in ("minimax", "relativistic"):
            values[name].append(float(OPTIMA[name].value(jnp.log(p), jnp.log(q))))
    return values


def one_gaussian(cells_of_line: int, descents: int) -> dict[str, Any]:
    """Fit N(m, s²) to two modes by each divergence: the best of a grid of (m, s), polished by Adam; and the profile over m."""
    midpoints, log_width = cells([-14.0], [14.0], cells_of_line)
    points = jnp.asarray(midpoints)
    log_p = TWO_MODES.log_prob(points) + log_width

    def against(formula: Callable[[jax.Array, jax.Array], jax.Array], params: jax.Array) -> jax.Array:
        return formula(log_p, gaussian(params[:1], jnp.exp(params[1])).log_prob(points) + log_width)

    def wasserstein(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
        return wasserstein_on_line(jnp.exp(log_p), jnp.exp(log_q), points[:, 0])

    def pairs(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
        return OPTIMA["relativistic"].value(log_p, log_q) + jnp.log(2.0)

    formulas = {name: entry.from_logs for name, entry in F_DIVERGENCES.items()} | {
        "W1": wasserstein,
        "JSD of pairs": pairs,
        "G of non-saturating": OPTIMA["non_saturating"].of_gen,
        "G of least squares": OPTIMA["least_squares"].of_gen,
        "G of relativistic": OPTIMA["relativistic"].of_gen,
    }
    means, log_stddevs = jnp.linspace(0.0, 4.0, 21), jnp.linspace(np.log(0.4), np.log(4.0), 24)
    grid = jnp.stack(jnp.meshgrid(means, log_stddevs, indexing="ij"), axis=-1)
    adam = optax.adam(optax.cosine_decay_schedule(2e-2, descents))
    starts = grid.reshape(-1, 2)

    @partial(jax.jit, static_argnums=0)
    def fit(formula: Callable[[jax.Array, jax.Array], jax.Array]) -> dict[str, jax.Array]:
        loss = partial(against, formula)
        heights = jax.lax.map(loss, starts, batch_size=24)
        params = minimise(loss, starts[jnp.argmin(heights)], adam, descents)
        profile = jnp.min(heights.reshape(grid.shape[:-1]), axis=1)
        return {"mean": params[0], "stddev": jnp.exp(params[1]), "least": loss(params), "profile": profile}

    fits = {name: fit(formula) for name, formula in formulas.items()}
    return {"means": means, "fits": fits}


def run(
    table_steps: int,
    densities: tuple[str, ...],
    mlp_steps: int,
    batch_size: int,
    outliers: tuple[float, ...],
    cells_of_line: int,
    descents: int,
) -> Mapping[str, Any]:
    """Learn tables and MLPs for each objective, and fit one Gaussian by each divergence."""
    mlps = {name: on_densities(name, mlp_steps, batch_size) for name in densities}
    with jax.enable_x64(True):
        points, p, q, _ = line(600)
        return {
            "tables": {name: on_support(name, table_steps) for name in SUPPORT},
            "mlps": mlps,
            "w1": wasserstein_on_line(p, q, jnp.asarray(points[:, 0])),
            "outlier": outlier(outliers),
            **one_gaussian(cells_of_line, descents),
        }


_ESTIMATES = {
    "minimax": "2·JSD − log 4",
    "least_squares": "Δ/8 − 1/4",
    "hinge": "2·TV − 2",
    "relativistic": "JSD(p⊗q‖q⊗p) − log 2",
    "relativistic_average": "no formula; certified",
    "wasserstein, WGAN-GP": "W1 + ∫(F_p − F_q)²/2λr",
    "wasserstein, R1 + R2": "∫(F_p − F_q)²/γ(p + q)",
    TANH: "the same, D with tanh",
}


def table(row: report.Row) -> list[dict[str, Any]]:
    """List what each objective estimates, and how far below it a learned D ends; then the fits of one Gaussian."""
    estimates = [
        {
            "objective or divergence": name,
            "estimates": formula,
            **{
                f"{where}, {what}": row[key][name][entry] if name in row[key] else ""
                for where, key in (("8 outcomes", "tables"), ("densities", "mlps"))
                for what, entry in (("optimum", "optimum"), ("learned", "learned"))
            },
            "one Gaussian, m ± s": "",
        }
        for name, formula in _ESTIMATES.items()
    ]
    empty = dict.fromkeys(list(estimates[0])[1:-1], "")
    fits = [
        {"objective or divergence": name, **empty, "one Gaussian, m ± s": f"{fit['mean']:z.2f} ± {fit['stddev']:.2f}"}
        for name, fit in row["fits"].items()
    ]
    return estimates + fits


def _gaps(axes: Axes, row: report.Row) -> None:
    for offset, key, label in ((-0.2, "tables", "a table, 8 outcomes"), (0.2, "mlps", "an MLP, densities")):
        names = [name for name in _ESTIMATES if name in row[key]]
        gaps = [max(1e-16, abs(row[key][name]["optimum"] - row[key][name]["learned"])) for name in names]
        places = [list(_ESTIMATES).index(name) + offset for name in names]
        axes.barh(places, gaps, 0.4, left=1e-16, label=label)
    axes.set_yticks(range(len(_ESTIMATES)), [name.replace("_", " ").replace("wasserstein", "W.") for name in _ESTIMATES])
    axes.set(title="|optimum − learned D's value|", xscale="log", xlim=(1e-16, 1), ylim=(-1.9, 7.6))
    axes.invert_yaxis()
    axes.legend(loc="upper left")


def plot(row: report.Row) -> Figure:
    """Plot the learned Ds and their gaps, and what each divergence makes of two modes with one Gaussian."""
    figure = report.make_figure(height=6.4)
    (learned, gaps, jump), (estimated, family, profile) = figure.subplots(2, 3)
    for name, case in row["mlps"].items():
        logits = np.array(case["logits"])  # whose level is free for some
        label = name.replace("_", " ").replace("wasserstein", "W.")
        learned.plot(case["points"], logits - np.median(logits), label=label)
    learned.set(title="D's output less its median", ylim=(-4, 7), xlim=(-4, 4), xlabel="x")
    learned.legend(ncols=2, loc="upper center")
    _gaps(gaps, row)
    for name, values in row["outlier"].items():
        normalised = 1 - np.array(values) / float(OBJECTIVES[name].equilibrium[0] or 1)
        jump.plot(row["settings"]["outliers"], normalised, "o-", markersize=3, label=name.replace("_", " "))
    jump.set(
        title="p = q but for one real in 1,000", xscale="log", xlabel="fakes' share there", ylabel="value, 0: p = q, 1: apart"
    )
    jump.legend()
    by_disc = {
        "JSD": "minimax, JSD",
        "TV": "hinge, TV",
        "triangular": "least squares, Δ",
        "JSD of pairs": "relativistic",
        "W1": "W1",
    }
    draw_fits(estimated, {label: row["fits"][name] for name, label in by_disc.items()})
    estimated.set(title="one Gaussian by what D estimates", ylim=(0, 1.45), yticks=[])
    others = ("KL(p‖q)", "KL(q‖p)", "Pearson χ²", "squared Hellinger")
    by_gen = (name for name in row["fits"] if name.startswith("G of"))
    draw_fits(family, {name: row["fits"][name] for name in (*others, *by_gen)})
    family.set(title="by other f, and by what G descends", ylim=(0, 1.75), yticks=[])
    for name in by_disc:
        heights = np.array(row["fits"][name]["profile"])
        profile.plot(row["means"], heights / heights[0], label=by_disc[name])
    profile.set(title="divergence with the best s,\nrelative to m = 0", xlabel="m", ylim=(0, 2.2))
    profile.legend(loc="upper left")
    return figure


_SETTINGS = {"outliers": (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6, 1e-7, 1e-8)}
EXPERIMENT = report.Experiment(
    "divergences_of_objectives",
    run,
    table,
    plot,
    short=_SETTINGS
    | {
        "densities": ("minimax", "relativistic"),
        "table_steps": 2000,
        "mlp_steps": 300,
        "batch_size": 256,
        "cells_of_line": 140,
        "descents": 200,
    },
    full=_SETTINGS
    | {
        "densities": DENSITIES,
        "table_steps": 10_000,
        "mlp_steps": 8000,
        "batch_size": 512,
        "cells_of_line": 280,
        "descents": 1000,
    },
    legend=(
        "Δ = Σ (p − q)²/(p + q), TV = Σ |p − q|/2; F_p, F_q: distribution functions; λ, r: weight of WGAN-GP's penalty and "
        "density of its points; γ: weight of R1 and of R2. 8 outcomes: D is a table; densities: D is an MLP. m ± s: mean and "
        "standard deviation of the Gaussian that minimises the divergence; G of …: what G descends while D stays at its "
        "optimum."
    ),
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
