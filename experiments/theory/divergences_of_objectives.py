"""One game, many divergences: what does each objective's discriminator estimate, and what does one Gaussian make of two modes?

Claims: minimax estimates 2·JSD − log 4 (notes 000 eq. 21), hinge 2·TV − 2, least squares Δ/8 − 1/4 with the triangular Δ, the
Wasserstein objective W1 for slopes of at most 1. Relativistic pairs: JSD(p⊗q‖q⊗p) − log 2 (derived in
gan_jax/theory/optima.py); relativistic average: no formula, but a concave problem, solved by Newton steps and certified by its
gradient. D is learned by the package's own `disc_update`: a table on a finite support, where the batch is the distribution
itself (all pairs of it), and an MLP on densities, whose mean under p and q is taken by quadrature.

Command: python experiments/theory/divergences_of_objectives.py [--full]      seconds: 60; long form 200 on 2 cores
Expect (long form): tables reach the closed forms to 1e-12, hinge's to 1e-6; MLPs come within 1e-3 of them, hinge's within 0.01,
WGAN-GP's within 0.006. Under R1 + R2 an MLP of leaky ReLUs ends 17 % short of its closed form, one of tanh within 0.3 %. One
real point in 1,000 that no fake is near moves relativistic average half way to its upper limit. One Gaussian covers two modes
by KL, Pearson's χ² and W1 alone: by all that the other objectives estimate or descend it takes one.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import known
import report
from gan_jax.data import Batch
from gan_jax.networks.mlp import Discriminator
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import constant
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import disc_update
from gan_jax.theory.distributions import GaussianMixture, gaussian
from gan_jax.theory.divergences import cells
from gan_jax.theory.f_divergences import F_DIVERGENCES
from gan_jax.theory.optima import (
    OPTIMA,
    maximise_concave,
    relativistic_average_optimum,
    relativistic_average_value,
    sobolev_on_line,
    wasserstein_on_line,
    wasserstein_with_penalty,
)

# Multiples of 1/24, so that a batch of 24 has exactly these shares.
P, Q = np.array([6, 5, 4, 3, 3, 1, 1, 1]) / 24, np.array([1, 2, 3, 3, 4, 2, 3, 6]) / 24
DATA, SAMPLES = GaussianMixture(np.array([[-1.5], [1.0]]), np.array([[0.4], [0.7]]), np.array([0.4, 0.6])), gaussian([0.0], 1.0)
_SUPPORT = [name for name in OBJECTIVES if name not in ("wasserstein", "non_saturating")]  # non-saturating has minimax's D
_TANH = "wasserstein, R1 + R2, tanh"
_DENSITIES = ("minimax", "least_squares", "hinge", "relativistic", "wasserstein, WGAN-GP", "wasserstein, R1 + R2", _TANH)
_GP, _R12 = 10.0, 1.0
# The Wasserstein objective has no optimum without a bound on D's slope.
_R1_R2 = {"r1": _R12, "r2": _R12}
_PENALTIES = {"wasserstein, WGAN-GP": {"gradient_penalty": _GP}, "wasserstein, R1 + R2": _R1_R2, _TANH: _R1_R2}
TWO_MODES = GaussianMixture(np.array([[-3.0], [3.0]]), 0.5)


class Table(nn.Module):
    """A free logit for each of K outcomes, which come as one-hot vectors `[B, K]`."""

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        return samples @ self.param("logits", nn.initializers.zeros, samples.shape[-1:], samples.dtype)


class Smooth(nn.Module):
    """An MLP with tanh: unlike leaky ReLU's, the slope of its slope is not 0 nearly everywhere, which R1 and R2 descend by."""

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        for _ in range(2):
            samples = nn.tanh(nn.Dense(64)(samples))
        return nn.Dense(1)(samples).reshape(-1)


class Fixed(nn.Module):
    """The given samples, whatever the latents."""

    samples: Any

    @nn.compact
    def __call__(self, latents: jax.Array, labels: None, train: bool) -> jax.Array:
        return self.param("samples", lambda rng: jnp.asarray(self.samples))


def on_support(name: str, steps: int) -> dict[str, Any]:
    """Learn a table for P and Q: its value beside the closed form, and beside a certified maximum."""
    objective = OBJECTIVES[name]
    real, fake = (np.repeat(np.eye(len(P)), np.round(24 * shares).astype(int), axis=0) for shares in (P, Q))
    adam = optax.adam(optax.cosine_decay_schedule(0.3, steps))
    networks = Players(Fixed(np.tile(fake, (24, 1))), Table())  # beside every real one, every fake one
    gan = GAN(networks, Players(optax.identity(), adam), objective, sample_shape=(len(P),), latent_dim=1)
    batch = Batch(jnp.asarray(np.repeat(real, 24, axis=0)))

    def one_update(update: jax.Array, state: TrainState) -> TrainState:
        return disc_update(gan, state, batch, jax.random.key(0))[0]

    state = jax.jit(lambda: jax.lax.fori_loop(0, steps, one_update, create_state(gan, jax.random.key(0))))()
    logits = state.params.disc["logits"]
    log_p, log_q = jnp.log(P), jnp.log(Q)
    if name == "relativistic_average":
        certified = relativistic_average_optimum(P, Q)
        learned = float(relativistic_average_value(log_p, log_q, logits))
        return {"learned": learned, "optimum": certified.value, "gradient": certified.gradient}
    value = partial(known.mean_over_pairs, objective, jnp.asarray(P), jnp.asarray(Q))
    row: dict[str, Any] = {"learned": value(logits), "optimum": OPTIMA[name].value(log_p, log_q)}
    if name == "relativistic":
        certified = maximise_concave(value, np.zeros(len(P)))
        row |= {"gradient": certified.gradient, "certified_less_formula": certified.value - float(row["optimum"])}
    return row


def on_densities(name: str, steps: int, batch_size: int) -> dict[str, Any]:
    """Learn an MLP for DATA and SAMPLES: its value by quadrature beside the closed form."""
    objective = OBJECTIVES[name.partition(",")[0]]
    penalties = tuple((PENALTIES[penalty], constant(weight)) for penalty, weight in _PENALTIES.get(name, {}).items())
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, steps), b1=0.5)
    gen = known.AffineMixture(1, 1, nn.initializers.zeros)
    networks = Players(gen, Smooth() if name == _TANH else Discriminator((64, 64)))
    gan = GAN(networks, Players(optax.identity(), adam), objective, sample_shape=(1,), latent_dim=2, penalties=penalties)

    def one_update(update: jax.Array, state: TrainState) -> TrainState:
        real_rng, fake_rng = jax.random.split(jax.random.fold_in(jax.random.key(1), update))
        return disc_update(gan, state, Batch(DATA.sample(real_rng, (batch_size,))), fake_rng)[0]

    state = jax.jit(lambda: jax.lax.fori_loop(0, steps, one_update, create_state(gan, jax.random.key(0))))()
    logits = np.asarray(known.logits(gan, state, jnp.asarray(line(600)[0], jnp.float32)), np.float64)
    with jax.enable_x64(True):
        points, p, q, width = line(600)
        learned = jnp.sum((p - q) * logits) if penalties else known.mean_over_pairs(objective, p, q, jnp.asarray(logits))
        return {
            "learned": learned,
            "optimum": value_on_line(name, p, q, width),
            "logits": logits[::4],
            "points": points[::4, 0],
        }


def line(count: int) -> tuple[np.ndarray, jax.Array, jax.Array, float]:
    """Return cells of a line `[count, 1]`, the masses of DATA and SAMPLES in them, and their width."""
    points, log_width = cells([-6.0], [6.0], count)
    masses = [jnp.exp(density.log_prob(jnp.asarray(points)) + log_width) for density in (DATA, SAMPLES)]
    p, q = (mass / jnp.sum(mass) for mass in masses)
    return points, p, q, float(np.exp(log_width))


def density_between(points: jax.Array) -> jax.Array:
    """Return the density `[N]` at points `[N, 1]` of u x + (1 − u) y, u ~ U(0, 1), where WGAN-GP's penalty is."""
    nodes, weights = np.polynomial.legendre.leggauss(200)

    def at(share: jax.Array) -> jax.Array:
        stddev = jnp.sqrt((share * jnp.asarray(DATA.stddev)) ** 2 + (1 - share) ** 2)
        return jnp.exp(GaussianMixture(share * jnp.asarray(DATA.means), stddev, DATA.weights).log_prob(points))

    return jnp.sum(jnp.asarray(weights)[:, None] / 2 * jax.vmap(at)(jnp.asarray(nodes + 1) / 2), axis=0)


def value_on_line(name: str, p: jax.Array, q: jax.Array, width: float) -> float:
    """Return the best value that the objective can have for DATA and SAMPLES, by quadrature."""
    borders = (line(len(p))[0][:-1] + width / 2).reshape(-1, 1)
    if name == "wasserstein, WGAN-GP":
        return float(wasserstein_with_penalty(p, q, density_between(jnp.asarray(borders)), width, _GP))
    if "R1" in name:
        both = sum((jnp.exp(each.log_prob(jnp.asarray(borders))) for each in (DATA, SAMPLES)), jnp.zeros(()))
        return float(sobolev_on_line(p, q, both, width, _R12))
    return float(OPTIMA[name].value(jnp.log(p), jnp.log(q)))


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
    starts = grid.reshape(-1, 2)

    @partial(jax.jit, static_argnums=0)
    def fit(formula: Callable[[jax.Array, jax.Array], jax.Array]) -> dict[str, jax.Array]:
        loss = partial(against, formula)
        heights = jax.lax.map(loss, starts, batch_size=24)
        params = _descend(loss, starts[jnp.argmin(heights)], descents)
        profile = jnp.min(heights.reshape(grid.shape[:-1]), axis=1)
        return {"mean": params[0], "stddev": jnp.exp(params[1]), "least": loss(params), "profile": profile}

    fits = {name: fit(formula) for name, formula in formulas.items()}
    return {"means": means, "fits": fits}


def _descend(loss: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int) -> jax.Array:
    adam = optax.adam(optax.cosine_decay_schedule(2e-2, steps))

    def one_step(_: jax.Array, carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        updates, opt_state = adam.update(jax.grad(loss)(carry[0]), carry[1])
        return optax.apply_updates(carry[0], updates), opt_state

    return jax.lax.fori_loop(0, steps, one_step, (start, adam.init(start)))[0]


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
            "tables": {name: on_support(name, table_steps) for name in _SUPPORT},
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
    _TANH: "the same, D with tanh",
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
        {"objective or divergence": name, **empty, "one Gaussian, m ± s": f"{fit['mean']:.2f} ± {fit['stddev']:.2f}"}
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


def _fitted(axes: Axes, row: report.Row, names: dict[str, str], title: str) -> None:
    ticks = np.linspace(-8, 8, 400)[:, None]
    axes.fill_between(ticks[:, 0], np.exp(TWO_MODES.log_prob(jnp.asarray(ticks))), color="grey", alpha=0.4)
    for name, label in names.items():
        fit = row["fits"][name]
        density = gaussian(np.array([fit["mean"]]), fit["stddev"])
        axes.plot(
            ticks[:, 0], np.exp(density.log_prob(jnp.asarray(ticks))), label=f"{label}: {fit['mean']:.2f} ± {fit['stddev']:.2f}"
        )
    axes.set(title=title, ylim=(0, 1.45), yticks=[])
    axes.legend(loc="upper left")


def plot(row: report.Row) -> Figure:
    """Plot the learned Ds and their gaps, and what each divergence makes of two modes with one Gaussian."""
    figure = report.make_figure(height=6.4)
    (learned, gaps, jump), (estimated, family, profile) = figure.subplots(2, 3)
    for name, case in row["mlps"].items():
        logits = np.array(case["logits"])  # whose level is free for some
        learned.plot(case["points"], logits - np.median(logits), label=name.replace("_", " "))
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
    _fitted(estimated, row, by_disc, "one Gaussian by what D estimates")
    others = {name: name for name in ("KL(p‖q)", "KL(q‖p)", "Pearson χ²", "squared Hellinger")}
    by_gen = {name: name for name in row["fits"] if name.startswith("G of")}
    _fitted(family, row, others | by_gen, "by other f, and by what G descends")
    for name in by_disc:
        heights = np.array(row["fits"][name]["profile"])
        profile.plot(row["means"], heights / heights[0], label=by_disc[name])
    profile.set(title="least over s, relative to m = 0", xlabel="m", ylim=(0, 2.2))
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
        "densities": _DENSITIES,
        "table_steps": 10_000,
        "mlp_steps": 8000,
        "batch_size": 512,
        "cells_of_line": 280,
        "descents": 1000,
    },
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
