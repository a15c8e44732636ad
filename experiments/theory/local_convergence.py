"""Which updates converge near an equilibrium, for every objective with every regulariser?

Claims: Mescheder et al. 2018 (convergence with R1, R2 or instance noise, none without regularisation or with WGAN-GP and
DRAGAN); Huang et al. 2024 (relativistic pairs with R1 + R2 converge); notes 002 (train D more often), notes 003 (a
GAN "eventually minimizes the distance"). Two games, whose expectations are exact: Dirac's, data at 0, G(z) = θ, D linear; and a
Gaussian one, data N(0, 1), G(z) = μ + s z, D of x and x². The Jacobian is that of the package's own updates at the equilibrium,
by automatic differentiation; beside it stand the radius of gan_jax/theory/games.py, and the rate of a real trajectory.

Command: python experiments/theory/local_convergence.py [--full]      seconds: 20; long form 296, one core of two
Expect: for gradient steps, radii as in the formula to six digits. Without damping simultaneous steps diverge and alternating
ones circle. R1, R2 or both make gradient steps converge, for every objective; so does noise where there is curvature, but not
simultaneous steps of relativistic average. WGAN-GP, DRAGAN and Adam (0, .99) never converge.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import report
from exact_games import KINKED, LAZY, PLAYS, REGULARISERS, closed_form, jacobian, make_gan, make_step, start, trajectory
from gan_jax.objectives import OBJECTIVES
from gan_jax.theory import games

_PATHS = ("relativistic",)  # of which the row keeps trajectories
_COMPILER = {"xla_backend_optimization_level": 0}  # one program for each cell of a column: compiling is most of the time


def measured_rate(points: np.ndarray) -> float | None:
    """Return the factor a step by which the distance changes, while it is between 1e-12 and 1e-3."""
    distance = np.linalg.norm(points, axis=-1)
    linear = np.cumsum(~((distance > 1e-12) & (distance < 1e-3))) == 0
    steps = np.flatnonzero(linear)
    return float(np.exp(np.polyfit(steps, np.log(distance[steps]), 1)[0])) if len(steps) > 20 else None


# What is compiled together: regularisers that differ in numbers alone, the penalties among them, and the ways to play them.
_GROUPS = (
    (("none", "R1", "R2", "R1 + R2", "noise"), ("r1", "r2"), PLAYS),
    (("lazy R1 + R2",), ("r1", "r2"), ("alternating", "k = 5", "Adam (0, .99)")),
    (KINKED, ("gradient_penalty", "dragan"), ("alternating", "Adam (0, .99)")),
    (("spectral norm",), (), ("alternating", "Adam (0, .99)")),
)


def play_group(
    objective: str, game: str, group: tuple[tuple[str, ...], ...], play: str, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Play one objective in one way with each regulariser of a group: radius, formula, rate, where G ends from afar."""
    regularisers, penalties, _ = group
    block = LAZY if regularisers[0].startswith("lazy") else 1

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
        "measured": measured_rate(found["near"]) if exists and not play.startswith("Adam") and name not in KINKED else None,
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
        title="change of distance per step",
        xlabel="spectral radius",
        ylabel="measured",
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
    legend=(
        "✓ converges, ○ keeps its distance to first order, ✗ does not converge. The number is the spectral radius of a step "
        "near the equilibrium: below 1, 1, or above. Where that says nothing (Adam, WGAN-GP, DRAGAN, spectral norm), 'ends at' "
        "is G's largest distance from the equilibrium in the last 100 steps of a game that starts far from it, and ✓ means "
        "below 1e-3. Blank: not tried. k = 5: five updates of D for each of G; Adam (β1, β2); noise: ±σ, with equal chance, on "
        "real and fake samples; lazy: every eighth step, eight times as heavy; dirac: data 0, G(z) = θ, D linear; gaussian: "
        "data N(0, 1), G(z) = μ + s z, D of x and x²."
    ),
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
