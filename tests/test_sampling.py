"""Samples depend on their own latent alone, and interpolation keeps to the sphere."""

import statistics
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_gan, small_state

from gan_jax import (
    Batch,
    create_state,
    example_keys,
    generate,
    generator_variables,
    make_networks,
    sample,
    sample_grid,
    sample_latents,
    slerp,
    train_step,
)
from gan_jax.errors import InputError
from gan_jax.sampling import truncate

RNG = jax.random.key(0)


def latents_of(gan, num):
    return sample_latents(example_keys(RNG, "latents", num), gan.latent_dim)


def test_same_seed_same_pictures_however_many_are_asked_for():
    gan = small_gan()
    state = small_state(gan)
    many = sample(gan, state, RNG, 150)
    assert many.shape == (150, 16, 16, 1)
    assert many.dtype == np.uint8
    for num in (1, 63, 64, 65):
        np.testing.assert_array_equal(sample(gan, state, RNG, num), many[:num])
    latents = latents_of(gan, 150)
    alone = generate(gan, generator_variables(state), latents[70:71])
    assert np.abs(alone[0].astype(int) - many[70]).max() <= 1
    assert np.any(sample(gan, state, jax.random.key(1), 150) != many)


def test_grey_levels_are_those_of_the_networks_output():
    gan = small_gan()
    state = small_state(gan)
    latents = latents_of(gan, 64)
    floats = gan.networks.gen.apply(generator_variables(state), latents, None, train=False)
    np.testing.assert_allclose(generate(gan, generator_variables(state), latents) / 127.5 - 1, floats, atol=1.01 / 255)


def test_points_are_not_quantised():
    gan = small_gan("mlp")
    points = sample(gan, small_state(gan), RNG, 10)
    assert points.shape == (10, 2)
    assert points.dtype == np.float32


def test_the_average_is_used_where_there_is_one():
    gan = small_gan(ema_decay=0.999)
    state = small_state(gan)
    images = jax.random.uniform(RNG, (1, 8, 16, 16, 1), minval=-1)
    for _ in range(3):
        state, _ = jax.jit(train_step, static_argnums=0)(gan, state, Batch(images), RNG)
    averaged, raw = (
        generate(gan, variables, latents_of(gan, 8))
        for variables in (
            state.ema,
            {"params": state.params.gen, "batch_stats": state.stats.gen},
        )
    )
    assert np.any(averaged != raw)
    np.testing.assert_array_equal(sample(gan, state, RNG, 8), averaged)
    np.testing.assert_array_equal(sample(gan, state, RNG, 8, ema=False), raw)
    with pytest.raises(ValueError, match="ema_decay"):
        generator_variables(small_state(small_gan()), ema=True)


def test_labels_are_each_class_in_turn_or_those_that_are_given():
    gan = small_gan("mlp", num_classes=4)
    state = small_state(gan)
    in_turn = sample(gan, state, RNG, 10)
    np.testing.assert_array_equal(sample(gan, state, RNG, 10, labels=[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]), in_turn)
    np.testing.assert_array_equal(sample(gan, state, RNG, 4, first=6), in_turn[6:])
    threes = sample(gan, state, RNG, 10, labels=[3] * 10)
    assert [bool(np.all(a == b)) for a, b in zip(threes, in_turn, strict=True)] == [i % 4 == 3 for i in range(10)]
    for labels, message in (
        ([0, 4], "label 4: labels must be 0 to 3"),
        ([-1, 0], "label -1"),
        (np.array([0, 2**32]), f"label {2**32}"),  # 0 in 32 bits
        ([0, 2**64], "labels object: labels must be integers"),
        (["a", "b"], "labels <U1: labels must be integers"),
        ([0.5, 1.0], "labels float64: labels must be integers from 0 to 3"),
        ([0], r"labels \[1\] for 2"),
    ):
        with pytest.raises(InputError, match=message):
            sample(gan, state, RNG, 2, labels=labels)
    plain = small_gan("mlp")
    with pytest.raises(InputError, match="this generator is unconditional"):
        sample(plain, small_state(plain), RNG, 2, labels=[0, 1])


def image_gan(num_classes=4):
    gan = small_gan("mlp", num_classes=num_classes)
    networks = make_networks("mlp", (8, 8, 1), hidden=(16,), num_classes=num_classes)
    gan = replace(gan, networks=networks, sample_shape=(8, 8, 1))
    return gan, create_state(gan, RNG)


@pytest.mark.parametrize(
    ("num", "labels", "rows", "columns"),
    [
        (11, None, [0, 1, 2, 3], 2),
        (7, None, [0, 1, 2], 2),
        (3, None, [0], 3),
        (2, [3, 1, 2], [3, 1], 1),
        (7, [2, 0], [2, 0], 3),
        (6, [1], [1], 6),
    ],
)
def test_a_grid_has_a_class_in_each_row_and_a_latent_down_each_column(num, labels, rows, columns):
    gan, state = image_gan()
    samples, of_samples, shown = sample_grid(gan, state, RNG, num, labels=labels)
    assert (len(samples), shown, of_samples.tolist()) == (len(rows) * columns, columns, np.repeat(rows, columns).tolist())
    for row, label in enumerate(rows):
        expected = sample(gan, state, RNG, columns, labels=[label] * columns)
        np.testing.assert_array_equal(samples[row * columns : (row + 1) * columns], expected)


def test_grids_of_points_and_of_unconditional_images_are_plain_samples():
    for gan in (small_gan("mlp", num_classes=4), small_gan()):
        samples, labels, columns = sample_grid(gan, small_state(gan), RNG, 10)
        np.testing.assert_array_equal(samples, sample(gan, small_state(gan), RNG, 10))
        assert (columns, labels is None) == (None, gan.num_classes == 0)
    gan = small_gan("mlp", num_classes=4)
    samples, labels, _ = sample_grid(gan, small_state(gan), RNG, 5, labels=[3, 1])
    np.testing.assert_array_equal(samples, sample(gan, small_state(gan), RNG, 5, labels=[3, 1, 3, 1, 3]))
    assert labels.tolist() == [3, 1, 3, 1, 3]


def test_grids_that_cannot_be_are_one_line():
    gan, state = image_gan()
    for num, labels, message in (
        (9, [4], "label 4: labels must be 0 to 3"),
        (9, [], "labels: give at least 1"),
        (0, None, "0"),
    ):
        with pytest.raises(InputError, match=message):
            sample_grid(gan, state, RNG, num, labels=labels)
    with pytest.raises(InputError, match=f"label {2**32}"):
        sample_grid(gan, state, RNG, 9, labels=np.array([2**32]))
    points = small_gan("mlp", num_classes=4)
    with pytest.raises(InputError, match="labels: give at least 1"):
        sample_grid(points, small_state(points), RNG, 9, labels=[])
    plain = small_gan()
    with pytest.raises(InputError, match="this generator is unconditional"):
        sample_grid(plain, small_state(plain), RNG, 2, labels=[0])


def test_slerp_keeps_to_the_great_circle():
    start, end = jax.random.normal(RNG, (2, 5, 7))
    start, end = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (start, end))
    path = jax.vmap(slerp, (0, 0, None))(start, end, jnp.linspace(0, 1, 9))
    assert path.shape == (5, 9, 7)
    np.testing.assert_allclose(path[:, 0], start, atol=1e-6)
    np.testing.assert_allclose(path[:, -1], end, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(path, axis=-1), 1.0, rtol=1e-5)
    cosines = jnp.sum(path[:, 1:] * path[:, :-1], axis=-1)
    np.testing.assert_allclose(cosines, jnp.broadcast_to(cosines[:, :1], cosines.shape), rtol=1e-4)


def test_slerp_of_parallel_latents_is_linear():
    start = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(slerp(start, 3 * start, jnp.array([0.0, 0.5, 1.0])), [[1, 2], [2, 4], [3, 6]], rtol=1e-4)
    np.testing.assert_array_equal(slerp(0 * start, 0 * start, jnp.array([0.5])), [[0, 0]])


@pytest.mark.parametrize("threshold", [0.1, 0.7, 2])
def test_truncation_gives_the_truncated_normal_and_keeps_the_order_of_latents(threshold):
    """The quantiles of N(0, 1) go to those of the normal on [-t, t], whose distribution is (Φ(x) − Φ(−t)) / (Φ(t) − Φ(−t))."""
    levels = np.linspace(0.001, 0.999, 999)
    normal = statistics.NormalDist()
    latents = jnp.array([normal.inv_cdf(level) for level in levels], jnp.float32)
    inner, outer = normal.cdf(-threshold), normal.cdf(threshold)
    expected = [normal.inv_cdf(inner + (outer - inner) * level) for level in levels]
    np.testing.assert_allclose(truncate(latents, threshold), expected, atol=3e-6)
    extreme = truncate(jnp.array([-20.0, -6.0, 0.0, 6.0, 20.0]), threshold)
    np.testing.assert_allclose(extreme, [-threshold, -threshold, 0, threshold, threshold], atol=1e-6)
    assert float(jnp.abs(extreme).max()) <= threshold


def test_a_threshold_that_no_latent_reaches_changes_nothing():
    latents = sample_latents(example_keys(RNG, "latents", 50), 20)
    np.testing.assert_allclose(truncate(latents, 30.0), latents, atol=1e-6)
