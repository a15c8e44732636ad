"""Schedules are closed forms of the step."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.schedules import SHAPES, constant, cosine, warmed_up_decay


def test_cosine_is_half_a_period_then_the_end():
    schedule = cosine(2e-4, 5e-5, 100)
    steps = jnp.array([0, 25, 50, 75, 100, 250], jnp.int32)
    share = np.minimum(np.asarray(steps) / 100, 1)
    expected = 5e-5 + (2e-4 - 5e-5) * (1 + np.cos(np.pi * share)) / 2
    np.testing.assert_allclose(jax.vmap(schedule)(steps), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(schedule)(steps[2]), (2e-4 + 5e-5) / 2, rtol=1e-6)


def test_every_shape_begins_at_its_start_and_stays_at_its_end():
    for make in SHAPES.values():
        schedule = make(1.0, 0.1, 8)
        numbers = np.array([float(schedule(jnp.int32(step))) for step in range(12)])
        assert numbers[0] == 1.0
        np.testing.assert_allclose(numbers[8:], 0.1, rtol=1e-6)
        assert np.all(np.diff(numbers[:9]) < 0)


def test_constant_and_warmed_up_decay():
    assert float(constant(0.3)(jnp.int32(5))) == np.float32(0.3)
    for step in (0, 1, 8, 1000):
        assert float(warmed_up_decay(0.99)(jnp.int32(step))) == np.float32(min(0.99, (1 + step) / (10 + step)))
