"""What every network promises: shapes, bounds, a state that depends on the key alone, and one line where it cannot be."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import drawn_variables, small_gan, small_state
from small_networks import LABELS, K, every_image_network, inputs_of, network

from gan_jax import Players, create_state, make_network
from gan_jax.errors import InputError


@pytest.mark.parametrize(
    ("name", "sample_shape", "options", "message"),
    [
        ("dcgan", (30, 30, 1), {}, "image size 30 × 30 must be .*; nearest: 28 × 28 and 32 × 32; set config.data.image_size"),
        ("dcgan", (4, 4, 1), {}, "image size 4 × 4 must be .*; nearest: 6 × 6; "),
        ("dcgan", (70, 62, 1), {}, "image size 70 × 62 must be .*; nearest: 64 × 56 and 80 × 64; "),
        ("dcgan", (2,), {}, "makes images, but the samples are \\(2,\\): choose mlp"),
        ("dcgan", (16, 16, 1), {"base_width": 0}, "base_width=0 must be an integer ≥ 1"),
        ("dcgan", (16, 16, 1), {"norm": "bach"}, "norm=bach must be one of batch, none.*; did you mean batch"),
        ("sndcgan", (8, 8, 1), {}, "network sndcgan: image size 8 × 8 must be .*, its sides ≥ 16; nearest: 16 × 16; "),
        ("sndcgan", (2,), {}, "network sndcgan makes images, but the samples are \\(2,\\): choose mlp"),
        ("sndcgan", (16, 16, 1), {"base_width": 0}, "base_width=0 must be an integer ≥ 1"),
        ("sndcgan", (16, 16, 1), {"base_width": 4.5}, "base_width=4.5 must be an integer ≥ 1"),
        ("sndcgan", (16, 16, 1), {"norm": "spectrl"}, "norm=spectrl must be one of spectral, none; did you mean spectral"),
        ("sndcgan", (16, 16, 1), {"norm": "batch"}, "norm=batch must be one of spectral, none"),
        ("resnet", (17, 24, 1), {}, "network resnet: image size 17 × 24 must be .*; nearest: 16 × 24 and 20 × 24; "),
        ("resnet", (16, 16, 1), {"width": 0}, "width=0 must be an integer ≥ 1"),
        ("resnet", (16, 16, 1), {"width": "wide"}, "width=wide must be an integer ≥ 1"),
        ("resnet", (16, 16, 1), {"norm": "leyer"}, "norm=leyer must be one of spectral, layer, none; did you mean layer"),
        ("mlp", (2,), {"hidden": (0,)}, "must be integers ≥ 1"),
        ("mlp", (2,), {"hiden": (4,)}, "network mlp: hiden must be one of num_classes, dtype, hidden; did you mean hidden"),
        (
            "mlp",
            (2,),
            {"dtype": "float16"},
            "network mlp: dtype=float16 must be one of float32, bfloat16; did you mean bfloat16",
        ),
        ("mpl", (2,), {}, "network mpl must be one of dcgan, mlp.*; did you mean mlp"),
    ],
)
@pytest.mark.parametrize("player", Players._fields)
def test_what_a_network_cannot_be_is_one_line(player, name, sample_shape, options, message):
    with pytest.raises(InputError, match=message) as error:
        make_network(player, name, sample_shape, **options)
    assert "\n" not in str(error.value)


def test_a_player_that_is_none_is_one_line():
    with pytest.raises(InputError, match="player generator must be one of gen, disc"):
        make_network("generator", "mlp", (2,))


def test_initial_state_depends_on_the_key_alone():
    gan = small_gan()
    first, again = small_state(gan), create_state(gan, jax.random.key(0))  # small_state's key
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = create_state(gan, jax.random.key(1))
    kernels = [state.params.gen["Dense_0"]["kernel"] for state in (first, other)]
    assert np.all(kernels[0] != kernels[1])


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [("sndcgan", 16, 1), ("sndcgan", 64, 3), ("resnet", 8, 3), ("resnet", 16, 2), ("resnet", 64, 1), ("dcgan", 8, 1)],
)
@pytest.mark.parametrize("num_classes", [0, K])
def test_shapes_for_every_size_and_number_of_channels(name, size, channels, num_classes):
    labels = LABELS if num_classes else None
    for player, shape in (("gen", (8, size, size, channels)), ("disc", (8,))):
        module = network(player, name, size=size, channels=channels, num_classes=num_classes)
        inputs = inputs_of(player, size=size, channels=channels)
        outputs = jax.eval_shape(partial(module.init_with_output, train=False), jax.random.key(0), inputs, labels)[0]
        assert (outputs.shape, outputs.dtype) == (shape, jnp.float32)


@every_image_network
def test_images_lie_in_minus_one_to_one(name):
    module = network("gen", name)
    latents = 100 * inputs_of("gen")
    variables = drawn_variables(module, latents, amount=1.0)
    images = jax.jit(partial(module.apply, train=False))(variables, latents, None)
    assert 0.5 < float(jnp.max(jnp.abs(images))) <= 1.0
