"""The value function V(D, G) and the players' objectives, from logits, unreduced.

`D(x) = sigmoid(logit)`, natural logarithms (nats). D ascends `Objective.disc`, G descends `Objective.gen`; each formula is one
function that maps logits `[B]` to `[B]`, and whoever calls it takes the mean.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

VALUE_AT_EQUILIBRIUM = -math.log(4.0)
"""min over G of max over D of V: reached when the generator has the data's density and D = 1/2 everywhere."""

VALUE_WHEN_DISJOINT = 0.0
"""The supremum of V: D separates real from fake without error."""


class Objective(NamedTuple):
    """What the two players do with the logits.

    disc: `(real_logits [B], fake_logits [B]) -> [B]`, its mean is **ascended** by D.
    gen: `(fake_logits [B]) -> [B]`, its mean is **descended** by G.
    """

    disc: Callable[[jax.Array, jax.Array], jax.Array]
    gen: Callable[[jax.Array], jax.Array]


def value(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """V(D, G) = log D(x) + log(1 - D(G(z))), in (-inf, 0]; Goodfellow et al. 2014 eq. 1, seed 000 eq. 1.

    log(1 - sigmoid(l)) is log_sigmoid(-l): finite, with finite slopes, at any float32 logit.
    """
    return jax.nn.log_sigmoid(real_logits) + jax.nn.log_sigmoid(-fake_logits)


def saturating(fake_logits: jax.Array) -> jax.Array:
    """log(1 - D(G(z))), G's own term of V (seed 001 eq. 2). Slope -sigmoid(l): it vanishes where D is sure of a fake."""
    return jax.nn.log_sigmoid(-fake_logits)


def non_saturating(fake_logits: jax.Array) -> jax.Array:
    """-log D(G(z)) (seed 000 eq. 3). Slope -sigmoid(-l): near -1 where D is sure of a fake."""
    return -jax.nn.log_sigmoid(fake_logits)


def js_lower_bound(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """(E[V(D, G)] + log 4) / 2, a scalar in nats: at most JSD(p, q) for every D, with equality at D* (seed 000 eq. 21)."""
    return (jnp.mean(value(real_logits, fake_logits)) - VALUE_AT_EQUILIBRIUM) / 2


OBJECTIVES: dict[str, Objective] = {
    "minimax": Objective(disc=value, gen=saturating),
    "non_saturating": Objective(disc=value, gen=non_saturating),
}
"""Name -> objective. A new one is a function, an entry here, and a test of its closed form."""
