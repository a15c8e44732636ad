"""DiffAugment: each transform is its formula, an image depends on its own key alone, gradients pass through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import POLICIES, brightness, contrast, cutout, diffaugment, saturation, translation
from gan_jax.errors import InputError

STEP = jnp.int32(0)
KEYS = jax.random.split(jax.random.key(0), 200)


def images(size=16, channels=3, count=200):
    return jax.random.uniform(jax.random.key(1), (count, size, size, channels), minval=-1.0)


def each(transform, batch):
    return np.asarray(jax.vmap(transform)(batch, KEYS[: len(batch)]))


def test_color_adds_a_number_and_scales_deviations():
    batch = images()
    added = each(brightness, batch) - np.asarray(batch)
    assert np.allclose(added, added[:, :1, :1, :1], atol=1e-6)
    assert -0.5 <= added.min() < -0.4
    assert 0.4 < added.max() <= 0.5
    for transform, axes, low, high in ((saturation, (3,), 0.0, 2.0), (contrast, (1, 2, 3), 0.5, 1.5)):
        mean = np.mean(batch, axis=axes, keepdims=True)
        scale = (each(transform, batch) - mean)[:, 0, 0, 0] / (np.asarray(batch) - mean)[:, 0, 0, 0]
        expected = mean + scale[:, None, None, None] * (np.asarray(batch) - mean)
        np.testing.assert_allclose(each(transform, batch), expected, atol=1e-4)
        assert low - 1e-3 <= scale.min() < low + 0.2
        assert high - 0.2 < scale.max() <= high + 1e-3
    grey = images(channels=1)
    np.testing.assert_allclose(each(saturation, grey), grey, atol=1e-6)


def test_translation_moves_whole_pixels_by_an_eighth_with_zeros():
    """Every shift from −2 to 2 on both axes occurs, of a 16 × 16 image whose pixels are all different."""
    batch = jnp.broadcast_to(1.0 + jnp.arange(16 * 16 * 2.0).reshape(1, 16, 16, 2), (200, 16, 16, 2))
    padded = np.pad(np.asarray(batch[0]), ((2, 2), (2, 2), (0, 0)))
    seen = set()
    for moved in each(translation, batch):
        shifts = [(y, x) for y in range(5) for x in range(5) if np.array_equal(moved, padded[y : y + 16, x : x + 16])]
        assert len(shifts) == 1
        seen.add(shifts[0])
    assert len(seen) == 25


def test_cutout_is_a_square_of_half_the_size_cut_off_at_the_borders():
    holes = each(cutout, jnp.ones((200, 16, 16, 1)))[..., 0] == 0
    for hole in holes:
        rows, columns = hole.any(axis=1), hole.any(axis=0)
        assert np.array_equal(hole, rows[:, None] & columns[None])
        for line in (rows, columns):
            where = np.flatnonzero(line)
            assert len(where) == where[-1] - where[0] + 1
            assert len(where) == 8 or (4 <= len(where) < 8 and (line[0] or line[-1]))
    assert {hole.sum() for hole in holes} >= {64}
    ends = [[tuple(np.flatnonzero(hole.any(axis=axis))[[0, -1]]) for hole in holes] for axis in (1, 0)]
    assert [len(set(of_axis)) for of_axis in ends] == [17, 17]  # the centre is at each of 17 places along each axis
    assert len(set(zip(*ends, strict=True))) > 100  # and of the two axes independently


def test_a_policy_is_its_transforms_in_turn_on_each_image_by_its_own_key():
    """Each transform draws from a part of the key that no other has."""
    augment, transforms = diffaugment("color,translation,cutout"), (brightness, saturation, contrast, translation, cutout)

    def by_hand(image, key):
        for transform, of_transform in zip(transforms, jax.random.split(key, len(transforms)), strict=True):
            image = transform(image, jax.random.split(of_transform)[0])
        return image

    both = jax.jit(lambda batch, keys: (augment(batch, keys, STEP), jax.vmap(by_hand)(batch, keys)))
    np.testing.assert_allclose(*both(images(count=8), KEYS[:8]), atol=1e-6)


@pytest.mark.parametrize("policy", [*POLICIES, "color,translation,cutout"])
def test_gradients_pass_through_to_the_second_order(policy):
    augment = diffaugment(policy)
    batch = images(count=2)

    def squared_slope(scale):
        total = lambda x: jnp.sum(jnp.sin(augment(scale * x, KEYS[:2], STEP)))  # noqa: E731
        return jnp.sum(jax.grad(total)(batch) ** 2)

    slope = jax.jit(jax.grad(squared_slope))(1.0)
    assert np.isfinite(slope)
    assert slope != 0


def test_each_transform_is_applied_with_its_probability_by_the_step():
    """Cutout alone: none at step 0, half of the images at step 1, all at step 2."""
    augment = diffaugment("cutout", lambda step: jnp.asarray(step, jnp.float32) / 2)
    shares = [
        float(jnp.mean(jnp.any(augment(jnp.ones((200, 16, 16, 1)), KEYS, step) == 0, axis=(1, 2, 3)))) for step in range(3)
    ]
    assert shares[0] == 0
    assert 0.35 < shares[1] < 0.65
    assert shares[2] == 1


def test_no_policy_is_no_change_and_an_unknown_one_is_named():
    batch = images(count=2)
    np.testing.assert_array_equal(diffaugment("")(batch, KEYS[:2], STEP), batch)
    with pytest.raises(
        InputError, match=r"augment=colour: colour must be one of color, translation, cutout; did you mean color"
    ):
        diffaugment("colour")
