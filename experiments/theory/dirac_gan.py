"""Does the game converge, even with one parameter for each player?

Claim (notes 003): a GAN "eventually minimizes the distance" between data and model; (notes 002): train D more often for that.
The Dirac-GAN (Mescheder et al. 2018): data at 0, G(z) = θ, logit l(x) = ψx, V = −log 2 + log(1 − σ(ψθ)). Both gradients at the
equilibrium (0, 0) are c = η·σ(0) = η/2 times a rotation, so that every way to play has a closed-form spectral radius.

Command: python experiments/theory/dirac_gan.py [--full]      seconds: 10, in either form
Expect: simultaneous updates spiral outwards, with radius √(1 + η²/4); alternating updates stay on a closed curve for every k;
the penalty R1 and extra-gradient spiral inwards. Measured radii agree with the formulas to 1e-15. The claim fails here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.figure import Figure

import report
from gan_jax.data import Batch
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import disc_update, gen_update, train_step

Play = Callable[[jax.Array], jax.Array]

_SHOWN = 400  # steps of each trajectory that the row keeps and the figure shows


class Point(nn.Module):
    """G(z) = θ, for every z."""

    @nn.compact
    def __call__(self, latents: jax.Array, labels: None, train: bool) -> jax.Array:
        return jnp.broadcast_to(self.param("theta", nn.initializers.ones, (1, 1)), (latents.shape[0], 1))


class Slope(nn.Module):
    """l(x) = ψx."""

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        return jnp.reshape(samples @ self.param("psi", nn.initializers.zeros, (1, 1)), -1)


def make_gan(rate: float, gamma: float = 0.0) -> GAN:
    """Make the Dirac-GAN with the saturating loss and plain gradient steps; gamma: the weight of R1."""
    sgd = optax.sgd(rate)
    gan = GAN(Players(Point(), Slope()), Players(sgd, sgd), OBJECTIVES["minimax"], sample_shape=(1,), latent_dim=1)
    # Not `constant(gamma)`, which is float32.
    return replace(gan, penalties=((PENALTIES["r1"], lambda step: jnp.asarray(gamma)),)) if gamma else gan


def make_plays(rate: float, gamma: float, disc_steps: int) -> dict[str, Play]:
    """Make one step of each way to play, (θ, ψ) `[2]` -> `[2]`, of the package's updates."""
    plain, penalised = make_gan(rate), make_gan(rate, gamma)
    template, rng, batch = create_state(plain, jax.random.key(0)), jax.random.key(0), Batch(jnp.zeros((1, 1)))

    def state_at(point: jax.Array) -> TrainState:
        params = Players({"theta": point[0].reshape(1, 1)}, {"psi": point[1].reshape(1, 1)})
        return template.replace(params=params)

    def theta(state: TrainState) -> jax.Array:
        return state.params.gen["theta"].reshape(())

    def psi(state: TrainState) -> jax.Array:
        return state.params.disc["psi"].reshape(())

    def simultaneous(point: jax.Array, gan: GAN = plain) -> jax.Array:
        state = state_at(point)
        return jnp.stack([theta(gen_update(gan, state, batch, rng)[0]), psi(disc_update(gan, state, batch, rng)[0])])

    def alternating(point: jax.Array, disc_steps: int = 1) -> jax.Array:
        batches = jax.tree.map(lambda leaf: jnp.stack([leaf] * disc_steps), batch)
        state, _ = train_step(replace(plain, disc_steps=disc_steps), state_at(point), batches, rng)
        return jnp.stack([theta(state), psi(state)])

    def extra_gradient(point: jax.Array) -> jax.Array:
        ahead = simultaneous(point)
        return point + simultaneous(ahead) - ahead

    return {
        "simultaneous": simultaneous,
        "alternating": alternating,
        f"k = {disc_steps}": partial(alternating, disc_steps=disc_steps),
        "R1": partial(simultaneous, gan=penalised),  # which adds γψ²/2 to what D descends
        "extra-gradient": extra_gradient,
    }


def closed_forms(rate: float, gamma: float, disc_steps: int) -> dict[str, float]:
    """Return the spectral radii of the steps' Jacobians at (0, 0), from trace and determinant.

    k updates of D and one of G have determinant 1 and trace 2 − kc²: a rotation as long as kc² ≤ 4.
    """
    c = rate / 2
    return {
        "simultaneous": np.sqrt(1 + c**2),
        "alternating": _radius(2 - c**2, 1.0),
        f"k = {disc_steps}": _radius(2 - disc_steps * c**2, 1.0),
        "R1": _radius(2 - rate * gamma, 1 - rate * gamma + c**2),
        "extra-gradient": np.sqrt(1 - c**2 + c**4),
    }


def _radius(trace: float, determinant: float) -> float:
    """Return the larger |λ| of λ² − trace·λ + determinant = 0."""
    root = np.sqrt(complex(trace**2 / 4 - determinant))
    return float(max(abs(trace / 2 + root), abs(trace / 2 - root)))


def spectral_radius(play: Play) -> float:
    """Return the spectral radius of the step's Jacobian at the equilibrium."""
    return float(np.max(np.abs(np.linalg.eigvals(jax.jit(jax.jacfwd(play))(jnp.zeros(2))))))


def trajectory(play: Play, start: jax.Array, steps: int) -> np.ndarray:
    """Play so many steps: (θ, ψ) `[steps + 1, 2]`."""

    def step(point: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return play(point), point

    last, points = jax.jit(lambda: jax.lax.scan(step, start, length=steps))()
    return np.concatenate([points, last[None]])


def run(rates: tuple[float, ...], rate: float, gamma: float, disc_steps: int, steps: int) -> Mapping[str, Any]:
    """Measure radii over learning rates, and trajectories from (1, 0) at one of these."""
    with jax.enable_x64(True):
        measured = {r: {name: spectral_radius(play) for name, play in make_plays(r, gamma, disc_steps).items()} for r in rates}
        paths = {
            name: trajectory(play, jnp.array([1.0, 0.0]), steps) for name, play in make_plays(rate, gamma, disc_steps).items()
        }
    formulas = {r: closed_forms(r, gamma, disc_steps) for r in rates}
    return {
        "plays": {
            name: {
                "radius": measured[rate][name],
                "closed_form": formulas[rate][name],
                "radii": [measured[r][name] for r in rates],
                "closed_forms": [formulas[r][name] for r in rates],
                "final_distance": np.linalg.norm(path[-1]),
                "path": path[:_SHOWN],
            }
            for name, path in paths.items()
        },
        "largest_error": max(abs(measured[r][name] - formulas[r][name]) for r in rates for name in paths),
    }


def table(row: report.Row) -> list[dict[str, Any]]:
    """List radius and final distance of each way to play."""
    steps = row["settings"]["steps"]
    return [
        {
            "play": name,
            "radius": f"{play['radius']:.6f}",
            "closed form": f"{play['closed_form']:.6f}",
            f"distance from (0, 0) after {steps} steps, of 1": play["final_distance"],
        }
        for name, play in row["plays"].items()
    ]


def plot(row: report.Row) -> Figure:
    """Plot trajectories, and radii over the learning rate: dots are measured, lines are closed forms."""
    settings = row["settings"]
    figure = Figure(figsize=(12, 7), layout="constrained")
    figure.suptitle(f"Dirac-GAN: one parameter for each player, η = {settings['rate']}, R1 γ = {settings['gamma']}")
    panels = figure.subplots(2, 3).ravel()
    for panel, (name, play) in zip(panels, row["plays"].items(), strict=False):
        path = np.array(play["path"])
        panel.plot(*path.T, linewidth=0.8)
        panel.plot(*path[0], "ko", *path[-1], "r^", 0, 0, "k+", markersize=7)
        reach = 1.05 * max(1.0, float(np.abs(path).max()))
        panel.set(title=f"{name}, radius {play['radius']:.4f}", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        panel.set(xlabel="θ, the generator", ylabel="ψ, the discriminator")
    for index, (name, play) in enumerate(row["plays"].items()):
        panels[-1].plot(settings["rates"], play["closed_forms"], color=f"C{index}", linewidth=5 - index, label=name)
        panels[-1].plot(settings["rates"], play["radii"], "ko", markersize=3)
    panels[-1].axhline(1.0, color="grey", linestyle=":")
    panels[-1].set(title="spectral radius (dots: measured)", xlabel="learning rate η", ylim=(0.85, 1.2))
    panels[-1].legend(fontsize=8)
    return figure


_SETTINGS = {"rates": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3), "rate": 0.2, "gamma": 0.3, "disc_steps": 5}
EXPERIMENT = report.Experiment(
    "dirac_gan", run, table, plot, short=_SETTINGS | {"steps": 300}, full=_SETTINGS | {"steps": 2000}
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
