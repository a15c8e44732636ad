"""Does the generator's gradient vanish where D is sure of the fakes, and does −log D cure it?

Claim (notes 001, figures a and b; notes 003): log(1 − D) is flat where D(G(z)) is near 0, −log D is steep, "in effect, the
objective remains the same, but the gradient signal becomes better". With respect to the logit l the slopes are −σ(l) and
−σ(−l). Then two MLPs are trained on the ring, D alone is trained for n more updates, and the gradient of G is measured under
either loss.

Command: python experiments/theory/saturation.py [--full]      seconds: 13; long form 133, one core of two
Expect: at l = −8 slopes of −3.35e-4 and −0.9997, as claimed. In training, the claim holds in part (10 seeds): as E[D(G(z))]
falls from 0.37 to 0.005, the gradient under log(1 − D) falls only from 2.6 to 1.1, since a sharper D has a steeper logit, which
makes up for most of the vanishing σ(l). Under −log D the same steepness raises the gradient from 4 to 530.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import known
import report
from gan_jax.data import Batch
from gan_jax.evaluation.results import plus_minus
from gan_jax.networks import make_networks
from gan_jax.objectives import OBJECTIVES
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import disc_update, gen_update, train_step
from gan_jax.theory.distributions import ring

LOSSES = {name: OBJECTIVES[name].gen for name in ("minimax", "non_saturating")}


def curves(logits: np.ndarray) -> dict[str, dict[str, jax.Array]]:
    """Return each loss of G and its slope at the fake logits `[N]`; neither depends on the real ones."""
    with jax.enable_x64(True):
        real, fake = jnp.zeros(len(logits)), jnp.asarray(logits)
        return {
            name: {"loss": loss(real, fake), "slope": jax.vmap(jax.grad(loss, argnums=1))(real, fake)}
            for name, loss in LOSSES.items()
        }


def make_gan(rate: float) -> GAN:
    """Make a GAN of two MLPs on points in the plane."""
    adam = optax.adam(rate, b1=0.5)
    return GAN(make_networks("mlp", (2,)), Players(adam, adam), OBJECTIVES["minimax"], sample_shape=(2,), latent_dim=2)


def follow(rng: jax.Array, leads: tuple[int, ...], warm_up: int, batch_size: int, rate: float) -> dict[str, jax.Array]:
    """Train both players, then D alone, with one seed: gradient norms of G, and E[D(G(z))], at each lead of D."""
    density, gan = ring(), make_gan(rate)
    init_rng, train_rng, probe_rng = jax.random.split(rng, 3)
    probe = Batch(density.sample(probe_rng, (4096,)))

    def both(step: jax.Array, state: TrainState) -> TrainState:
        step_rng = jax.random.fold_in(train_rng, step)
        return train_step(gan, state, Batch(density.sample(step_rng, (1, batch_size))), step_rng)[0]

    def alone(update: jax.Array, state: TrainState) -> TrainState:
        update_rng = jax.random.fold_in(train_rng, warm_up + update)
        return disc_update(gan, state, Batch(density.sample(update_rng, (batch_size,))), update_rng)[0]

    def measure(state: TrainState) -> dict[str, jax.Array]:
        recipes = {name: replace(gan, objective=OBJECTIVES[name]) for name in LOSSES}
        norms = {name: gen_update(recipe, state, probe, probe_rng)[1]["grad_norm/gen"] for name, recipe in recipes.items()}
        return norms | {"prob/fake": disc_update(gan, state, probe, probe_rng)[1]["prob/fake"]}

    state = jax.lax.fori_loop(0, warm_up, both, create_state(gan, init_rng))
    at_leads: dict[str, jax.Array] = known.measure_at_leads(state, leads, alone, measure)
    return at_leads


def run(leads: tuple[int, ...], warm_up: int, batch_size: int, rate: float, seeds: int) -> Mapping[str, Any]:
    """Compute the closed forms, and train all seeds at once."""
    logits = np.linspace(-10, 10, 81)  # -8 is one of them
    rngs = jax.random.split(jax.random.key(0), seeds)
    by_seed = jax.jit(jax.vmap(lambda rng: follow(rng, leads, warm_up, batch_size, rate)))(rngs)
    return {"logits": logits, "curves": curves(logits), "by_seed": by_seed}


def table(row: report.Row) -> list[dict[str, Any]]:
    """List gradient norms of G over D's lead, mean ± SE over seeds."""
    by_seed = {name: np.array(numbers) for name, numbers in row["by_seed"].items()}
    return [
        {
            "updates of D alone": lead,
            "E[D(G(z))]": plus_minus(by_seed["prob/fake"][:, column]),
            "‖∇‖ of log(1 − D), minimax": plus_minus(by_seed["minimax"][:, column]),
            "‖∇‖ of −log D, non-saturating": plus_minus(by_seed["non_saturating"][:, column]),
        }
        for column, lead in enumerate(row["settings"]["leads"])
    ]


def plot(row: report.Row) -> Figure:
    """Plot figures a and b of notes 001 with their slopes, and the gradient norms in training."""
    figure = report.make_figure(height=3.2)
    losses, by_logit, game = figure.subplots(1, 3)
    logits, names = np.array(row["logits"]), {"minimax": "log(1 − D)", "non_saturating": "−log D"}
    for name, label in names.items():
        curve = row["curves"][name]
        losses.plot(1 / (1 + np.exp(-logits)), curve["loss"], label=label)
        by_logit.plot(logits, -np.array(curve["slope"]), label=f"{label}: {'σ(l)' if name == 'minimax' else 'σ(−l)'}")
        by_seed = np.array(row["by_seed"][name])
        error = by_seed.std(axis=0, ddof=1) / np.sqrt(len(by_seed)) if len(by_seed) > 1 else None
        game.errorbar(np.arange(by_seed.shape[1]), by_seed.mean(axis=0), error, marker="o", capsize=3, label=label)
    losses.axvspan(0, 0.1, color="tab:red", alpha=0.15, label="D is sure of a fake")
    losses.set(title="the generator's losses, nats", xlabel="D(G(z))", ylim=(-5, 5))
    by_logit.set(title="|slope| over D's logit", xlabel="logit l of D(G(z))", yscale="log")
    by_logit.locator_params(axis="x", nbins=5)
    game.set(title=f"ring, {len(by_seed)} seeds: gradient norm of G", xlabel="updates of D alone", yscale="log")
    game.set_xticks(np.arange(by_seed.shape[1]), [str(lead) for lead in row["settings"]["leads"]])
    for axes in (losses, by_logit, game):
        axes.legend(fontsize=8)
    return figure


_SETTINGS = {"warm_up": 20, "batch_size": 256, "rate": 1e-3}
EXPERIMENT = report.Experiment(
    "saturation",
    run,
    table,
    plot,
    short=_SETTINGS | {"leads": (0, 10, 100, 1000), "seeds": 2},
    full=_SETTINGS | {"leads": (0, 10, 100, 1000, 10_000), "seeds": 10},
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
