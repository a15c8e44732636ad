"""Images of any size h·2^n × w·2^n: every network makes them, and what was of a power of two is as it was."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from gan_jax import make_networks
from gan_jax.errors import InputError
from gan_jax.networks import NETWORKS
from gan_jax.networks.layers import check_image, pyramid

SMALL = {"dcgan": {"base_width": 4}, "sndcgan": {"base_width": 4}, "resnet": {"width": 4}, "r3gan": {"widths": (8,)}}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(28, 28), (48, 48), (96, 96), (32, 64), (56, 24)], ids=str)
def test_every_network_makes_and_judges_every_size(name, size):
    gen, disc = make_networks(name, (*size, 3), num_classes=2, **SMALL[name])
    labels = jnp.zeros((5,), jnp.int32)

    def shape(network, inputs):
        return jax.eval_shape(partial(network.init_with_output, train=True), jax.random.key(0), inputs, labels)[0].shape

    assert shape(gen, jnp.zeros((5, 7))) == (5, *size, 3)
    assert shape(disc, jnp.zeros((5, *size, 3))) == (5,)


def test_all_sizes_of_three_to_seven_and_doublings_are_exact():
    for height, width, doublings in itertools.product(range(3, 8), range(3, 8), range(1, 6)):
        size = height << doublings, width << doublings
        assert check_image("dcgan", (*size, 1), 6) == (size, 1)
        rows, columns, times = pyramid(size)
        assert (rows << times, columns << times) == size
        assert 4 <= min(rows, columns) <= 7 or min(size) == 6
    for doublings in range(1, 8):
        assert pyramid((4 << doublings, 4 << doublings)) == (4, 4, doublings)


@pytest.mark.parametrize("smallest", [6, 16])
def test_the_sizes_that_a_refusal_names_are_allowed_and_next_to_the_refused_one(smallest):
    for size in itertools.product(range(3, 70, 3), repeat=2):
        try:
            check_image("dcgan", (*size, 1), smallest)
        except InputError as error:
            named = str(error).partition("nearest: ")[2].partition(";")[0].split(" and ")
            sizes = [tuple(int(side) for side in name.split(" × ")) for name in named]
            for near in sizes:
                assert check_image("dcgan", (*near, 1), smallest) == (near, 1)
            at_least = [max(side, smallest) for side in size]
            assert all(side <= wanted for side, wanted in zip(sizes[0], at_least, strict=True))
            assert all(side >= wanted for side, wanted in zip(sizes[-1], at_least, strict=True))


def test_networks_of_images_are_all_here():
    assert set(SMALL) == set(NETWORKS) - {"mlp"}
