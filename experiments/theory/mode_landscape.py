"""Do relativistic pairs have no bad basins, where separable losses have exponentially many?

Claim (Sun et al. 2020, theorems 1 to 3): with n data points and n free generated points, max_D of a separable loss has n^n − n!
strict local minima that are not global, with fakes together on one data point; that of relativistic pairs has none, and from
everywhere a path that never rises leads to the global minimum. There real i is always paired with fake i. The landscape over
all arrangements of the fakes, each on one of the data points or away from all, is computed in full here, for that pairing and
for independent pairs, as the batches of a training step have; D is unconstrained, its optimum a closed form. Then fakes
are moved by the package's own `train_step` against an MLP, from 1,000 random starts.

Command: python experiments/theory/mode_landscape.py [--full]      seconds: 20; long form 154, one core of two
Expect: the claim holds for the fixed pairing, and fails for independent pairs: these have the n^n − n! bad minima too. Hinge,
though separable, has none: a second fake on a data point gains nothing in the total variation.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.figure import Figure

import report
from gan_jax.data import Batch
from gan_jax.networks.mlp import Discriminator
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import constant
from gan_jax.state import GAN, Players, TrainState, create_state
from gan_jax.steps import train_step
from gan_jax.theory.optima import OPTIMA

_FIXED = "relativistic, fixed pairs"
LANDSCAPES = ("minimax", "least_squares", "hinge", "relativistic", _FIXED)
GAMES = ("non_saturating", "relativistic", _FIXED)


def on_cycles(places: tuple[int, ...]) -> int:
    """Count the i that come back to themselves under i -> places[i]; n is away from all data."""
    count = len(places)

    def returns(first: int) -> bool:
        at = first
        for _ in range(count):
            at = places[at]
            if at in (first, count):
                break
        return at == first

    return sum(returns(first) for first in range(count))


def landscape(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all arrangements `[(n + 1)^n, n]`, fake i on data point a_i or, n, away; and max_D of the objective at each."""
    places = np.array(list(itertools.product(range(count + 1), repeat=count)))
    if name == _FIXED:
        # Along a cycle of pairs the logits' differences sum to 0, so that each is 0 at best; all others are won for nothing.
        return places, np.array([-np.log(2) * on_cycles(tuple(each)) / count for each in places])
    shares = np.stack([(places == place).mean(axis=-1) for place in range(count + 1)], axis=-1)
    p = np.append(np.full(count, 1 / count), 0.0)
    with jax.enable_x64(True), np.errstate(divide="ignore"):
        log_p, log_q = jnp.asarray(np.broadcast_to(np.log(p), shares.shape)), jnp.asarray(np.log(shares))
        return places, np.asarray(OPTIMA[name].value(log_p, log_q))


def neighbours(places: np.ndarray) -> np.ndarray:
    """Return the arrangements `[N, n * (n + 1)]`, by index, that one fake's move leads to: off its data point, or on to any."""
    count = places.shape[-1]
    digits = (count + 1) ** np.arange(count)[::-1]
    index = places @ digits
    moves = []
    for fake, to in itertools.product(range(count), range(count + 1)):
        allowed = (places[:, fake] == count) | (to == count)  # between two data points lies the open
        moves.append(np.where(allowed, index + (to - places[:, fake]) * digits[fake], index))
    return np.stack(moves, axis=-1)


def explore(name: str, count: int, starts: int, moves: int) -> dict[str, Any]:
    """Count minima and traps of a landscape, and descend it at random from many starts."""
    places, values = landscape(name, count)
    around = neighbours(places)
    rises = np.where(around == np.arange(len(places))[:, None], np.inf, values[around] - values[:, None])
    strict, best = np.all(rises > 1e-9, axis=-1), values < values.min() + 1e-9
    escapes = best
    while True:  # whence a path that never rises leads to the best
        wider = escapes | np.any(escapes[around] & (rises < 1e-9), axis=-1)
        if np.array_equal(wider, escapes):
            break
        escapes = wider
    rng = np.random.default_rng(0)
    at = rng.integers(len(places), size=starts)
    for _ in range(moves):
        choice = rng.integers(around.shape[-1], size=starts)
        at = np.where(rises[at, choice] < 1e-9, around[at, choice], at)
    covered = np.array([len(set(each) - {count}) for each in places])
    bad = strict & ~best
    return {
        "best": values.min(),
        "global_minima": int(best.sum()),
        "bad_minima": int(bad.sum()),
        "lowest_way_out": rises[bad].min() if bad.any() else 0.0,
        "trapped": float(np.mean(~escapes)),
        "values": values[strict | best],
        "covered": np.bincount(covered[at], minlength=count + 1) / starts,
    }


class Points(nn.Module):
    """G: n free points, each `repeat` times in turn, whatever the latents."""

    count: int
    repeat: int

    @nn.compact
    def __call__(self, latents: jax.Array, labels: None, train: bool) -> jax.Array:
        points = self.param("points", nn.initializers.normal(0.5), (self.count, 2))
        return jnp.tile(points, (self.repeat, 1))


def play(name: str, count: int, penalty: float, starts: int, steps: int, rate: float) -> dict[str, Any]:
    """Train the points against an MLP from many starts: the share of starts that end with so many data points covered."""
    pairs = 1 if name == _FIXED else count  # all pairs of a real and a fake point, or i with i
    angles = 2 * np.pi * np.arange(count) / count
    data = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=-1), jnp.float32)
    adam = optax.adam(rate, b1=0.0, b2=0.99)
    gan = GAN(
        networks=Players(Points(count, pairs), Discriminator((32, 32))),
        optimizers=Players(adam, adam),
        objective=OBJECTIVES[name.partition(",")[0]],
        sample_shape=(2,),
        latent_dim=1,
        penalties=tuple((PENALTIES[each], constant(penalty)) for each in ("r1", "r2")) if penalty else (),
    )
    real = jnp.repeat(data, pairs, axis=0)
    batches = Batch(jnp.broadcast_to(real, (gan.batches_per_step, *real.shape)))

    def follow(rng: jax.Array) -> jax.Array:
        def one_step(_: jax.Array, state: TrainState) -> TrainState:
            return train_step(gan, state, batches, rng)[0]

        return jax.lax.fori_loop(0, steps, one_step, create_state(gan, rng)).params.gen["points"]

    points = jax.jit(jax.vmap(follow))(jax.random.split(jax.random.key(0), starts))
    apart = jnp.linalg.norm(points[:, :, None] - data[None, None], axis=-1)
    covered = jnp.sum(jnp.min(apart, axis=1) < 0.2, axis=-1)
    return {"covered": jnp.bincount(covered, length=count + 1) / starts, "points": points[:4]}


def run(
    count: int, starts: int, moves: int, games: tuple[str, ...], penalties: tuple[float, ...], steps: int, rate: float
) -> Mapping[str, Any]:
    """Explore every landscape, and play every game."""
    return {
        "landscapes": {name: explore(name, count, starts, moves) for name in LANDSCAPES},
        "games": {
            f"{name}, γ = {penalty:g}": play(name, count, penalty, starts, steps, rate)
            for name in games
            for penalty in penalties
        },
    }


def table(row: report.Row) -> list[dict[str, Any]]:
    """List the minima of each landscape, and how many data points each game covers."""
    count = row["settings"]["count"]
    lines = [
        {
            "objective": f"{name}, D at its optimum",
            "global minima": case["global_minima"],
            "bad strict minima": case["bad_minima"],
            "lowest barrier": case["lowest_way_out"],
            "arrangements without a descending path": f"{100 * case['trapped']:.1f} %",
            f"starts that end with all {count}": f"{100 * case['covered'][-1]:.1f} %",
            "mean covered": float(np.arange(count + 1) @ np.array(case["covered"])),
        }
        for name, case in row["landscapes"].items()
    ]
    empty = dict.fromkeys(list(lines[0])[1:5], "")
    for name, case in row["games"].items():
        ends = {
            list(lines[0])[5]: f"{100 * case['covered'][-1]:.1f} %",
            "mean covered": float(np.arange(count + 1) @ np.array(case["covered"])),
        }
        lines.append({"objective": f"{name}, D an MLP", **empty, **ends})
    return lines


def plot(row: report.Row) -> Figure:
    """Plot the values of minima, and the shares of starts by data points covered."""
    figure = report.make_figure(height=3.6)
    minima, exact, learned = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    for index, case in enumerate(row["landscapes"].values()):
        values, counts = np.unique(np.round(np.array(case["values"]) / abs(case["best"]), 6), return_counts=True)
        minima.scatter(np.full(len(values), index), values, s=6 + 20 * np.log1p(counts), alpha=0.6)
    labels = [name.replace("_", " ").replace(", ", ",\n") for name in row["landscapes"]]
    minima.set_xticks(range(len(labels)), labels, rotation=60)
    minima.set(title="strict local and global minima,\nvalue / |lowest value|; area: count")
    for axes, cases in ((exact, row["landscapes"]), (learned, row["games"])):
        start = np.zeros(len(cases))
        for covered in range(row["settings"]["count"] + 1):
            shares = np.array([case["covered"][covered] for case in cases.values()])
            axes.barh(
                range(len(cases)),
                shares,
                left=start,
                color=f"{1 - covered / (row['settings']['count'] + 1):.2f}",
                label=str(covered),
            )
            start += shares
        axes.set_yticks(range(len(cases)), [name.replace("_", " ") for name in cases])
        axes.set_xlabel("share of starts")
        axes.invert_yaxis()
    exact.set(title="random descent, D optimal:\ndata points covered")
    learned.set(title="train_step, D an MLP:\ndata points covered")
    learned.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2), title="covered")
    return figure


_SETTINGS = {"rate": 3e-3, "games": GAMES, "penalties": (0.0, 0.1)}
EXPERIMENT = report.Experiment(
    "mode_landscape",
    run,
    table,
    plot,
    short=_SETTINGS | {"games": ("relativistic",), "count": 4, "starts": 100, "moves": 500, "steps": 500},
    full=_SETTINGS | {"count": 5, "starts": 1000, "moves": 5000, "steps": 1000},
    legend=(
        "A bad minimum is strict and not global; its barrier is the least rise of a first move out of it. In fixed pairs real "
        "i always meets fake i, otherwise pairs are independent. γ: weight of R1 and of R2."
    ),
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
