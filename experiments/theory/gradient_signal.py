"""Does G's gradient point where the divergence falls, as D is trained ahead, and what do R1 and R2 change?

Claims: notes 001 and 003 (where D is sure of the fakes, log(1 − D) gives no gradient; a D nearer to D* gives a better one);
gan_jax/theory/optima.py (at D*, G follows the divergence named there). Continues saturation.py, with every objective. G is a
mixture of two affine maps, whose density is known, so that the true gradient is a sum over the cells of a line; D, an MLP, is
trained alone for n more updates; then G's gradient, from 4,096 samples by the package's own `gen_update`, is compared with it.

Command: python experiments/theory/gradient_signal.py [--full]      seconds: 5; long form 195, one core of two
Expect (10 seeds): as D is trained 1,000 updates ahead, the cosine to what G descends at D* rises to 0.995 and more for minimax,
non-saturating, least squares, hinge and relativistic pairs. For Wasserstein without a penalty it falls to 0.85, while the norm
grows from 4 to 46,000; with R1 + R2 the norm stays at 2.4. R1 + R2 turn the pairs' gradient, 0.965, towards the JSD's, 0.993.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import known
import report
from gan_jax.data import Batch
from gan_jax.evaluation.results import mean_and_error, plus_minus
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import constant
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import disc_update, gen_update, train_step
from gan_jax.theory.distributions import GaussianMixture
from gan_jax.theory.divergences import js_from_logs
from gan_jax.theory.optima import OPTIMA, wasserstein_on_line

DATA = GaussianMixture(np.array([[-2.0], [1.5]]), np.array([[0.5], [0.8]]))
_MEANS, _LINE, _CELLS, _PROBE = ((-0.5,), (0.5,)), (-8.0, 8.0), 320, 4096


def true_gradients(name: str, quadrature: known.Quadrature, params: Any) -> dict[str, jax.Array]:
    """Return the gradients of the JSD, and of what this objective's G descends at D* (of the JSD where no formula is known)."""

    def wasserstein(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
        return wasserstein_on_line(jnp.exp(log_p), jnp.exp(log_q), quadrature.points[:, 0])

    own = OPTIMA[name].of_gen if name in OPTIMA else wasserstein if name == "wasserstein" else js_from_logs

    def of(formula: Any) -> jax.Array:
        def divergence(params: Any) -> jax.Array:
            return formula(quadrature.log_p + quadrature.log_width, quadrature.log_q(params) + quadrature.log_width)

        return ravel_pytree(jax.grad(divergence)(params))[0]

    return {"js": of(js_from_logs), "own": of(own)}


def follow(
    name: str, gamma: float, rng: jax.Array, leads: tuple[int, ...], warm_up: int, batch_size: int
) -> dict[str, jax.Array]:
    """Train both players, then D alone, with one seed: norm of G's gradient and cosines to the true ones, at each lead of D."""
    gen = known.AffineMixture(2, 1, lambda rng, shape: jnp.asarray(_MEANS))
    gan = known.make_gan(gen, optax.sgd(1e-2), optax.adam(2e-3, b1=0.5), objective=name, hidden=(64, 64))
    if gamma:
        gan = replace(gan, penalties=tuple((PENALTIES[each], constant(gamma)) for each in ("r1", "r2")))
    quadrature = known.make_quadrature(DATA, *_LINE, count=_CELLS)
    init_rng, train_rng, probe_rng = jax.random.split(rng, 3)
    probe = Batch(DATA.sample(probe_rng, (_PROBE,)))

    def both(step: jax.Array, state: TrainState) -> TrainState:
        step_rng = jax.random.fold_in(train_rng, step)
        return train_step(gan, state, Batch(DATA.sample(step_rng, (gan.batches_per_step, batch_size))), step_rng)[0]

    def alone(update: jax.Array, state: TrainState) -> TrainState:
        update_rng = jax.random.fold_in(train_rng, warm_up + update)
        return disc_update(gan, state, Batch(DATA.sample(update_rng, (batch_size,))), update_rng)[0]

    def measure(state: TrainState) -> dict[str, jax.Array]:
        after, metrics = gen_update(_unit(gan), state, probe, probe_rng)
        gradient = ravel_pytree(state.params.gen)[0] - ravel_pytree(after.params.gen)[0]
        truths = true_gradients(name, quadrature, state.params.gen)
        cosines = {
            f"cosine_{which}": jnp.dot(gradient, truth) / (jnp.linalg.norm(gradient) * jnp.linalg.norm(truth) + 1e-30)
            for which, truth in truths.items()
        }
        return cosines | {"norm": metrics["grad_norm/gen"], "norm_own": jnp.linalg.norm(truths["own"])}

    state = jax.lax.fori_loop(0, warm_up, both, create_state(gan, init_rng))
    at_leads: dict[str, jax.Array] = known.measure_at_leads(state, leads, alone, measure)
    return at_leads


def _unit(gan: GAN) -> GAN:
    """Return the recipe whose G moves by its gradient itself."""
    return replace(gan, optimizers=Players(optax.sgd(1.0), gan.optimizers.disc))


def run(
    objectives: tuple[str, ...], gammas: tuple[float, ...], leads: tuple[int, ...], warm_up: int, batch_size: int, seeds: int
) -> Mapping[str, Any]:
    """Follow every objective with and without penalties, all seeds at once."""
    rngs, games = jax.random.split(jax.random.key(0), seeds), {}
    for name, gamma in itertools.product(objectives, gammas):
        game = jax.jit(jax.vmap(lambda rng, name=name, gamma=gamma: follow(name, gamma, rng, leads, warm_up, batch_size)))
        games[f"{name}, γ = {gamma:g}"] = game(rngs)
    return {"games": games}


def table(row: report.Row) -> list[dict[str, Any]]:
    """List norms and cosines at the first and at the last lead, mean ± SE over seeds."""
    leads = row["settings"]["leads"]
    return [
        {
            "objective": name,
            **{
                f"{label}, lead {leads[column]}": plus_minus(np.array(game[key])[:, column])
                for label, key in (
                    ("‖∇‖", "norm"),
                    ("cosine to what G should descend", "cosine_own"),
                    ("cosine to the JSD's gradient", "cosine_js"),
                )
                for column in (0, len(leads) - 1)
            },
        }
        for name, game in row["games"].items()
    ]


def plot(row: report.Row) -> Figure:
    """Plot norm and cosines over D's lead; dashed: with R1 and R2."""
    figure = report.make_figure(height=4.6)
    panels = figure.subplots(1, 3)
    leads = row["settings"]["leads"]
    names = list(dict.fromkeys(name.partition(",")[0] for name in row["games"]))
    for axes, key, title in zip(
        panels,
        ("norm", "cosine_own", "cosine_js"),
        ("norm of G's gradient", "cosine to what G descends at D*", "cosine to the gradient of the JSD"),
        strict=True,
    ):
        for name, game in row["games"].items():
            objective, _, penalty = name.partition(", ")
            mean = [mean_and_error(column)[0] for column in np.transpose(game[key])]
            dashed = penalty != "γ = 0"
            label = None if dashed else objective.replace("_", " ")
            axes.plot(range(len(leads)), mean, "--" if dashed else "-", color=f"C{names.index(objective)}", label=label)
        axes.set_xticks(range(len(leads)), [str(lead) for lead in leads])
        axes.set(title=title, xlabel="updates of D alone")
    panels[0].set_yscale("log")
    figure.legend(*panels[1].get_legend_handles_labels(), title="dashed: with R1 + R2", loc="outside lower center", ncols=4)
    return figure


_SETTINGS = {"warm_up": 20, "batch_size": 256}
EXPERIMENT = report.Experiment(
    "gradient_signal",
    run,
    table,
    plot,
    short=_SETTINGS | {"objectives": ("minimax", "relativistic"), "gammas": (0.0, 0.1), "leads": (0, 10, 100), "seeds": 2},
    full=_SETTINGS | {"objectives": tuple(OBJECTIVES), "gammas": (0.0, 0.1), "leads": (0, 10, 100, 1000), "seeds": 10},
    legend=(
        "lead: updates of D alone before the measurement; γ: weight of R1 and of R2; what G should descend: the last column of "
        "the chapter's section 2, for relativistic_average, which has no formula, the JSD."
    ),
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
