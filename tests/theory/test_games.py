"""Matrices of the linearised game: the published radii, and the objectives' own derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.objectives import OBJECTIVES
from gan_jax.theory.games import SLOPES, adam, alternating, extra_gradient, lazy, make_mode, simultaneous, spectral_radius


@pytest.mark.parametrize("name", OBJECTIVES)
def test_slopes_are_the_derivatives_of_the_objective(name):
    slopes, objective = SLOPES[name], OBJECTIVES[name]
    real, fake = jnp.array([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])  # all pairs of ±1: mean 0, variance 1

    def disc(weight, shift):
        return jnp.mean(objective.disc(slopes.offset + weight * real, slopes.offset + weight * (fake + shift)))

    def gen(weight, shift):
        return jnp.mean(objective.gen(slopes.offset + weight * real, slopes.offset + weight * (fake + shift)))

    assert float(jax.grad(jax.grad(disc), argnums=1)(0.0, 0.0)) == pytest.approx(-slopes.to_disc, abs=1e-6)
    assert float(jax.grad(jax.grad(gen), argnums=1)(0.0, 0.0)) == pytest.approx(-slopes.to_gen, abs=1e-6)
    assert float(jax.grad(jax.grad(disc))(0.0, 0.0)) == pytest.approx(-slopes.curvature, abs=1e-6)
    assert float(jax.grad(disc)(0.0, 0.0)) == pytest.approx(0.0, abs=1e-6)


def test_radii_of_mescheder_et_al():
    """√(1 + η²/4) without damping; 1 for alternating steps of any k while kη²/4 ≤ 4; √det with R1, by its trace."""
    rate, gamma = 0.2, 0.3
    plain, damped = make_mode("minimax"), make_mode("minimax", penalty=gamma)
    assert spectral_radius(simultaneous(plain, rate)) == pytest.approx(np.sqrt(1 + rate**2 / 4), abs=1e-12)
    assert spectral_radius(alternating(plain, rate)) == pytest.approx(1, abs=1e-12)
    assert spectral_radius(alternating(plain, rate, 5)) == pytest.approx(1, abs=1e-12)
    assert spectral_radius(simultaneous(damped, rate)) == pytest.approx(np.sqrt(1 - rate * gamma + rate**2 / 4), abs=1e-12)
    c = rate / 2
    assert spectral_radius(extra_gradient(plain, rate)) == pytest.approx(np.sqrt(1 - c**2 + c**4), abs=1e-12)
    assert spectral_radius(alternating(damped, rate)) == pytest.approx(np.sqrt(1 - rate * gamma), abs=1e-12)


def test_a_lazy_penalty_has_the_same_strength_on_average_until_its_step_is_too_long():
    plain = make_mode("relativistic")
    each = spectral_radius(alternating(plain._replace(damping=0.1), 0.1))
    assert spectral_radius(lazy(plain, 0.1, 0.1, 8), 8) == pytest.approx(each, abs=3e-4)
    assert spectral_radius(alternating(plain._replace(damping=4.0), 0.1)) < 1
    assert spectral_radius(lazy(plain, 4.0, 0.1, 8), 8) > 1  # 8 · 4 · 0.1 is beyond 2


def test_adam_with_a_large_epsilon_is_gradient_descent():
    mode = make_mode("relativistic", penalty=0.3)
    assert spectral_radius(adam(mode, 0.2, 0.0, 1.0)) == pytest.approx(spectral_radius(alternating(mode, 0.2)), abs=1e-12)
    assert spectral_radius(adam(mode, 0.2, 0.0)) > 1e6
