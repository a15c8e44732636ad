"""Whether the arrays of a state are finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.errors import NonFiniteError
from gan_jax.run.checkpoints import leaves_by_path
from gan_jax.state import TrainState


@contextmanager
def naming_bad_leaf(state: TrainState) -> Iterator[None]:
    """Within it, let the error of a metric that is not finite also name the first leaf of the state that is not."""
    try:
        yield
    except NonFiniteError as error:
        leaf = _bad_leaf(state)
        raise NonFiniteError(f"{error}; nan or inf in {leaf}" if leaf else str(error)) from None


def check_finite(state: TrainState) -> None:
    """Raise `NonFiniteError` with the step and the first leaf that has nan or inf."""
    if leaf := _bad_leaf(state):
        raise NonFiniteError(f"step {int(state.step)}: nan or inf in {leaf}")


def _bad_leaf(state: TrainState) -> str | None:
    finite = leaves_by_path(jax.device_get(_are_finite(state)))
    return next((path for path, is_finite in finite.items() if not is_finite), None)


@jax.jit
def _are_finite(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), tree)
