"""The optimisers that a config can name."""

from collections.abc import Callable
from typing import Any

import optax


def _adam(rate: Any, b1: float, b2: Any) -> optax.GradientTransformation:
    # Only this wrapper lets b2 be a function of the count; it keeps the numbers in the state.
    return optax.inject_hyperparams(optax.adam)(rate, b1=b1, b2=b2) if callable(b2) else optax.adam(rate, b1=b1, b2=b2)


OPTIMIZERS: dict[str, Callable[[Any, float, Any], optax.GradientTransformation]] = {
    "adam": _adam,
    "sgd": lambda rate, b1, b2: optax.sgd(rate),
}
"""Name -> `make(learning rate, b1, b2)`; the rate and b2 are numbers, or functions of the optimiser's count."""
