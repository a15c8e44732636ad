"""Does a discriminator that ascends V become p/(p + q), and its V the Jensen–Shannon divergence?

Claim (notes 000 eq. 14 and 21, 001, 002, 003, 004): for fixed G, D* = p/(p + q) and V(D*, G) = 2·JSD(p‖q) − log 4. Here G is
fixed and its density known, D is an MLP trained by the package's own `disc_update`, and V is computed by quadrature, not on a
batch. Notes 000 end with "maximizing V over D maximizes the JSD": D estimates the JSD, since p and q are fixed. Their eq. 4
would descend V, and their eq. 15 drops the "1 −" in the second term.

Command: python experiments/theory/optimal_discriminator.py [--full]      seconds: 28; long form 113, one core of two
Expect (long form): in 1-D V is 3e-5 nats below 2·JSD − log 4, and |D − D*| < 0.018 wherever p + q > 1e-3; in 2-D 2e-4 and 0.04.
"""

from collections.abc import Mapping
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
from gan_jax.data import Batch
from gan_jax.state import GAN, TrainState, create_state
from gan_jax.steps import disc_update, train_step
from gan_jax.theory.distributions import GaussianMixture, ring
from gan_jax.theory.divergences import cells, integrate, optimal_discriminator_logits, value_from_logs

# Data, and a box with the mass of it and of the fixed generator.
CASES = {
    "1-D": (GaussianMixture(np.array([[-1.5], [1.0]]), np.array([[0.4], [0.7]]), np.array([0.4, 0.6])), [-6.0], [6.0]),
    "2-D": (ring(stddev=0.3, radius=1.5), [-6.0, -6.0], [6.0, 6.0]),
}
_CELLS = {"1-D": 2000, "2-D": 200}


def make_gan(dimensions: int, steps: int, rate: float) -> GAN:
    """Make a GAN whose G, N(0, 1), is never updated, and whose D has a rate that falls to 0, against the noise of batches."""
    gen = known.AffineMixture(1, dimensions, nn.initializers.zeros)
    falling = optax.adam(optax.cosine_decay_schedule(rate, steps))
    return known.make_gan(gen, optax.identity(), falling, hidden=(64, 64))


def train_disc(gan: GAN, p: GaussianMixture, state: TrainState, rng: jax.Array, updates: int, batch_size: int) -> TrainState:
    """Update D alone so many times, each on fresh samples."""

    def one_update(update: jax.Array, state: TrainState) -> TrainState:
        real_rng, fake_rng = jax.random.split(jax.random.fold_in(rng, update))
        return disc_update(gan, state, Batch(p.sample(real_rng, (batch_size,))), fake_rng)[0]

    return jax.lax.fori_loop(0, updates, one_update, state)


def follow(name: str, steps: int, checkpoints: int, batch_size: int, rate: float, seed: int) -> dict[str, Any]:
    """Train D in one case, and compare it with D* at `checkpoints` times."""
    p, low, high = CASES[name]
    gan = make_gan(len(low), steps, rate)
    state = create_state(gan, jax.random.key(seed))
    q = known.density(state.params.gen)
    truth = integrate(p.log_prob, q.log_prob, low, high)
    midpoints, log_volume = cells(low, high, _CELLS[name])
    points = jnp.asarray(midpoints, jnp.float32)
    log_p, log_q = p.log_prob(points), q.log_prob(points)
    optimal = jax.nn.sigmoid(optimal_discriminator_logits(log_p, log_q))
    support = jnp.exp(log_p) + jnp.exp(log_q) > 1e-3

    @jax.jit
    def compare(state: TrainState) -> tuple[jax.Array, jax.Array, jax.Array]:
        logits = known.logits(gan, state, points)
        prob = jax.nn.sigmoid(logits)
        error = jnp.max(jnp.where(support, jnp.abs(prob - optimal), 0.0))
        return value_from_logs(log_p + log_volume, log_q + log_volume, logits), error, prob

    train = jax.jit(partial(train_disc, gan, p, updates=steps // checkpoints, batch_size=batch_size))
    compared = [compare(state)]
    for checkpoint in range(checkpoints):
        state = train(state, jax.random.key(seed + 1 + checkpoint))
        compared.append(compare(state))
    values, errors, probs = zip(*compared, strict=True)
    every = 8 if name == "1-D" else 2
    plane = (-1,) if name == "1-D" else (_CELLS[name], _CELLS[name])
    thin = (slice(None, None, every),) * len(plane)
    return {
        "js": truth.js,
        "value_at_optimum": truth.value_at_optimum,
        "steps": np.arange(checkpoints + 1) * (steps // checkpoints),
        "values": values,
        "errors": errors,
        "axis": np.unique(midpoints[:, 0])[::every],
        "prob": np.asarray(probs[-1]).reshape(plane)[thin].round(3),
        "optimal": np.asarray(optimal).reshape(plane)[thin].round(3),
    }


def four_panels(steps: int, seed: int) -> dict[str, Any]:
    """Reproduce figure 1 of the 2014 paper by training: near the start, with D at its optimum, after 50 steps, at the end."""
    p = GaussianMixture(np.array([[1.0]]), 0.6)
    gen = known.AffineMixture(1, 1, nn.initializers.constant(-0.6))
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, steps + 50), b1=0.5)
    gan = known.make_gan(gen, adam, optax.adam(2e-3, b1=0.5), disc_steps=2)
    rng = jax.random.key(seed)
    points = known.make_quadrature(p, -4.0, 4.0, 200).points
    state, panels = create_state(gan, rng), {}

    def snap(name: str) -> None:
        densities = p, known.density(state.params.gen)
        panels[name] = {
            "prob": jax.nn.sigmoid(known.logits(gan, state, points)),
            "p": jnp.exp(densities[0].log_prob(points)),
            "q": jnp.exp(densities[1].log_prob(points)),
            "mean": state.params.gen["means"].reshape(()),
            "stddev": jnp.exp(state.params.gen["log_stddevs"]).reshape(()),
        }

    @jax.jit
    def train_both(state: TrainState, rng: jax.Array) -> TrainState:
        rngs = jax.random.split(rng, 50)

        def one_step(step: jax.Array, state: TrainState) -> TrainState:
            return train_step(gan, state, Batch(p.sample(rngs[step], (gan.disc_steps, 512))), rngs[step])[0]

        return jax.lax.fori_loop(0, len(rngs), one_step, state)

    fix_gen = jax.jit(partial(train_disc, gan, p, updates=50, batch_size=512))
    state = fix_gen(state, rng)
    snap("(a) D is young")
    for block in range(steps // 50):
        state = fix_gen(state, jax.random.fold_in(rng, block))
    snap("(b) G fixed: D becomes p/(p + q)")
    state = train_both(state, rng)
    snap("(c) after 50 steps of both")
    for block in range(steps // 50):
        state = train_both(state, jax.random.fold_in(rng, block))
    snap("(d) q = p, D = 1/2")
    return {"points": points[:, 0], "panels": panels}


def run(steps: int, checkpoints: int, batch_size: int, rate: float, panel_steps: int, seed: int) -> Mapping[str, Any]:
    """Run both cases, and the four panels."""
    cases = {name: follow(name, steps, checkpoints, batch_size, rate, seed) for name in CASES}
    return {"cases": cases, "figure_1": four_panels(panel_steps, seed)}


def table(row: report.Row) -> list[dict[str, Any]]:
    """List V and D at the end of each case, beside the optimum."""
    return [
        {
            "case": name,
            "JSD": case["js"],
            "2·JSD − log 4": case["value_at_optimum"],
            "V(D, G)": case["values"][-1],
            "gap, nats": case["value_at_optimum"] - case["values"][-1],
            "sup of abs(D − D*) where p + q > 1e-3": case["errors"][-1],
        }
        for name, case in row["cases"].items()
    ]


def plot(row: report.Row) -> Figure:
    """Plot figure 1 of the 2014 paper above; below, V, D in 1-D and D in 2-D against the optimum."""
    figure = report.make_figure(height=5.4)
    grid = figure.subplots(2, 4)
    points = np.array(row["figure_1"]["points"])
    for axes, (name, panel) in zip(grid[0], row["figure_1"]["panels"].items(), strict=True):
        axes.plot(points, panel["p"], "k:", label="p, the data")
        axes.plot(points, panel["q"], "tab:green", label="q, the generator")
        axes.plot(points, panel["prob"], "tab:blue", linestyle="--", label="D")
        optimal = np.array(panel["p"]) / (np.array(panel["p"]) + np.array(panel["q"]))
        axes.plot(points, optimal, color="tab:blue", alpha=0.3, linewidth=4, label="D* = p/(p + q)")
        for latent in np.linspace(-2, 2, 9):  # the map z -> G(z), as arrows in the paper
            axes.plot([latent, panel["mean"] + panel["stddev"] * latent], [-0.35, -0.05], color="grey", linewidth=0.7)
        axes.set(title=name, xlim=(-4, 4), ylim=(-0.36, 1.05), xlabel="z, and above it x = G(z)")
        axes.set_yticks([0, 0.5, 1])
    axes.legend(fontsize=7, loc="upper left")
    left, middle, right, far = grid[1]
    for name, case in row["cases"].items():
        (curve,) = left.plot(case["steps"], np.array(case["value_at_optimum"]) - case["values"], "o-", markersize=3, label=name)
        left.plot(case["steps"], case["errors"], "--", color=curve.get_color())
    left.set(title="2·JSD − log 4 − V, nats;\ndashed: sup |D − D*|", yscale="log", xlabel="discriminator updates")
    left.locator_params(axis="x", nbins=3)
    left.legend(loc="lower left")
    line, plane = row["cases"]["1-D"], row["cases"]["2-D"]
    middle.plot(line["axis"], line["optimal"], color="tab:blue", alpha=0.3, linewidth=5, label="D*")
    middle.plot(line["axis"], line["prob"], "tab:blue", linestyle="--", label="D, learned")
    middle.set(title="1-D", ylim=(-0.02, 1.02), xlabel="x")
    middle.legend(fontsize=7)
    extent = (plane["axis"][0], plane["axis"][-1]) * 2
    for axes, name, title in ((right, "optimal", "2-D: D*"), (far, "prob", "2-D: D, learned")):
        picture = axes.imshow(np.array(plane[name]).T, origin="lower", extent=extent, vmin=0, vmax=1, cmap="coolwarm")
        axes.set(title=title, xlim=(-4, 4), ylim=(-4, 4))
    figure.colorbar(picture, ax=far, label="D")
    return figure


_SETTINGS = {"checkpoints": 10, "rate": 6e-3, "panel_steps": 1500, "seed": 0}
EXPERIMENT = report.Experiment(
    "optimal_discriminator",
    run,
    table,
    plot,
    short=_SETTINGS | {"steps": 1000, "batch_size": 512},
    full=_SETTINGS | {"steps": 30_000, "batch_size": 2048},
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
