"""R3GAN: the published sizes, what its initialisation promises, and what a penalty and labels need of it."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import drawn_variables

from gan_jax import Players, make_network, make_networks
from gan_jax.errors import InputError
from gan_jax.networks.r3gan import Activation, Block
from gan_jax.networks.resample import downsample, upsample
from gan_jax.penalties import r1

SMALL = {"widths": (8,), "blocks": 1, "group_size": 4}
LABELS = jnp.array([0, 2, 1, 2])


def players(size=8, channels=3, **options):
    return make_networks("r3gan", (size, size, channels), **(SMALL | options))


def drawn(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


INPUTS = Players((4, 5), (4, 8, 8, 3))


@pytest.mark.parametrize(
    ("size", "num_classes", "options", "millions"),
    [
        (32, 0, {"widths": (768,)}, (20.73, 20.68)),  # Stacked MNIST
        (32, 10, {"widths": (768, 768, 768, 768)}, (20.78, 21.28)),  # CIFAR-10
        (64, 0, {"widths": (384, *[768] * 4)}, (22.43, 22.38)),  # FFHQ-64
        (256, 0, {"widths": (96, 192, 384, *[768] * 4)}, (23.06, 23.01)),  # FFHQ-256
        (64, 1000, {"widths": (1536,), "group_size": 32}, (103.6, 107.2)),  # ImageNet-64
    ],
)
def test_as_many_parameters_as_published(size, num_classes, options, millions):
    """Table 9 of the paper, to the digits that it gives."""
    labels = jnp.zeros(1, int) if num_classes else None
    inputs = Players(jnp.zeros((1, 64)), jnp.zeros((1, size, size, 3)))
    networks = make_networks("r3gan", (size, size, 3), num_classes=num_classes, **options)
    for network, x, published in zip(networks, inputs, millions, strict=True):
        shapes = jax.eval_shape(partial(network.init, train=True), jax.random.key(0), x, labels)
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e6
        assert count == pytest.approx(published, abs=0.05 if published > 100 else 0.005)


@pytest.mark.parametrize(("size", "channels", "widths"), [(8, 1, (8,)), (16, 4, (4, 8, 12)), (32, 3, (2,))])
def test_shapes(size, channels, widths):
    gen, disc = players(size, channels, widths=widths)
    images = jax.eval_shape(lambda: gen.init_with_output(jax.random.key(0), jnp.ones((2, 5)), None, train=False)[0])
    assert (images.shape, images.dtype) == ((2, size, size, channels), jnp.float32)
    logits = jax.eval_shape(lambda: disc.init_with_output(jax.random.key(0), jnp.zeros(images.shape), None, train=False)[0])
    assert (logits.shape, logits.dtype) == ((2,), jnp.float32)


@pytest.mark.parametrize(
    ("sample_shape", "options", "message"),
    [
        ((26, 26, 1), {}, "image size 26 × 26 must be .*; nearest: 24 × 24 and 28 × 28; set config.data.image_size"),
        ((4, 4, 1), {}, "image size 4 × 4 must be .*; nearest: 6 × 6; "),
        ((2,), {}, r"makes images, but the samples are \(2,\): choose mlp"),
        ((16, 16, 1), {"widths": (8, 8)}, r"widths=\(8, 8\) must be 3 integers ≥ 1, from 16 × 16 to 4 × 4, or one for all"),
        ((16, 16, 1), {"widths": ()}, r"widths=\(\) must be 3 integers"),
        ((16, 16, 1), {"widths": (0,)}, r"widths=\(0,\) must be 3 integers"),
        ((16, 16, 1), {"widths": ("x",)}, r"widths=\('x',\) must be 3 integers"),
        ((16, 16, 1), {"widths": (8, 8, 6), "group_size": 16}, r"group_size=16 must divide 2 × 6, for widths=\(8, 8, 6\)"),
        ((16, 16, 1), {"group_size": 0}, "group_size=0 must be an integer ≥ 1"),
        ((16, 16, 1), {"blocks": 0}, "blocks=0 must be an integer ≥ 1"),
        ((16, 16, 1), {"blocks": 1.5}, "blocks=1.5 must be an integer ≥ 1"),
    ],
)
@pytest.mark.parametrize("player", Players._fields)
def test_what_an_r3gan_cannot_be_is_one_line(player, sample_shape, options, message):
    with pytest.raises(InputError, match=f"^network r3gan.*{message}") as error:
        make_network(player, "r3gan", sample_shape, **options)
    assert "\n" not in str(error.value)


def moments(network, shape, *inputs, keep, **options):
    """E x² of what these modules, and the network itself, put out: over 32 initialisations, each with its own white noise."""

    def measure(variables, x):
        is_kept = lambda module, _: isinstance(module, keep)  # noqa: E731
        outputs, captured = network.apply(variables, x, *inputs, **options, capture_intermediates=is_kept)
        kept = {name: module["__call__"][0] for name, module in captured["intermediates"].items()}
        return {name: jnp.mean(jnp.square(x)) for name, x in (kept | {"outputs": outputs}).items()}

    x = drawn(32, *shape)
    # Two programs: XLA:CPU (jaxlib 0.10.2) gives a wrong sum over a product with a constant kernel of zeros.
    init_one = jax.jit(jax.vmap(lambda key, x: network.init(key, x, *inputs, **options)))
    variables = init_one(jax.random.split(jax.random.key(0), 32), x)
    each = jax.jit(jax.vmap(measure))(variables, x)
    return {name: float(jnp.mean(moment)) for name, moment in each.items()}


def test_a_block_has_the_variances_of_fix_up():
    """Of x with E x² = 1, the second moments after the activations are L^(-1/2) and L^(-1), L the blocks of the network."""
    num_blocks, size = 8, 8
    inside = ((3 * size - 2) / (3 * size)) ** 2  # share of the 3 × 3 windows that is not beyond the border
    measured = moments(Block(16, num_blocks), (2, size, size, 48), keep=Activation)
    expected = {"outputs": 1.0, "Activation_0": num_blocks**-0.5, "Activation_1": inside / num_blocks}
    assert measured == pytest.approx(expected, rel=0.05)  # 32 × 96 outputs, each a χ² of one degree: 2.5 % and somewhat more


def test_a_block_is_the_identity_at_first():
    block, x = Block(16, 8), drawn(2, 8, 8, 48)
    np.testing.assert_array_equal(block.init_with_output(jax.random.key(0), x)[0], x)


@pytest.mark.parametrize(("player", "shape", "resample"), [("gen", (8, 64), upsample), ("disc", (8, 16, 16, 3), downsample)])
def test_variances_are_those_of_resampling_alone(player, shape, resample):
    """Of white noise: the layers beside the blocks have gain 1, from what comes in to what goes out."""
    network = getattr(players(16, 3, widths=(32, 48, 48)), player)
    covariance, expected = jnp.eye(4 if player == "gen" else 16)[None, :, :, None], []
    for _ in range(3):
        expected.append(float(jnp.mean(jnp.diagonal(covariance[0, :, :, 0])) ** 2))
        covariance = resample(covariance)  # M C Mᵀ, of the matrix M that resamples one direction
    measured = moments(network, shape, None, train=True, keep=Block)
    assert [measured[f"Block_{index}"] for index in range(3)] == pytest.approx(expected, rel=0.1)
    assert measured["outputs"] == pytest.approx(expected[-1], rel=0.4)  # of D from the three channels of the image: √(2 / 96)


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("player", Players._fields)
def test_examples_are_independent(player, num_classes):
    network, x = getattr(players(num_classes=num_classes), player), drawn(*getattr(INPUTS, player))
    labels = LABELS if num_classes else None
    variables = drawn_variables(network, x, labels)
    apply = jax.jit(partial(network.apply, train=True))
    one = apply(variables, x, labels)
    other = apply(variables, x.at[1].set(7.0), labels)
    np.testing.assert_array_equal(
        one != other, np.broadcast_to((np.arange(4) == 1).reshape(4, *[1] * (one.ndim - 1)), one.shape)
    )


@pytest.mark.parametrize("player", Players._fields)
def test_a_label_changes_its_own_output(player):
    network, x = getattr(players(num_classes=3), player), drawn(*getattr(INPUTS, player))
    variables = drawn_variables(network, x, LABELS)
    apply = jax.jit(partial(network.apply, train=True))
    one, other = (apply(variables, x, labels) for labels in (LABELS, LABELS.at[1].set(0)))
    differs = np.any((one != other).reshape(4, -1), axis=1)
    np.testing.assert_array_equal(differs, np.arange(4) == 1)


def test_logits_are_products_with_the_vectors_of_the_labels():
    """Twice the vectors, twice the logits; and where all labels have the vector of the first, so have their logits."""
    disc, x = players(num_classes=3).disc, drawn(*INPUTS.disc)
    params = drawn_variables(disc, x, LABELS)["params"]
    table = params["embedding"]["kernel"]

    @jax.jit
    def logits(table, labels):
        return disc.apply({"params": params | {"embedding": {"kernel": table}}}, x, labels, train=True)

    np.testing.assert_allclose(logits(2 * table, LABELS), 2 * logits(table, LABELS), rtol=1e-5)
    np.testing.assert_allclose(logits(jnp.tile(table[:1], (3, 1)), LABELS), logits(table, jnp.zeros(4, int)), rtol=1e-5)


def test_initial_vectors_of_labels():
    """Gain 1 of one-hot inputs in G; gain 1 / √C in D, so that the sum over C products has the variance of one."""
    width, num_classes = 64, 100
    gen, disc = players(widths=(width,), num_classes=num_classes)
    labels = jnp.zeros(1, int)
    for network, x, gain in ((gen, jnp.ones((1, 5)), 1), (disc, jnp.ones((1, 8, 8, 3)), width**-0.5)):
        variables = jax.jit(partial(network.init, train=True))(jax.random.key(0), x, labels)
        assert set(variables) == {"params"}
        table = variables["params"]["embedding"]["kernel"]
        assert table.shape == (num_classes, 64)
        assert float(jnp.std(table)) == pytest.approx(gain / num_classes**0.5, rel=0.05)


def test_the_gradient_of_a_penalty_is_that_of_differences_and_reaches_every_kernel():
    disc, x = players(num_classes=3).disc, drawn(*INPUTS.disc)
    params = drawn_variables(disc, x, LABELS)["params"]
    with jax.enable_x64(True):
        exact = replace(disc, dtype=jnp.float64)
        params, x = jax.tree.map(partial(jnp.asarray, dtype=jnp.float64), (params, x))
        keys = {"real": jax.random.split(jax.random.key(0), 4)}

        @jax.jit
        @jax.value_and_grad
        def penalty(params):
            return jnp.mean(r1(lambda images, _: exact.apply({"params": params}, images, LABELS, train=True), x, x, keys))

        _, gradient = penalty(params)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            assert bool(jnp.any(leaf != 0)) != (path[-1].key == "bias"), path  # D is linear but for the signs
        rng = np.random.default_rng(0)
        direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
        ahead, behind = (penalty(jax.tree.map(lambda a, b, by=by: a + by * b, params, direction))[0] for by in (1e-6, -1e-6))
        slope = sum(float(jnp.vdot(a, b)) for a, b in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
        assert slope == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-5)


def test_without_biases_both_players_scale_with_their_inputs():
    """No tanh and no norm: 100 times the latents are 100 times the images, far beyond [-1, 1]."""
    for network, shape in zip(players(), INPUTS, strict=True):
        x = drawn(*shape)
        variables = drawn_variables(network, x, amount=0.3)
        variables = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * (path[-1].key != "bias"), variables)
        apply = jax.jit(partial(network.apply, train=True))
        outputs, scaled = (apply(variables, scale * x, None) for scale in (1, 100))
        np.testing.assert_allclose(scaled, 100 * outputs, rtol=1e-4, atol=1e-3)
        assert float(jnp.max(jnp.abs(scaled))) > 10


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("player", Players._fields)
def test_bfloat16_is_the_arithmetic_alone(player, num_classes):
    shape, labels = getattr(INPUTS, player), LABELS if num_classes else None
    exact, rough = (getattr(players(num_classes=num_classes, dtype=dtype), player) for dtype in ("float32", "bfloat16"))
    x = drawn(*shape)
    variables = drawn_variables(rough, x, labels)
    is_block = lambda module, _: isinstance(module, Block)  # noqa: E731
    captured_apply = partial(rough.apply, train=True, capture_intermediates=is_block)
    outputs, captured = jax.jit(captured_apply)(variables, x, labels)
    assert {leaf.dtype for leaf in jax.tree.leaves(captured)} == {jnp.dtype(jnp.bfloat16)}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((outputs, variables)))
    expected = jax.jit(partial(exact.apply, train=True))(variables, x, labels)
    assert 0 < float(jnp.max(jnp.abs(outputs - expected))) < 0.05 * float(jnp.max(jnp.abs(expected)))
    assert bool(jnp.any(outputs != outputs.astype(jnp.bfloat16))) == (player == "disc")  # logits are not rounded again
    text = str(jax.make_jaxpr(lambda x: rough.apply(variables, x, labels, train=True))(x))
    products = [line for line in text.splitlines() if "conv_general" in line or "dot_general" in line]
    of_head = (2 if num_classes else 1) if player == "disc" else 0  # its matrix, and the vectors of the labels
    assert sum("f32[" in line for line in products) == of_head
