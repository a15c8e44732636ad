"""The SNGAN family: the published sizes and initial weights, the resampling of its blocks, and where a class enters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from small import drawn_variables
from small_networks import LABELS, K, every_image_network, in_train_mode, init, inputs_of, network

from gan_jax import Players, make_network
from gan_jax.networks.resnet import mean_of_pixels, repeat_pixels


def number_of_parameters(player, name, channels=3, **options):
    module = make_network(player, name, (32, 32, channels), **options)
    inputs = jnp.ones((1, 128)) if player == "gen" else jnp.ones((1, 32, 32, channels))
    labels = jnp.zeros((1,), jnp.int32) if options.get("num_classes") else None
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(partial(init, module), inputs, labels)["params"]))


def conv_size(kernel, inputs, outputs):
    return kernel**2 * inputs * outputs + outputs


def test_the_residual_networks_have_the_published_sizes():
    """SNGAN for CIFAR-10: 4.28 M in G, 1.05 M in D, as counted from the table of the paper."""
    block = 2 * 2 * 256 + 2 * conv_size(3, 256, 256) + conv_size(1, 256, 256)
    gen = (128 + 1) * 4 * 4 * 256 + 3 * block + 2 * 256 + conv_size(3, 256, 3)
    first = conv_size(3, 3, 128) + conv_size(3, 128, 128) + conv_size(1, 3, 128)
    kept = 2 * conv_size(3, 128, 128)
    disc = first + (kept + conv_size(1, 128, 128)) + 2 * kept + 128
    assert (gen, disc) == (4_276_739, 1_053_824)
    assert number_of_parameters("gen", "resnet", width=256) == gen
    assert number_of_parameters("disc", "resnet", width=128) == disc
    # Ten classes: ten rows of scales and biases in six of G's seven batch norms, and a row of D's projection.
    assert number_of_parameters("gen", "resnet", width=256, num_classes=10) == gen + 9 * 6 * 2 * 256
    assert number_of_parameters("disc", "resnet", width=128, num_classes=10) == disc + 10 * 128


def test_the_standard_cnn_has_the_widths_of_the_table():
    """At 32 × 32: G 512-256-128-64 by 4 × 4, then 3 × 3; D 64, 64, 128, 128, 256, 256, 512, by 3 × 3 and 4 × 4 in turn."""
    gen, disc = (make_network(player, "sndcgan", (32, 32, 3)) for player in Players._fields)
    params = jax.eval_shape(partial(init, gen), jnp.ones((1, 128)))["params"]
    kernels = [params[name]["kernel"].shape for name in ("Dense_0", *(f"ConvTranspose_{i}" for i in range(3)), "Conv_0")]
    assert kernels == [(128, 4 * 4 * 512), (4, 4, 256, 512), (4, 4, 128, 256), (4, 4, 64, 128), (3, 3, 64, 3)]
    params = jax.eval_shape(partial(init, disc), jnp.ones((1, 32, 32, 3)))["params"]
    widths = [3, 64, 64, 128, 128, 256, 256, 512]
    for index in range(7):
        kernel = 3 if index % 2 == 0 else 4
        assert params[f"Conv_{index}"]["kernel"].shape == (kernel, kernel, widths[index], widths[index + 1])
    assert params["Dense_0"]["kernel"].shape == (4 * 4 * 512, 1)


def test_initial_weights_have_the_published_scale():
    """N(0, 0.02) in the standard CNN; Glorot's uniform numbers in the residual networks, of gain √2 in their blocks' 3 × 3."""

    @jax.jit  # of kernels that are not returned, no compiled program draws a number
    def kernels():
        drawn = lambda module, inputs: flatten_dict(init(module, inputs)["params"], sep="/")  # noqa: E731
        standard = drawn(network("disc", "sndcgan", base_width=16), inputs_of("disc"))
        disc, gen = (drawn(network(player, "resnet", width=32), inputs_of(player)) for player in ("disc", "gen"))
        names = "DiscBlock_1/Conv_0/kernel", "GenBlock_0/Dense_0/kernel", "Dense_0/kernel"
        return standard["Conv_2/kernel"], disc[names[0]], gen[names[1]], gen[names[2]]

    standard, *glorot = kernels()
    assert float(jnp.std(standard)) == pytest.approx(0.02, rel=0.05)
    bounds = [(2 * 6 / (2 * 9 * 32)) ** 0.5, (6 / 64) ** 0.5, (6 / (5 + 16 * 32)) ** 0.5]
    assert [float(jnp.max(jnp.abs(kernel))) for kernel in glorot] == pytest.approx(bounds, rel=0.01)


def test_halving_takes_means_and_doubling_copies():
    x = jnp.arange(2 * 4 * 4 * 3.0).reshape(2, 4, 4, 3)
    np.testing.assert_array_equal(repeat_pixels(x), np.repeat(np.repeat(x, 2, axis=1), 2, axis=2))
    np.testing.assert_allclose(mean_of_pixels(x)[:, 1, 0], x[:, 2:4, 0:2].mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(mean_of_pixels(repeat_pixels(x)), x, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "norm", "count"), [("dcgan", "batch", 2), ("dcgan", "none", 1), ("sndcgan", "none", 6), ("resnet", "none", 4)]
)
def test_a_class_is_a_row_of_g(name, norm, count):
    """Tables `[K, C]`; another label is another image, and only the rows of the labels of a batch have a gradient."""
    size = 16 if name == "sndcgan" else 8
    module, latents = network("gen", name, size=size, norm=norm, num_classes=K), inputs_of("gen")
    variables = drawn_variables(module, latents, LABELS)
    images, others = (in_train_mode(module)(variables, latents, labels)[0] for labels in (LABELS, (LABELS + 1) % K))
    assert np.all(np.any(images != others, axis=(1, 2, 3)))

    def total(params):
        return jnp.sum(jnp.sin(in_train_mode(module)({**variables, "params": params}, latents, 2 * (LABELS % 2))[0]))

    gradients = flatten_dict(jax.jit(jax.grad(total))(variables["params"]))
    tables = {
        path: leaf
        for path, leaf in gradients.items()
        if path[-2].startswith(("ConditionalBatchNorm", "Bias")) and leaf.ndim == 2
    }
    assert len(tables) == count
    for path, leaf in tables.items():
        assert leaf.shape[0] == K, path
        assert np.any(np.asarray(leaf) != 0, axis=1).tolist() == [True, False, True], path


def conv(x, params, index, stride=1):
    """A padded convolution with its bias, by Flax's own layer."""
    kernel, bias = params[f"Conv_{index}"]["kernel"], params[f"Bias_{index}"]["bias"]
    return nn.Conv(kernel.shape[3], kernel.shape[:2], stride, 1).apply({"params": {"kernel": kernel, "bias": bias}}, x)


def dense(x, params):
    return nn.Dense(params["Dense_0"]["kernel"].shape[1]).apply({"params": params["Dense_0"]}, x)


def normed(x, params, name, labels=None):
    """Batch norm in train mode, with a scale and a bias for each channel, or for each label's."""
    rows = (params[name][part] if labels is None else params[name][part][labels] for part in ("scale", "bias"))
    scale, bias = (row.reshape(-1, 1, 1, x.shape[-1]) for row in rows)
    mean, variance = (moment(x, axis=(0, 1, 2), keepdims=True) for moment in (jnp.mean, jnp.var))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


def projected(features, params):
    """What a class adds to a logit: its vector times the features, summed over the image."""
    return jnp.sum(params["embedding"]["kernel"][LABELS] * jnp.sum(features, axis=(1, 2)), axis=1)


def standard_disc(x, params):
    for index in range(5):
        x = nn.leaky_relu(conv(x, params, index, 1 + index % 2), 0.1)
    return dense(x.reshape(8, -1), params)[:, 0] + projected(x, params)


def residual_disc(x, params):
    """At 16 × 16 one block halves the size, without a ReLU on the image, and two keep it."""
    for index in range(3):
        block = params[f"DiscBlock_{index}"]
        residual = conv(nn.relu(conv(nn.relu(x) if index else x, block, 0)), block, 1)
        x = x + residual if index else dense(mean_of_pixels(x), block) + mean_of_pixels(residual)
    x = nn.relu(x)
    return (jnp.sum(x, axis=(1, 2)) @ params["Dense_0"]["kernel"])[:, 0] + projected(x, params)


def residual_gen(x, params):
    x = dense(x, params).reshape(8, 4, 4, -1)
    for index in range(2):
        block = params[f"GenBlock_{index}"]
        residual = conv(repeat_pixels(nn.relu(normed(x, block, "ConditionalBatchNorm_0", LABELS))), block, 0)
        residual = conv(nn.relu(normed(residual, block, "ConditionalBatchNorm_1", LABELS)), block, 1)
        x = repeat_pixels(dense(x, block)) + residual
    return jnp.tanh(conv(nn.relu(normed(x, params, "BatchNorm_0")), params, 0))


@pytest.mark.parametrize(
    ("player", "name", "written_out"),
    [("disc", "sndcgan", standard_disc), ("disc", "resnet", residual_disc), ("gen", "resnet", residual_gen)],
)
def test_the_networks_are_those_of_the_tables_written_out(player, name, written_out):
    """Conditional, in train mode, D without a norm: also where there is no PyTorch to compare with."""
    module, inputs = network(player, name, num_classes=K, norm="none"), inputs_of(player)
    variables = drawn_variables(module, inputs, LABELS)
    outputs, expected = in_train_mode(module)(variables, inputs, LABELS)[0], jax.jit(written_out)(inputs, variables["params"])
    assert float(jnp.std(outputs)) > 1e-3
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-6)


@every_image_network
def test_d_projects_its_features_on_a_vector_of_the_class(name):
    """Without the vectors it is the unconditional D; the logit is linear in them."""
    module, images = network("disc", name, norm="none", num_classes=K), inputs_of("disc")
    variables = drawn_variables(module, images, LABELS)
    vectors = variables["params"]["embedding"]["kernel"]

    def logits(factor, labels=LABELS):
        params = {**variables["params"], "embedding": {"kernel": factor * vectors}}
        return in_train_mode(module)({"params": params}, images, labels)[0]

    plain = {key: leaf for key, leaf in variables["params"].items() if key != "embedding"}
    unconditional = in_train_mode(network("disc", name, norm="none"))({"params": plain}, images, None)[0]
    np.testing.assert_allclose(logits(0.0), unconditional, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits(3.0) - logits(0.0), 3 * (logits(1.0) - logits(0.0)), rtol=1e-3, atol=1e-5)
    assert np.all(logits(1.0) != logits(1.0, (LABELS + 1) % K))
