"""V(D, G) and the players' objectives: functions of the logits, unreduced, in nats where they are log probabilities.

Each formula is one function `(real_logits [B], fake_logits [B]) -> [B]` of the logits of the whole batch, whose mean the caller
takes: D ascends `Objective.disc`, G descends `Objective.gen`. G's formulas see the real logits too; most ignore them.
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
    """Hold the two players' objectives as functions of the logits.

    disc: its mean is **ascended** by D. gen: its mean is **descended** by G.
    is_probability: sigmoid(logit) is P(real), so that V, D(x) and the JSD bound are meaningful.
    paired: G's formula reads the real logits, so that its update needs a fresh batch of real examples.
    equilibrium: the means of disc and gen when the generator has the data's density and D is optimal; None for a mean that is
        undetermined, as when any constant D is optimal.
    threshold: the logit above which D classifies a sample as real; None if D only ranks real against fake.
    """

    disc: Callable[[jax.Array, jax.Array], jax.Array]
    gen: Callable[[jax.Array, jax.Array], jax.Array]
    is_probability: bool = False
    paired: bool = False
    equilibrium: tuple[float | None, float | None] = (None, None)
    threshold: float | None = None


def value(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """V(D, G) = log D(x) + log(1 - D(G(z))), in (-inf, 0]; Goodfellow et al. 2014 eq. 1, notes 000 eq. 1.

    log(1 - sigmoid(l)) is log_sigmoid(-l): finite, with finite slopes, at any float32 logit.
    """
    return jax.nn.log_sigmoid(real_logits) + jax.nn.log_sigmoid(-fake_logits)


def saturating(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """log(1 - D(G(z))), G's own term of V (notes 001 eq. 2). Its slope -sigmoid(l) vanishes where D rejects a fake."""
    del real_logits
    return jax.nn.log_sigmoid(-fake_logits)


def non_saturating(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-log D(G(z)) (notes 000 eq. 3). Its slope -sigmoid(-l) is near -1 where D rejects a fake."""
    del real_logits
    return -jax.nn.log_sigmoid(fake_logits)


def hinge_disc(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-max(0, 1 - D(x)) - max(0, 1 + D(G(z))), in (-inf, 0] (Lim and Ye 2017; Miyato et al. 2018 eq. 16)."""
    return -jax.nn.relu(1.0 - real_logits) - jax.nn.relu(1.0 + fake_logits)


def least_squares_disc(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-(D(x) - 1)^2 / 2 - D(G(z))^2 / 2 of the outputs themselves, without a sigmoid (Mao et al. 2017 eq. 9)."""
    return -((real_logits - 1.0) ** 2) / 2 - fake_logits**2 / 2


def least_squares_gen(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """(D(G(z)) - 1)^2 / 2: its slope grows with the distance from the decision, on either side."""
    del real_logits
    return (fake_logits - 1.0) ** 2 / 2


def wasserstein_disc(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """D(x) - D(G(z)) (Arjovsky et al. 2017 eq. 3): it estimates W1 if D is 1-Lipschitz, which a penalty has to enforce."""
    return real_logits - fake_logits


def minus_fake_logits(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-D(G(z)), G's loss under the hinge and the Wasserstein objective."""
    del real_logits
    return -fake_logits


def relativistic_disc(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """log sigmoid(D(x) - D(G(z))) of real i and fake i (Jolicoeur-Martineau 2019; Huang et al. 2024 eq. 2): D ranks pairs."""
    return jax.nn.log_sigmoid(real_logits - fake_logits)


def relativistic_gen(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-log sigmoid(D(G(z)) - D(x)): the roles swapped, which does not saturate where D ranks every pair right."""
    return -jax.nn.log_sigmoid(fake_logits - real_logits)


def relativistic_average_disc(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """log sigmoid(D(x) - E D(G(z))) + log(1 - sigmoid(D(G(z)) - E D(x))) (Jolicoeur-Martineau 2019, section 4.2).

    The means are over the whole batch, and gradients pass through them.
    """
    return value(real_logits - jnp.mean(fake_logits), fake_logits - jnp.mean(real_logits))


def relativistic_average_gen(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """The negative of D's formula with real and fake swapped."""
    return -relativistic_average_disc(fake_logits, real_logits)


def accuracy(real_logits: jax.Array, fake_logits: jax.Array, threshold: float | None) -> jax.Array:
    """Return D's share of right decisions, a scalar in [0, 1], from real and fake logits `[B]`.

    A real logit above the threshold is right, and a fake one below it; both kinds have equal weight. Without a threshold, a
    pair of real i and fake i is right if the real logit is larger.
    """
    if threshold is None:
        return jnp.mean(real_logits > fake_logits)
    return (jnp.mean(real_logits > threshold) + jnp.mean(fake_logits < threshold)) / 2


def js_lower_bound(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """(E[V(D, G)] + log 4) / 2, a scalar in nats: at most JSD(p, q) for every D, with equality at D* (notes 000 eq. 21)."""
    return js_bound_of_value(jnp.mean(value(real_logits, fake_logits)))


def js_bound_of_value(value: jax.Array) -> jax.Array:
    """(V + log 4) / 2: the lower bound of the JSD from a mean V."""
    return (value - VALUE_AT_EQUILIBRIUM) / 2


_LOG_2 = math.log(2.0)

OBJECTIVES: dict[str, Objective] = {
    "minimax": Objective(value, saturating, is_probability=True, equilibrium=(-2 * _LOG_2, -_LOG_2), threshold=0.0),
    "non_saturating": Objective(value, non_saturating, is_probability=True, equilibrium=(-2 * _LOG_2, _LOG_2), threshold=0.0),
    "least_squares": Objective(least_squares_disc, least_squares_gen, equilibrium=(-1 / 4, 1 / 8), threshold=0.5),
    "wasserstein": Objective(wasserstein_disc, minus_fake_logits, equilibrium=(0.0, None)),
    "hinge": Objective(hinge_disc, minus_fake_logits, equilibrium=(-2.0, None), threshold=0.0),
    "relativistic": Objective(relativistic_disc, relativistic_gen, paired=True, equilibrium=(-_LOG_2, _LOG_2)),
    "relativistic_average": Objective(
        relativistic_average_disc, relativistic_average_gen, paired=True, equilibrium=(-2 * _LOG_2, 2 * _LOG_2)
    ),
}
"""Name -> objective. A new one is a function, an entry here, and a test of its closed form."""
