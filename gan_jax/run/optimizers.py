"""The optimisers that a config can name."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax


def _adam(rate: Any, b1: float, b2: Any) -> optax.GradientTransformation:
    if not callable(b2):
        return optax.adam(rate, b1=b1, b2=b2)
    # Only this wrapper lets b2 be a function of the count; it keeps all numbers in the state, and takes constants from there.
    injected = optax.inject_hyperparams(optax.adam)(rate, b1=b1, b2=b2)
    constants = {name: number for name, number in (("learning_rate", rate), ("b1", b1)) if not callable(number)}

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        # A state that was saved under another config has the constants of that one.
        own = {name: jnp.asarray(number, state.hyperparams[name].dtype) for name, number in constants.items()}
        return injected.update(gradients, state._replace(hyperparams=state.hyperparams | own), params)

    return optax.GradientTransformation(injected.init, update)


OPTIMIZERS: dict[str, Callable[[Any, float, Any], optax.GradientTransformation]] = {
    "adam": _adam,
    "sgd": lambda rate, b1, b2: optax.sgd(rate),
}
"""Name -> `make(learning rate, b1, b2)`; the rate and b2 are numbers, or functions of the optimiser's count."""
