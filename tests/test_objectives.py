"""Identities of the value function: each is a closed form, on random inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.objectives import (
    OBJECTIVES,
    VALUE_AT_EQUILIBRIUM,
    js_lower_bound,
    non_saturating,
    saturating,
    value,
)

EXTREME = jnp.array([-1000.0, -100.0, -8.0, 0.0, 8.0, 100.0, 1000.0])


def random_distributions(rng: np.random.Generator, count: int, support: int) -> np.ndarray:
    """Probability vectors `[count, support]`, some of them with mass on a few points only."""
    return rng.dirichlet(np.full(support, 0.5), size=count)


def expected_value(p: np.ndarray, q: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """V on a finite support, `[…]`: the package's unreduced terms under p and q."""
    with jax.enable_x64(True):
        on_real = np.asarray(value(jnp.asarray(logits), jnp.full(logits.shape, -jnp.inf)))
        on_fake = np.asarray(value(jnp.full(logits.shape, jnp.inf), jnp.asarray(logits)))
    return np.sum(p * on_real + q * on_fake, axis=-1)


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    m = (p + q) / 2
    return 0.5 * np.sum(p * np.log(p / m), axis=-1) + 0.5 * np.sum(q * np.log(q / m), axis=-1)


@pytest.mark.parametrize("support", [2, 10, 100])
def test_value_at_the_optimal_discriminator_is_twice_the_jsd_less_log_4(support):
    rng = np.random.default_rng(support)
    p, q = random_distributions(rng, 2 * 20, support).reshape(2, 20, support)
    optimal_logits = np.log(p) - np.log(q)
    np.testing.assert_allclose(expected_value(p, q, optimal_logits), 2 * js_divergence(p, q) - np.log(4), rtol=1e-9)


def test_no_discriminator_beats_the_optimal_one():
    rng = np.random.default_rng(0)
    p, q = random_distributions(rng, 2 * 50, 10).reshape(2, 50, 10)
    best = expected_value(p, q, np.log(p) - np.log(q))
    for scale in (0.01, 1.0, 10.0):
        other = expected_value(p, q, np.log(p) - np.log(q) + scale * rng.normal(size=p.shape))
        assert np.all(other < best)


def test_value_is_minus_log_4_where_the_generator_is_right_and_d_is_one_half():
    p = random_distributions(np.random.default_rng(0), 5, 10)
    np.testing.assert_allclose(expected_value(p, p, np.zeros_like(p)), VALUE_AT_EQUILIBRIUM, rtol=1e-12)


def test_lower_bound_is_the_jsd_at_the_optimum_and_log_2_where_d_separates():
    assert float(js_lower_bound(jnp.zeros(4), jnp.zeros(4))) == pytest.approx(0.0, abs=1e-7)
    assert float(js_lower_bound(jnp.full(4, 50.0), jnp.full(4, -50.0))) == pytest.approx(np.log(2))


def test_slopes_of_the_generators_losses():
    """Identity 5: -sigmoid(l) saturates where D is sure of a fake, -sigmoid(-l) does not."""
    logits = jnp.linspace(-20.0, 20.0, 41)
    slope = jax.vmap(jax.grad(saturating))(logits)
    np.testing.assert_allclose(slope, -jax.nn.sigmoid(logits), rtol=1e-5)
    slope = jax.vmap(jax.grad(non_saturating))(logits)
    np.testing.assert_allclose(slope, -jax.nn.sigmoid(-logits), rtol=1e-5)
    assert float(jax.grad(saturating)(-8.0)) == pytest.approx(-3.3535e-4, rel=1e-4)
    assert float(jax.grad(non_saturating)(-8.0)) == pytest.approx(-0.99966, rel=1e-4)


def test_value_is_minus_binary_cross_entropy():
    """Identity 6, at any logits."""
    rng = np.random.default_rng(0)
    real, fake = (jnp.asarray(np.concatenate([EXTREME, 10 * rng.normal(size=100)]), jnp.float32) for _ in range(2))
    bce = optax.sigmoid_binary_cross_entropy(real, jnp.ones_like(real))
    bce += optax.sigmoid_binary_cross_entropy(fake, jnp.zeros_like(fake))
    np.testing.assert_allclose(value(real, fake), -bce, rtol=1e-6, atol=1e-7)
    gen_bce = optax.sigmoid_binary_cross_entropy(fake, jnp.ones_like(fake))
    np.testing.assert_allclose(non_saturating(fake), gen_bce, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_finite_with_finite_slopes_at_extreme_logits(name):
    objective = OBJECTIVES[name]
    real, fake = EXTREME, EXTREME[::-1]
    assert np.all(np.isfinite(objective.disc(real, fake)))
    assert np.all(np.isfinite(objective.gen(fake)))
    for slopes in jax.grad(lambda *logits: jnp.sum(objective.disc(*logits)), argnums=(0, 1))(real, fake):
        assert np.all(np.isfinite(slopes))
    assert np.all(np.isfinite(jax.grad(lambda logits: jnp.sum(objective.gen(logits)))(fake)))


def test_minimax_generator_descends_the_value_itself():
    """The saturating loss has V's own gradient: its first term does not know the generator."""
    logits = jnp.linspace(-5.0, 5.0, 11)
    of_value = jax.vmap(jax.grad(lambda fake: value(jnp.array(0.3), fake)))(logits)
    np.testing.assert_allclose(jax.vmap(jax.grad(OBJECTIVES["minimax"].gen))(logits), of_value, rtol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_unreduced(name):
    objective = OBJECTIVES[name]
    assert objective.disc(EXTREME, EXTREME).shape == EXTREME.shape
    assert objective.gen(EXTREME).shape == EXTREME.shape
