"""Which play converges, near an equilibrium: every objective with every regulariser, played in every way?

Claims: Mescheder et al. 2018 (no convergence without regularisation, with R1, R2 or instance noise there is, with WGAN-GP and
DRAGAN there is not); Huang et al. 2024 (relativistic pairs with R1 + R2 converge); notes 002 (train D more often), notes 003 (a
GAN "eventually minimizes the distance"). Two games, whose expectations are exact: Dirac's, data at 0, G(z) = θ, D linear; and a
Gaussian one, data N(0, 1), G(z) = μ + s z, D of x and x². The Jacobian is that of the package's own updates at the equilibrium,
by automatic differentiation; beside it stand the radius of gan_jax/theory/games.py, and the rate of a real trajectory.

Command: python experiments/theory/local_convergence.py [--full]      seconds: 20; long form 250 of CPU
Expect: radii by formula to six digits for gradient steps. Without damping simultaneous steps leave and alternating ones
circle; R1, R2 and both converge, for every objective, by gradient steps; noise does for those with a curvature; WGAN-GP, DRAGAN
and Adam (0, .99) never do.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import report
from gan_jax.data import Batch
from gan_jax.networks.layers import SpectralNorm
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import disc_update, gen_update, train_step
from gan_jax.theory import games

# Regulariser -> weights of the penalties in units of γ, and the noise on data and samples in units of σ.
REGULARISERS = {
    "none": ({}, 0.0),
    "R1": ({"r1": 1.0}, 0.0),
    "R2": ({"r2": 1.0}, 0.0),
    "R1 + R2": ({"r1": 1.0, "r2": 1.0}, 0.0),
    "noise": ({}, 1.0),
    "WGAN-GP": ({"gradient_penalty": 1.0}, 0.0),
    "DRAGAN": ({"dragan": 1.0}, 0.0),
    "lazy R1 + R2": ({"r1": 1.0, "r2": 1.0}, 0.0),
    "spectral norm": ({}, 0.0),
}
PLAYS = ("simultaneous", "alternating", "k = 5", "extra-gradient", "Adam (0, .99)", "Adam (.5, .999)")
_KINKED = ("WGAN-GP", "DRAGAN")  # (|ψ| − 1)² has no slope at ψ = 0
_LAZY = 8
_PATHS = ("relativistic",)  # of which the row keeps trajectories
_COMPILER = {"xla_backend_optimization_level": 0}  # one program for each cell of a column: compiling is most of the time


def nodes(game: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (z, sign of the noise) of all equally likely pairs of a real and a fake point, `[2, B]` each.

    z by the three-point Gauss–Hermite rule, exact for polynomials up to degree 5; the noise is ±σ.
    """
    ticks = [0.0] if game == "dirac" else [-np.sqrt(3), 0, 0, 0, 0, np.sqrt(3)]
    points = np.array([(z, sign) for z in ticks for sign in (-1, 1)])
    pairs = np.stack([np.repeat(points, len(points), axis=0), np.tile(points, (len(points), 1))])
    return pairs[..., 0], pairs[..., 1]


class Affine(nn.Module):
    """G(z) = θ_0 + (1 + θ_1) z + noise, for the given z and noise `[B]`, whatever the latents; θ is 0 at the equilibrium."""

    size: int
    z: Any
    noise: Any

    @nn.compact
    def __call__(self, latents: jax.Array, labels: None, train: bool) -> jax.Array:
        theta = self.param("theta", nn.initializers.zeros, (self.size,))
        return (theta[0] + (1 + theta[-1] * (self.size > 1)) * self.z + self.noise)[:, None]


class Features(nn.Module):
    """l(x) = offset + ψ_0 x + ψ_1 (x² − 1)/√2, of which the first `size` features; spectral: ψ over its norm instead."""

    size: int
    offset: float
    spectral: bool = False

    @nn.compact
    def __call__(self, samples: jax.Array, labels: None, train: bool) -> jax.Array:
        features = jnp.concatenate([samples, (samples**2 - 1) / jnp.sqrt(2.0)], axis=-1)[:, : self.size]
        weight = nn.Dense(1, use_bias=False, name="psi", kernel_init=nn.initializers.ones)
        return self.offset + (SpectralNorm(weight)(features, train) if self.spectral else weight(features)).reshape(-1)


def make_gan(objective: str, game: str, weights: Mapping[str, Any], noise: Any, *, regulariser: str = "none") -> GAN:
    """Make the recipe, without optimisers; weights and noise may be traced."""
    (_, z), (_, signs) = nodes(game)
    size = 1 + (game == "gaussian")
    disc = Features(size, games.SLOPES[objective].offset, regulariser == "spectral norm")
    penalties = tuple((PENALTIES[name], lambda step, weight=weight: weight) for name, weight in weights.items())
    idle = optax.identity()
    return GAN(
        networks=Players(Affine(size, jnp.asarray(z), noise * jnp.asarray(signs)), disc),
        optimizers=Players(idle, idle),
        objective=OBJECTIVES[objective],
        sample_shape=(1,),
        latent_dim=1,
        penalties=penalties,
        penalty_every=_LAZY if regulariser.startswith("lazy") else 1,
    )


def make_step(gan: GAN, game: str, play: str, noise: Any, rate: float, adam_rate: float) -> Callable[[TrainState], TrainState]:
    """Make one step of a way to play, of the package's own updates."""
    b1, b2 = (0.0, 0.99) if "(0" in play else (0.5, 0.999)
    # eps_root makes √v differentiable at v = 0, far below Adam's own 1e-8.
    one = optax.adam(adam_rate, b1, b2, eps_root=1e-30) if play.startswith("Adam") else optax.sgd(rate)
    gan = replace(gan, optimizers=Players(one, one), disc_steps=5 if play == "k = 5" else 1)
    (z, _), (signs, _) = nodes(game)
    real, key = (jnp.asarray(z) + noise * jnp.asarray(signs))[:, None], jax.random.key(0)
    batches = Batch(jnp.broadcast_to(real, (gan.batches_per_step, *real.shape)))

    def simultaneous(state: TrainState) -> TrainState:
        gen, disc = gen_update(gan, state, Batch(real), key)[0], disc_update(gan, state, Batch(real), key)[0]
        return disc.replace(params=Players(gen.params.gen, disc.params.disc), step=state.step + 1)

    def extra_gradient(state: TrainState) -> TrainState:
        ahead = simultaneous(state)
        beyond = simultaneous(ahead.replace(step=state.step))
        params = jax.tree.map(lambda here, there, last: here + last - there, state.params, ahead.params, beyond.params)
        return beyond.replace(params=params)

    special = {"simultaneous": simultaneous, "extra-gradient": extra_gradient}
    return special.get(play, lambda state: train_step(gan, state, batches, key)[0])


def start(gan: GAN, play: str, theta: float, psi: float) -> TrainState:
    """Return the state with all of θ and of ψ at one number, in float64."""
    optimizer = optax.adam(1.0) if play.startswith("Adam") else optax.sgd(1.0)
    state = create_state(replace(gan, optimizers=Players(optimizer, optimizer)), jax.random.key(0))
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state)
    at = Players(*(jnp.full_like(leaf, place) for leaf, place in zip(jax.tree.leaves(state.params), (theta, psi), strict=True)))
    return state.replace(params=jax.tree.unflatten(jax.tree.structure(state.params), at))


def jacobian(step: Callable[[TrainState], TrainState], state: TrainState) -> jax.Array:
    """Return the Jacobian of a step at a state, of all its numbers, those of the optimisers included, `[N, N]`."""
    # Adam's corrections of the first steps are over.
    settled = jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf + _LAZY * 10**6, state)
    flat, unravel = ravel_pytree(settled)
    return jax.jacfwd(lambda numbers: ravel_pytree(step(unravel(numbers)))[0])(flat)


def trajectory(step: Callable[[TrainState], TrainState], state: TrainState, steps: int) -> jax.Array:
    """Play so many steps: θ and ψ `[steps, P]` before each."""

    def one(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
        return step(state), ravel_pytree(state.params)[0]

    return jax.lax.scan(one, state, length=steps)[1]


def measured_rate(points: np.ndarray) -> float | None:
    """Return the factor a step by which the distance changes, while it is between 1e-12 and 1e-3."""
    distance = np.linalg.norm(points, axis=-1)
    linear = np.cumsum(~((distance > 1e-12) & (distance < 1e-3))) == 0
    steps = np.flatnonzero(linear)
    return float(np.exp(np.polyfit(steps, np.log(distance[steps]), 1)[0])) if len(steps) > 20 else None


def closed_form(objective: str, game: str, regulariser: str, play: str, settings: Mapping[str, Any]) -> float | None:
    """Return the spectral radius by formula, the largest over the modes of the game; None where there is none."""
    rate, adam_rate, gamma, sigma = (settings[name] for name in ("rate", "adam_rate", "gamma", "sigma"))
    if regulariser in (*_KINKED, "spectral norm") or (regulariser.startswith("lazy") and play not in ("alternating", "k = 5")):
        return None
    weights, noise = REGULARISERS[regulariser]
    weight, noisy = gamma * sum(weights.values()), (sigma * noise) ** 2
    # Of x: the slope's square is 1. Of (x² − 1)/√2: 2 E x², and its variance, with E x⁴ = 3 + 6σ² + σ⁴.
    second = ((3 + 6 * noisy + noisy**2) - 2 * (1 + noisy) + 1) / 2
    if objective in ("relativistic", "relativistic_average"):
        second -= noisy**2 / 2  # these see the variance, the others the second moment
    modes = [(1.0, noisy + (game == "gaussian"), weight)]
    if game == "gaussian":
        modes.append((np.sqrt(2), second, 2 * weight))
    radii = []
    for coupling, variance, penalty in modes:
        plain = games.make_mode(objective, coupling=coupling, variance=variance)
        mode = plain._replace(damping=plain.damping + penalty)
        if regulariser.startswith("lazy"):
            disc_steps = 5 if play == "k = 5" else 1
            radii.append(games.spectral_radius(games.lazy(plain, penalty, rate, _LAZY, disc_steps), _LAZY))
            continue
        by_play = {
            "simultaneous": lambda mode=mode: games.simultaneous(mode, rate),
            "alternating": lambda mode=mode: games.alternating(mode, rate),
            "k = 5": lambda mode=mode: games.alternating(mode, rate, 5),
            "extra-gradient": lambda mode=mode: games.extra_gradient(mode, rate),
            "Adam (0, .99)": lambda mode=mode: games.adam(mode, adam_rate, 0.0),
            "Adam (.5, .999)": lambda mode=mode: games.adam(mode, adam_rate, 0.5),
        }
        radii.append(games.spectral_radius(by_play[play]()))
    return max(radii)


# What is compiled together: regularisers that differ in numbers alone, the penalties among them, and the ways to play them.
_GROUPS = (
    (("none", "R1", "R2", "R1 + R2", "noise"), ("r1", "r2"), PLAYS),
    (("lazy R1 + R2",), ("r1", "r2"), ("alternating", "k = 5", "Adam (0, .99)")),
    (_KINKED, ("gradient_penalty", "dragan"), ("alternating", "Adam (0, .99)")),
    (("spectral norm",), (), ("alternating", "Adam (0, .99)")),
)


def play_group(
    objective: str, game: str, group: tuple[tuple[str, ...], ...], play: str, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Play one objective in one way with each regulariser of a group: radius, formula, rate, where G ends from afar."""
    regularisers, penalties, _ = group
    block = _LAZY if regularisers[0].startswith("lazy") else 1

    def compute(weights: jax.Array, noise: jax.Array) -> dict[str, jax.Array]:
        of_penalty = dict(zip(penalties, weights, strict=True))
        gan = make_gan(objective, game, of_penalty, noise, regulariser=regularisers[0])
        step = make_step(gan, game, play, noise, settings["rate"], settings["adam_rate"])
        near, far = (trajectory(step, start(gan, play, *place), settings["steps"]) for place in ((1e-4, 0.0), (0.7, 0.1)))
        rest = start(gan, play, 0.0, 0.0)
        steps = [jacobian(step, rest.replace(step=jnp.asarray(first, jnp.int32))) for first in range(min(block, 2))]
        return {"jacobians": jnp.stack(steps), "near": near, "far": far}

    numbers = [REGULARISERS[name] for name in regularisers]
    weights = settings["gamma"] * jnp.array([[unit.get(name, 0.0) for name in penalties] for unit, _ in numbers])
    noise = settings["sigma"] * jnp.array([noise for _, noise in numbers])
    found = jax.tree.map(np.asarray, jax.jit(jax.vmap(compute), compiler_options=_COMPILER)(weights, noise))
    return {
        name: _summary(objective, game, name, play, block, settings, jax.tree.map(lambda leaf, index=index: leaf[index], found))
        for index, name in enumerate(regularisers)
    }


def _summary(
    objective: str, game: str, name: str, play: str, block: int, settings: Mapping[str, Any], found: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    first, later = found["jacobians"][0], found["jacobians"][-1]
    end = np.abs(found["far"][-100:, : found["far"].shape[-1] // 2]).max()
    exists = name != "spectral norm"  # whose D has slope 1 wherever it is: there is no equilibrium
    summary = {
        "radius": games.spectral_radius(np.linalg.matrix_power(later, block - 1) @ first, block) if exists else None,
        "closed_form": closed_form(objective, game, name, play, settings),
        "measured": measured_rate(found["near"]) if exists and not play.startswith("Adam") and name not in _KINKED else None,
        "end": end if np.isfinite(end) else 1e30,
    }
    kept = game == "dirac" and objective in _PATHS and play in ("simultaneous", "alternating", "Adam (0, .99)")
    return summary | ({"path": found["far"][:300].round(5)} if kept and np.isfinite(end) else {})


def run(
    objectives: Mapping[str, tuple[str, ...]], groups: Mapping[str, int], regularisers: tuple[str, ...], **settings: Any
) -> Mapping[str, Any]:
    """Play everything: for each game these objectives, with the first so many groups of regularisers."""
    results: dict[str, Any] = {}
    with jax.enable_x64(True):
        for game, names in objectives.items():
            for objective in names:
                of_one = results.setdefault(game, {}).setdefault(objective, {})
                for names_of_group, penalties, plays in _GROUPS[: groups[game]]:
                    group = (tuple(name for name in names_of_group if name in regularisers), penalties, plays)
                    for play in plays if group[0] else ():
                        for name, entry in play_group(objective, game, group, play, settings).items():
                            of_one.setdefault(name, {})[play] = entry
    entries = [entry for game in results.values() for one in game.values() for by in one.values() for entry in by.values()]
    pairs = [(each["radius"], each["closed_form"]) for each in entries if each["radius"] and each["closed_form"]]
    return {"games": results, "largest_error": max(abs(radius / formula - 1) for radius, formula in pairs)}


def _verdict(entry: Mapping[str, Any]) -> str:
    """Return ✓ where it converges, ○ where it goes round, ✗ where it leaves, with the radius, or G's distance at the end."""
    radius, end = entry["radius"], entry["end"]
    if radius is None or radius > 1.5:
        return f"{'✓' if end < 1e-3 else '✗'} ends at {end:.0e}" if end < 1e6 else "✗ diverges"
    return f"{'○' if abs(radius - 1) < 1e-9 else '✓' if radius < 1 else '✗'} {radius:.4f}"


def table(row: report.Row) -> list[dict[str, Any]]:
    """List the radius of everything; where there is no radius that means something, G's distance from the data at the end."""
    return [
        {
            "game": game,
            "objective": objective,
            "regulariser": name,
            **{play: _verdict(by_play[play]) if play in by_play else "" for play in PLAYS},
        }
        for game, of_game in row["games"].items()
        for objective, of_one in of_game.items()
        for name, by_play in of_one.items()
    ]


def _path(axes: Axes, row: report.Row, objective: str, name: str, play: str) -> None:
    entry = row["games"]["dirac"][objective][name][play]
    path = np.array(entry["path"])
    axes.plot(*path.T, linewidth=0.8)
    axes.plot(*path[0], "ko", *path[-1], "r^", 0, 0, "k+", markersize=5)
    reach = 1.05 * max(0.8, float(np.abs(path).max()))
    axes.set(
        title=f"{objective}, {name},\n{play}: {_verdict(entry)}", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal"
    )
    axes.set(xlabel="θ, the generator", ylabel="ψ, the discriminator")


def plot(row: report.Row) -> Figure:
    """Plot trajectories of the Dirac game, and measured rates over the radii by formula."""
    figure = report.make_figure(height=7.2)
    panels = figure.subplots(2, 3).ravel()
    shown = (
        *(("relativistic", "none", "simultaneous"), ("relativistic", "none", "alternating")),
        *(("relativistic", "R1 + R2", "alternating"), ("relativistic", "WGAN-GP", "alternating")),
        ("relativistic", "R1 + R2", "Adam (0, .99)"),
    )
    for axes, which in zip(panels, shown, strict=False):
        if which[1] in row["games"]["dirac"][which[0]]:
            _path(axes, row, *which)
        else:
            axes.set_axis_off()
    last = panels[-1]
    for index, (game, of_game) in enumerate(row["games"].items()):
        entries = [entry for one in of_game.values() for by in one.values() for entry in by.values() if entry["measured"]]
        pairs = [(entry["radius"], entry["measured"]) for entry in entries]
        last.plot(*np.transpose(pairs), "o^"[index], markersize=3, label=f"{game}, {len(pairs)} games")
    last.plot([0.7, 1.2], [0.7, 1.2], "k:", linewidth=1)
    last.set(
        title="change of the distance a step,\nmeasured, over the spectral radius",
        xlim=(0.7, 1.1),
        ylim=(0.7, 1.1),
        aspect="equal",
    )
    last.legend()
    return figure


_SETTINGS = {"rate": 0.2, "adam_rate": 1e-2, "gamma": 0.3, "sigma": 0.5, "regularisers": tuple(REGULARISERS)}
EXPERIMENT = report.Experiment(
    "local_convergence",
    run,
    table,
    plot,
    short=_SETTINGS | {"objectives": {"dirac": ("relativistic",)}, "groups": {"dirac": 1}, "steps": 600},
    full=_SETTINGS
    | {
        "objectives": {
            "dirac": tuple(OBJECTIVES),
            "gaussian": ("minimax", "least_squares", "wasserstein", "relativistic", "relativistic_average"),
        },
        "groups": {"dirac": 4, "gaussian": 2},
        "steps": 2000,
    },
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
