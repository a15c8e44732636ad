"""Schedules are closed forms of the step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.schedules import SHAPES, constant, cosine, half_life_decay, linear, warmed_up_decay


def test_cosine_is_half_a_period_then_the_end():
    schedule = cosine(2e-4, 5e-5, 100)
    steps = jnp.array([0, 25, 50, 75, 100, 250], jnp.int32)
    share = np.minimum(np.asarray(steps) / 100, 1)
    expected = 5e-5 + (2e-4 - 5e-5) * (1 + np.cos(np.pi * share)) / 2
    np.testing.assert_allclose(jax.vmap(schedule)(steps), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(schedule)(steps[2]), (2e-4 + 5e-5) / 2, rtol=1e-6)


def test_linear_is_a_line_then_the_end():
    numbers = [float(linear(1.0, 0.0, 4)(jnp.int32(step))) for step in range(7)]
    np.testing.assert_allclose(numbers, [1, 0.75, 0.5, 0.25, 0, 0, 0], atol=1e-7)


def test_half_of_an_average_is_forgotten_over_its_half_life():
    """1,000 images of 50 a step: after 20 steps a half; a half-life of 0 forgets all; a ramp-up of 0.05 bounds it early."""
    decay = half_life_decay(constant(1000.0), 50)
    np.testing.assert_allclose(np.prod([float(decay(jnp.int32(step))) for step in range(20)]), 0.5, rtol=1e-5)
    assert float(half_life_decay(constant(0.0), 50)(jnp.int32(7))) == 0.0
    ramped = half_life_decay(constant(1000.0), 50, ramp_up=0.05)
    np.testing.assert_allclose(float(ramped(jnp.int32(100))), 0.5 ** (50 / 250), rtol=1e-5)
    np.testing.assert_allclose(float(ramped(jnp.int32(1000))), 0.5 ** (50 / 1000), rtol=1e-5)
    growing = half_life_decay(cosine(0.0, 1000.0, 10), 50)
    np.testing.assert_allclose(float(growing(jnp.int32(5))), 0.5 ** (50 / 500), rtol=1e-5)


def test_every_shape_begins_at_its_start_and_stays_at_its_end():
    for make in SHAPES.values():
        schedule = make(1.0, 0.1, 8)
        numbers = np.array([float(schedule(jnp.int32(step))) for step in range(12)])
        assert numbers[0] == 1.0
        np.testing.assert_allclose(numbers[8:], 0.1, rtol=1e-6)
        assert np.all(np.diff(numbers[:9]) < 0)
        with pytest.raises(InputError, match=r"num_steps=0 of a schedule must be > 0: take constant"):
            make(1.0, 0.1, 0)


def test_constant_and_warmed_up_decay():
    assert float(constant(0.3)(jnp.int32(5))) == np.float32(0.3)
    for step in (0, 1, 8, 1000):
        assert float(warmed_up_decay(0.99)(jnp.int32(step))) == np.float32(min(0.99, (1 + step) / (10 + step)))
