"""How the pure step is run: the one file that knows `jit` and donation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from gan_jax.data import Dataset
from gan_jax.state import GAN, TrainState
from gan_jax.steps import Metrics, train_step

Step = Callable[[TrainState, Any, jax.Array], tuple[TrainState, Metrics]]


def make_step(gan: GAN, dataset: Dataset) -> Step:
    """`step(state, draw, rng) -> (state, metrics)`, compiled once; `draw` is `dataset.draw(seed, step)`.

    The state that goes in is donated: keep the one that comes out. The data set's arrays are arguments of the compiled
    function, not constants in it, and the batch is gathered inside.
    """

    @partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, arrays: Any, draw: Any, rng: jax.Array) -> tuple[TrainState, Metrics]:
        return train_step(gan, state, dataset.load(arrays, draw), rng)

    return lambda state, draw, rng: step(state, dataset.arrays, draw, rng)
