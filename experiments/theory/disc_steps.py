"""Does each generator update decrease the true Jensen–Shannon divergence, and do more discriminator updates make it so?

Claim (notes 002, section 1.6.1): "are these iterations really decrease JS divergence? There is a strong assumption …
D0* ≈ D1*. To make this possible, we should train discriminator more often and train generator less." G is a mixture of affine
maps, so that the JSD is known before and after each of its updates. The package's `train_step` trains 10 seeds in one vmapped
call, for several k and several ratios of D's learning rate to G's. k = ∞ is D* itself.

Command: python experiments/theory/disc_steps.py [--full]      seconds: 22; long form 198, one core of two
Expect (10 seeds, equal rates): of G's updates before the JSD is 0.01, 81 % lower it with k = 1, 98 % with 5, 99.8 % with 20,
99.3 % against D* itself. D* moves by 0.001 a step even with k = 1: the assumption holds, it is D that lags behind. Below 0.01
the noise of the batches dominates: over the whole run the share is 64 to 75 %, and 46 % with D*, whose JSD is soon 1e-8.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import known
import report
from gan_jax.evaluation.results import mean_and_error, plus_minus
from gan_jax.theory.distributions import GaussianMixture

DATA = GaussianMixture(np.array([[-2.0], [1.5]]), np.array([[0.5], [0.8]]))
_MEANS, _LINE = ((-0.5,), (0.5,)), (-8.0, 8.0)
_INFINITE = "k = ∞: D*"


def _name(disc_steps: int, ratio: float) -> str:
    return f"k = {disc_steps}, rate × {ratio:g}"


def play(disc_steps: int | None, ratio: float, rate: float, steps: int, batch_size: int, seeds: int) -> dict[str, jax.Array]:
    """Train all seeds at once with one k and one ratio: shares and JSDs `[seeds]`."""
    gen = known.AffineMixture(2, 1, lambda rng, shape: jnp.asarray(_MEANS))
    adam = partial(optax.adam, b1=0.5)
    optimal = {"data": DATA} if disc_steps is None else {"disc_steps": disc_steps}
    gan = known.make_gan(gen, adam(rate), adam(rate * ratio), **optimal)
    quadrature = known.make_quadrature(DATA, *_LINE, count=400)
    game = partial(known.play, gan, DATA, quadrature, num_steps=steps, batch_size=batch_size)
    _, course = jax.jit(jax.vmap(game))(jax.random.split(jax.random.key(0), seeds))
    falls = course["js_after"] < course["js"]
    far = jnp.cumsum(course["js"] < 0.01, axis=-1) == 0  # until the JSD is first below 0.01
    return {
        "share": jnp.mean(falls, axis=-1),
        "share_far": jnp.sum(falls & far, axis=-1) / jnp.maximum(1, jnp.sum(far, axis=-1)),
        "final_js": jnp.mean(course["js"][:, -steps // 10 :], axis=-1),
        "shift": jnp.mean(course["shift"], axis=-1),
        "lag": jnp.mean(course["js"] - course["estimate"], axis=-1),
        "js": jnp.mean(course["js"], axis=0)[:: max(1, steps // 100)],
    }


def run(
    disc_steps: tuple[int, ...], ratios: tuple[float, ...], rate: float, steps: int, batch_size: int, seeds: int
) -> Mapping[str, Any]:
    """Train with every k and every ratio, and with D*."""
    game = partial(play, rate=rate, steps=steps, batch_size=batch_size, seeds=seeds)
    learned = {_name(k, ratio): game(k, ratio) for k in disc_steps for ratio in ratios}
    return {"games": learned | {_INFINITE: game(None, 1.0)}}


def table(row: report.Row) -> list[dict[str, Any]]:
    """List means ± SE over seeds."""
    return [
        {
            "k, D's learning rate over G's": name,
            "share of G's updates that lower the JSD": plus_minus(game["share"]),
            "share before JSD < 0.01": plus_minus(game["share_far"]),
            "final JSD": plus_minus(game["final_js"]),
            "JSD − D's estimate": plus_minus(game["lag"]),
            "mean of abs(D0* − D1*)": plus_minus(game["shift"]),
        }
        for name, game in row["games"].items()
    ]


def plot(row: report.Row) -> Figure:
    """Plot share and final JSD over k, and the JSD over the steps, for each ratio."""
    settings = row["settings"]
    figure = report.make_figure(height=3.4)
    share, final, course = figure.subplots(1, 3)
    exact = row["games"][_INFINITE]
    for ratio in settings["ratios"]:
        games = [row["games"][_name(k, ratio)] for k in settings["disc_steps"]]
        for axes, name in ((share, "share_far"), (final, "final_js")):
            means, errors = np.transpose([mean_and_error(game[name]) for game in games])
            axes.errorbar(
                settings["disc_steps"], means, errors, marker="o", capsize=3, label=f"D's learning rate {ratio:g} × G's"
            )
    for axes, name in ((share, "share_far"), (final, "final_js")):
        axes.axhline(mean_and_error(exact[name])[0], color="k", linestyle="--", label="D*, exact")
        axes.set(xscale="log", xlabel="k, discriminator updates per generator update")
        axes.set_xticks(settings["disc_steps"], [str(k) for k in settings["disc_steps"]], minor=False)
        axes.minorticks_off()
        axes.legend(fontsize=8)
    share.axhline(0.5, color="grey", linestyle=":")
    share.set(title="share of updates that lower the JSD,\nbefore it is 0.01", ylim=(0.45, 1.02))
    title = f"JSD at the end, nats (D*: {mean_and_error(exact['final_js'])[0]:.0e})"
    final.set(title=title, yscale="log", ylim=(1e-6, 1e-2))
    step = np.arange(len(exact["js"])) * max(1, settings["steps"] // 100)
    for k in settings["disc_steps"]:
        course.plot(step, row["games"][_name(k, settings["ratios"][len(settings["ratios"]) // 2])]["js"], label=f"k = {k}")
    course.plot(step, exact["js"], "k--", label="D*, exact")
    course.set(title=f"JSD, nats, mean of {settings['seeds']} seeds", yscale="log", ylim=(1e-6, 1), xlabel="generator updates")
    course.legend(fontsize=8)
    return figure


_SETTINGS = {"rate": 1e-2, "batch_size": 128}
EXPERIMENT = report.Experiment(
    "disc_steps",
    run,
    table,
    plot,
    short=_SETTINGS | {"disc_steps": (1, 5), "ratios": (1.0,), "steps": 300, "seeds": 4},
    full=_SETTINGS | {"disc_steps": (1, 2, 5, 20), "ratios": (0.2, 1.0, 5.0), "steps": 1000, "seeds": 10},
    legend=(
        "k: updates of D for each of G. D0*, D1*: the best D before and after an update of G. D's estimate is (V + log 4)/2. "
        "Against D* the JSD soon is 1e-8, the rounding of float32, and the share of all updates says nothing."
    ),
)

if __name__ == "__main__":
    report.main(EXPERIMENT)
