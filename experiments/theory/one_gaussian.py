"""One Gaussian fitted to two modes by some divergence: what several scripts share."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes

from gan_jax.theory.distributions import GaussianMixture, gaussian

PLACE, WIDTH = 3.0, 0.5
TWO_MODES = GaussianMixture(np.array([[-PLACE], [PLACE]]), WIDTH)


def minimise(loss: Callable[[Any], jax.Array], start: Any, optimizer: optax.GradientTransformation, steps: int) -> Any:
    """Descend a loss of the parameters from the given ones; return the last."""

    def one_step(_: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return jax.lax.fori_loop(0, steps, one_step, (start, optimizer.init(start)))[0]


def draw_fits(axes: Axes, fits: Mapping[str, Mapping[str, float]], *, data_label: str | None = None) -> None:
    """Draw the density of the two modes, and of each fit, by its label, with its mean ± standard deviation."""
    ticks = jnp.linspace(-8, 8, 400)[:, None]
    axes.fill_between(ticks[:, 0], np.exp(TWO_MODES.log_prob(ticks)), color="grey", alpha=0.4, label=data_label)
    for label, fit in fits.items():
        height = np.exp(gaussian(np.array([fit["mean"]]), fit["stddev"]).log_prob(ticks))
        axes.plot(ticks[:, 0], height, label=f"{label}: {fit['mean']:z.2f} ± {fit['stddev']:.2f}")
    axes.set_xlabel("x")
    axes.legend(loc="upper left")
