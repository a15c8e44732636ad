"""Identities of the value function: each is a closed form, on random inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.objectives import (
    OBJECTIVES,
    VALUE_AT_EQUILIBRIUM,
    accuracy,
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
    """Identity 5: -sigmoid(l) saturates where D rejects a fake, -sigmoid(-l) does not."""
    logits = jnp.linspace(-20.0, 20.0, 41)
    slope = jax.vmap(jax.grad(saturating, argnums=1))(0 * logits, logits)
    np.testing.assert_allclose(slope, -jax.nn.sigmoid(logits), rtol=1e-5)
    slope = jax.vmap(jax.grad(non_saturating, argnums=1))(0 * logits, logits)
    np.testing.assert_allclose(slope, -jax.nn.sigmoid(-logits), rtol=1e-5)
    assert float(jax.grad(saturating, argnums=1)(0.0, -8.0)) == pytest.approx(-3.3535e-4, rel=1e-4)
    assert float(jax.grad(non_saturating, argnums=1)(0.0, -8.0)) == pytest.approx(-0.99966, rel=1e-4)


def test_value_is_minus_binary_cross_entropy():
    """Identity 6, at any logits."""
    rng = np.random.default_rng(0)
    real, fake = (jnp.asarray(np.concatenate([EXTREME, 10 * rng.normal(size=100)]), jnp.float32) for _ in range(2))
    bce = optax.sigmoid_binary_cross_entropy(real, jnp.ones_like(real))
    bce += optax.sigmoid_binary_cross_entropy(fake, jnp.zeros_like(fake))
    np.testing.assert_allclose(value(real, fake), -bce, rtol=1e-6, atol=1e-7)
    gen_bce = optax.sigmoid_binary_cross_entropy(fake, jnp.ones_like(fake))
    np.testing.assert_allclose(non_saturating(real, fake), gen_bce, rtol=1e-6, atol=1e-7)


def test_minimax_generator_descends_the_value_itself():
    """The saturating loss has V's own gradient: its first term does not know the generator."""
    logits = jnp.linspace(-5.0, 5.0, 11)
    of_value = jax.vmap(jax.grad(lambda fake: value(jnp.array(0.3), fake)))(logits)
    of_loss = jax.vmap(jax.grad(lambda fake: OBJECTIVES["minimax"].gen(jnp.array(0.3), fake)))(logits)
    np.testing.assert_allclose(of_loss, of_value, rtol=1e-6)


# name -> (disc, gen) written out in numpy, by published formulas
BY_HAND = {
    "minimax": (
        lambda r, f: -np.logaddexp(0, -r) - np.logaddexp(0, f),
        lambda r, f: -np.logaddexp(0, f),
    ),
    "non_saturating": (
        lambda r, f: -np.logaddexp(0, -r) - np.logaddexp(0, f),
        lambda r, f: np.logaddexp(0, -f),
    ),
    "least_squares": (lambda r, f: -((r - 1) ** 2) / 2 - f**2 / 2, lambda r, f: (f - 1) ** 2 / 2),
    "wasserstein": (lambda r, f: r - f, lambda r, f: -f),
    "relativistic_average": (
        lambda r, f: -np.logaddexp(0, np.mean(f) - r) - np.logaddexp(0, f - np.mean(r)),
        lambda r, f: np.logaddexp(0, np.mean(r) - f) + np.logaddexp(0, r - np.mean(f)),
    ),
    "hinge": (lambda r, f: -np.maximum(0, 1 - r) - np.maximum(0, 1 + f), lambda r, f: -f),
    "relativistic": (lambda r, f: -np.logaddexp(0, f - r), lambda r, f: np.logaddexp(0, r - f)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_its_formula_unreduced_with_finite_slopes(name):
    objective = OBJECTIVES[name]
    rng = np.random.default_rng(0)
    extreme = EXTREME if name != "relativistic_average" else EXTREME / 100  # whose mean would drown the others in float32
    real, fake = (np.concatenate([extreme[::sign], 3 * rng.normal(size=50)]).astype(np.float32) for sign in (1, -1))
    for ours, formula in zip((objective.disc, objective.gen), BY_HAND[name], strict=True):
        expected = formula(real.astype(np.float64), fake.astype(np.float64))
        np.testing.assert_allclose(ours(real, fake), expected, rtol=1e-5, atol=1e-6)
        for slopes in jax.grad(lambda *logits, ours=ours: jnp.sum(ours(*logits)), argnums=(0, 1))(real, fake):
            assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_paired_objectives_are_those_whose_generator_reads_the_real_logits(name):
    gen = OBJECTIVES[name].gen
    slopes = jax.grad(lambda real: jnp.sum(gen(real, jnp.zeros(3))))(jnp.arange(3.0))
    assert bool(np.any(slopes)) == OBJECTIVES[name].paired


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_equilibrium_is_the_best_that_a_constant_d_can_do(name):
    """Where the densities are equal no D beats a constant; G's value is named where all optimal constants agree on it."""
    objective = OBJECTIVES[name]
    constants = np.linspace(-3, 3, 601).astype(np.float32)
    each = [jax.vmap(lambda c, f=f: f(c[None], c[None])[0])(constants) for f in (objective.disc, objective.gen)]
    disc, gen = np.asarray(each, np.float64)
    best = disc > disc.max() - 1e-6
    assert disc.max() == pytest.approx(objective.equilibrium[0], abs=1e-5)
    if objective.equilibrium[1] is None:
        assert np.ptp(gen[best]) > 0.1
    else:
        np.testing.assert_allclose(gen[best], objective.equilibrium[1], atol=1e-2)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_probability_objectives_are_those_whose_optimal_logit_is_that_of_d_star(name):
    """On two points with p = (0.8, 0.2), q = (0.4, 0.6), gradient ascent on E_p, E_q finds log p − log q, or it does not."""
    p, q = jnp.array([0.8, 0.2]), jnp.array([0.4, 0.6])
    disc = OBJECTIVES[name].disc

    def goal(logits):
        if name == "relativistic_average":
            real, fake = logits - jnp.sum(q * logits), logits - jnp.sum(p * logits)
            return jnp.sum(p * jax.nn.log_sigmoid(real)) + jnp.sum(q * jax.nn.log_sigmoid(-fake))
        pairs = jnp.meshgrid(jnp.arange(2), jnp.arange(2), indexing="ij")
        return jnp.sum(p[pairs[0]] * q[pairs[1]] * disc(logits[pairs[0]], logits[pairs[1]]))

    climb = jax.jit(lambda logits: jax.lax.fori_loop(0, 3000, lambda _, x: x + 0.5 * jax.grad(goal)(x), logits))
    optimal = climb(jnp.zeros(2))
    assert bool(np.allclose(optimal, jnp.log(p) - jnp.log(q), atol=1e-3)) == OBJECTIVES[name].is_probability


REAL, FAKE = jnp.array([0.2, 2.0, -1.0, 3.0]), jnp.array([0.1, -3.0, 0.3, 4.0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_threshold_is_named_where_ds_objective_sees_a_shift_of_all_logits(name):
    """Where it does not, D only ranks."""
    disc = OBJECTIVES[name].disc
    sees_shift = not np.allclose(disc(REAL, FAKE), disc(REAL + 0.7, FAKE + 0.7), atol=1e-5)
    assert (OBJECTIVES[name].threshold is not None) == sees_shift


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("non_saturating", (3 / 4 + 1 / 4) / 2),  # real above 0, fake below
        ("hinge", (3 / 4 + 1 / 4) / 2),
        ("least_squares", (2 / 4 + 3 / 4) / 2),  # above 1/2, and below
        ("wasserstein", 2 / 4),  # real i above fake i
        ("relativistic", 2 / 4),
    ],
)
def test_accuracy_is_ds_share_of_right_decisions_or_of_rightly_ranked_pairs(objective, expected):
    assert float(accuracy(REAL, FAKE, OBJECTIVES[objective].threshold)) == expected


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_accuracy_is_1_where_d_separates_and_0_where_it_is_wrong(objective):
    threshold = OBJECTIVES[objective].threshold
    above, below = jnp.full(4, 0.7), jnp.full(4, -0.7)
    assert (float(accuracy(above, below, threshold)), float(accuracy(below, above, threshold))) == (1.0, 0.0)
