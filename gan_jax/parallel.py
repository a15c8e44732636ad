"""How the pure step is run: the one file that knows `jit`, donation, and how many steps go to the device in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Dataset, Draw
from gan_jax.errors import InputError
from gan_jax.state import GAN, TrainState
from gan_jax.steps import Metrics, train_step


def _loops_are_slow(gan: GAN) -> bool:
    """XLA:CPU runs a convolution inside a loop about ten times slower (jax issue 12868); points need no convolutions."""
    return jax.default_backend() == "cpu" and len(gan.sample_shape) > 1


@dataclass(frozen=True)
class Step:
    """`step(state, draws, rng) -> (state, metrics)`: a training step for each draw, metrics `[len(draws)]`."""

    run: Any
    arrays: Any
    one_by_one: bool

    def __call__(self, state: TrainState, draws: Sequence[Draw], rng: jax.Array) -> tuple[TrainState, Metrics]:
        if len(draws) == 1 or not self.one_by_one:
            return self.run(state, self.arrays, _stack(draws), rng)
        singles = []
        for draw in draws:
            state, metrics = self(state, [draw], rng)
            singles.append(metrics)
        return state, jax.tree.map(lambda *numbers: jnp.concatenate(numbers), *singles)

    def lower(self, state: TrainState, draws: Sequence[Draw], rng: jax.Array) -> jax.stages.Lowered:
        """What a call with these arguments dispatches, for its cost and memory."""
        return self.run.lower(state, self.arrays, _stack(draws[:1] if self.one_by_one else draws), rng)


def _stack(draws: Sequence[Draw]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *draws)


def make_step(gan: GAN, dataset: Dataset) -> Step:
    """The training step on a data set, jitted.

    draws: `dataset.draw(seed, step)` for consecutive steps; they go to the device in one dispatch, except for images on a CPU,
    where a loop would be slow. Compiled once for each number of draws. The state that goes in is donated: keep the one that
    comes out. The data set's arrays are arguments of the compiled function, not constants in it; batches are gathered inside.
    """
    if dataset.sample_shape != gan.sample_shape:
        raise InputError(
            f"the data set has samples {dataset.sample_shape}, the GAN makes {gan.sample_shape}: give both one shape"
        )

    @partial(jax.jit, donate_argnums=0)
    def run(state: TrainState, arrays: Any, draws: Any, rng: jax.Array) -> tuple[TrainState, Metrics]:
        def one_step(state: TrainState, draw: Any) -> tuple[TrainState, Metrics]:
            return train_step(gan, state, dataset.load(arrays, draw), rng)

        if len(jax.tree.leaves(draws)[0]) > 1:
            return jax.lax.scan(one_step, state, draws)
        state, metrics = one_step(state, jax.tree.map(lambda leaf: leaf[0], draws))
        return state, jax.tree.map(lambda number: number[None], metrics)

    return Step(run, dataset.arrays, one_by_one=_loops_are_slow(gan))


def auto_steps_per_call(gan: GAN, interval: int) -> int:
    """How many steps to dispatch at once where the state is needed every `interval` steps: a divisor of it, up to 100."""
    if _loops_are_slow(gan):
        return 1
    return max(count for count in range(1, 101) if interval % count == 0)
