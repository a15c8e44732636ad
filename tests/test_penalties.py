"""Penalties: the closed form for a D that is known, per example, and gradients against finite differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_gan, small_state

from gan_jax.errors import InputError
from gan_jax.penalties import PENALTIES, r1
from gan_jax.schedules import constant
from gan_jax.state import create_state, pack
from gan_jax.steps import PURPOSES, example_keys, judge

BATCH = 6
KEYS = {purpose: example_keys(jax.random.key(1), purpose, BATCH) for purpose in PURPOSES}


def images(seed=0):
    return jax.random.normal(jax.random.key(seed), (BATCH, 4, 4, 2))


# name -> the penalty of a D whose gradient has this squared norm everywhere
OF_SQUARED_NORM = {
    "r1": lambda squared: squared / 2,
    "r2": lambda squared: squared / 2,
    "gradient_penalty": lambda squared: (np.sqrt(squared) - 1) ** 2,
    "dragan": lambda squared: (np.sqrt(squared) - 1) ** 2,
}


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_of_an_affine_d_is_its_closed_form_for_any_batch(name):
    """Gradients by the weights too: along the weights, and nought where D is constant."""

    def penalty(weights, real, fake):
        affine = lambda x, keys: jnp.einsum("bhwc,hwc->b", x, weights) + 3.0  # noqa: E731
        terms = PENALTIES[name](affine, real, fake, KEYS)
        return jnp.sum(terms), terms

    gradient_and_terms = jax.jit(jax.grad(penalty, has_aux=True))
    for size, seed in itertools.product((0.0, 0.1, 1.0), range(2)):
        weights = size * jax.random.normal(jax.random.key(7), (4, 4, 2))
        gradient, terms = gradient_and_terms(weights, images(seed), images(9 - seed))
        squared = float(jnp.sum(weights**2))
        np.testing.assert_allclose(terms, np.full(BATCH, OF_SQUARED_NORM[name](squared)), rtol=1e-4, atol=1e-5)
        along = 1.0 if name in ("r1", "r2") else 2 - 2 / np.sqrt(squared or 1.0)
        np.testing.assert_allclose(gradient, BATCH * along * weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_of_packs_is_its_closed_form_for_what_d_sees(name):
    """An affine D of packs of two has the gradient norm of its whole input, which two images share."""
    weights = jax.random.normal(jax.random.key(7), (4, 4, 4))
    affine = lambda x, keys: jnp.einsum("bhwc,hwc->b", pack(x, 2), weights)  # noqa: E731
    terms = PENALTIES[name](affine, images(0), images(9), KEYS)
    expected = OF_SQUARED_NORM[name](float(jnp.sum(weights**2)))
    np.testing.assert_allclose(terms, np.full(BATCH // 2, expected), rtol=1e-4)


def shares_between():
    """Where between fake (0) and real (1) WGAN-GP looks: one half of each example's key draws it, the other is D's."""
    return jax.vmap(lambda key: jax.random.uniform(jax.random.split(key)[0]))(KEYS["penalty"])


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_no_key_both_draws_the_point_and_augments_it(name):
    """D, which is linear, draws its slope from the other half."""
    factors = lambda keys: jax.vmap(jax.random.uniform)(keys)  # noqa: E731
    terms = PENALTIES[name](lambda x, keys: factors(keys) * jnp.sum(x, axis=(1, 2, 3)), images(0), images(9), KEYS)
    slopes = factors(jax.vmap(lambda key: jax.random.split(key)[1])(KEYS["penalty"])) * np.sqrt(32)
    np.testing.assert_allclose(terms, (slopes - 1) ** 2, rtol=1e-4)


def test_the_images_of_a_pack_move_together():
    """D = |x|²/2 of a pack: its gradient's norm tells the point, one on the line between the real and the fake pack."""
    real, fake = images(0), 3 + images(9)
    quadratic = lambda x, keys: jnp.sum(pack(x, 2) ** 2, axis=(1, 2, 3)) / 2  # noqa: E731
    terms = PENALTIES["gradient_penalty"](quadratic, real, fake, KEYS)
    shares = jnp.repeat(shares_between()[::2], 2)[:, None, None, None]
    between = np.linalg.norm(np.asarray(shares * real + (1 - shares) * fake).reshape(BATCH // 2, -1), axis=1)
    np.testing.assert_allclose(terms, (between - 1) ** 2, rtol=1e-4)


def test_where_each_penalty_looks():
    """D = |x|²/2 has the gradient x, so that its norm tells the point: real, fake, between the two, near the real one."""
    real, fake = images(0), 3 + images(9)
    quadratic = lambda x, keys: jnp.sum(x**2, axis=(1, 2, 3)) / 2  # noqa: E731
    norms = {
        name: np.linalg.norm(np.asarray(batch).reshape(BATCH, -1), axis=1) for name, batch in (("real", real), ("fake", fake))
    }
    every_penalty = jax.jit(lambda: {name: penalty(quadratic, real, fake, KEYS) for name, penalty in PENALTIES.items()})
    terms = jax.tree.map(np.asarray, every_penalty())
    np.testing.assert_allclose(terms["r1"], norms["real"] ** 2 / 2, rtol=1e-5)
    np.testing.assert_allclose(terms["r2"], norms["fake"] ** 2 / 2, rtol=1e-5)
    shares = shares_between()
    points = shares[:, None, None, None] * real + (1 - shares[:, None, None, None]) * fake
    between = np.linalg.norm(np.asarray(points).reshape(BATCH, -1), axis=1)
    np.testing.assert_allclose(terms["gradient_penalty"], (between - 1) ** 2, rtol=1e-4)
    moved = jax.vmap(lambda key: jax.random.uniform(jax.random.split(key)[0], (4, 4, 2)))(KEYS["penalty"])
    points = np.asarray(real) + 0.5 * np.std(np.asarray(real), axis=(1, 2, 3), keepdims=True) * moved
    near = np.linalg.norm(np.asarray(points).reshape(BATCH, -1), axis=1)
    np.testing.assert_allclose(terms["dragan"], (near - 1) ** 2, rtol=1e-4)


@pytest.mark.parametrize("name", PENALTIES)
def test_an_example_has_its_own_term_whatever_else_is_in_the_batch(name):
    gan = small_gan(norm="none")
    state = small_state(gan)
    disc = lambda x, keys: judge(gan, state.params.disc, state, x, None, keys)[0]  # noqa: E731
    real, fake = (jax.random.normal(jax.random.key(seed), (BATCH, 16, 16, 1)) for seed in (0, 1))
    penalty = jax.jit(lambda real, fake: PENALTIES[name](disc, real, fake, KEYS))
    terms = penalty(real, fake)
    others = penalty(real.at[1:].set(0.3), fake.at[1:].set(-0.3))
    assert terms.shape == (BATCH,)
    np.testing.assert_allclose(terms[0], others[0], rtol=1e-4)
    assert not np.any(np.isclose(terms[1:], others[1:], rtol=1e-3))


@pytest.mark.parametrize("name", ["r1", "gradient_penalty"])
def test_gradients_of_a_penalty_through_a_dcgan_are_those_of_finite_differences(name):
    """Second order, through the convolutions' own derivatives, in float64."""
    with jax.enable_x64(True):
        gan = small_gan(norm="none")
        state = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, small_state(gan))
        real, fake = (0.5 * jax.random.normal(jax.random.key(seed), (2, 16, 16, 1), jnp.float64) for seed in (0, 1))
        keys = {purpose: KEYS[purpose][:2] for purpose in PURPOSES}
        network = gan.networks.disc.clone(dtype="float64")

        @jax.jit
        @jax.value_and_grad
        def penalty(params):
            disc = lambda x, of: network.apply({"params": params}, x, None, train=True)  # noqa: E731
            return jnp.mean(PENALTIES[name](disc, real, fake, keys))

        params = state.params.disc
        rng = np.random.default_rng(0)
        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), penalty(params)[1], direction)))
        ahead, behind = (
            penalty(jax.tree.map(lambda leaf, d, sign=sign: leaf + sign * 1e-6 * d, params, direction))[0] for sign in (1, -1)
        )
        assert float(slope) == pytest.approx(float((ahead - behind) / 2e-6), rel=1e-4)


def test_a_penalty_with_batch_norm_in_d_is_refused_in_a_line_that_names_both_keys():
    gan = small_gan(penalties=((r1, constant(1.0)),))
    with pytest.raises(
        InputError, match=r"config\.network\.disc\.dcgan\.norm=none \(or layer, spectral\), or the weights in config\.penalty"
    ) as error:
        create_state(gan, jax.random.key(0))
    assert "\n" not in str(error.value)
    create_state(small_gan(norm="none", penalties=((r1, constant(1.0)),)), jax.random.key(0))
