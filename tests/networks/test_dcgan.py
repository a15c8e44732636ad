"""The DCGAN is that of the paper's guidelines: parameters, initial weights, every layer written out, and Flax's own layers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from small_networks import init, leaky_relu

from baselines.plain_flax import with_plain_layers
from gan_jax import GAN, OBJECTIVES, Players, make_networks
from gan_jax.networks.conv import Conv


def players(size=32, channels=3, base_width=4, norm="batch"):
    return make_networks("dcgan", (size, size, channels), base_width=base_width, norm=norm)


@pytest.mark.parametrize(("size", "channels", "base_width"), [(8, 1, 4), (16, 2, 3), (32, 3, 4), (64, 4, 1), (128, 1, 1)])
def test_shapes_for_every_size_channels_and_width(size, channels, base_width):
    gen, disc = players(size, channels, base_width)
    latents = jnp.ones((2, 7))
    images = jax.eval_shape(lambda: gen.init_with_output(jax.random.key(0), latents, None, train=False)[0])
    assert images.shape == (2, size, size, channels)
    logits = jax.eval_shape(lambda: disc.init_with_output(jax.random.key(0), jnp.zeros(images.shape), None, train=False)[0])
    assert logits.shape == (2,)


def test_parameters_are_those_of_the_recipe():
    """Weights 4 × 4, no bias beside batch norm's; batch norm neither on G's output nor on D's input."""
    gen, disc = players(32, 3, 64)
    gen_params = jax.eval_shape(partial(init, gen), jnp.ones((1, 100)))["params"]
    assert jax.tree.map(jnp.shape, gen_params) == {
        "Dense_0": {"kernel": (100, 4 * 4 * 256)},
        "BatchNorm_0": {"scale": (256,), "bias": (256,)},
        "ConvTranspose_0": {"kernel": (4, 4, 128, 256)},
        "BatchNorm_1": {"scale": (128,), "bias": (128,)},
        "ConvTranspose_1": {"kernel": (4, 4, 64, 128)},
        "BatchNorm_2": {"scale": (64,), "bias": (64,)},
        "ConvTranspose_2": {"kernel": (4, 4, 3, 64)},
    }
    disc_params = jax.eval_shape(partial(init, disc), jnp.ones((1, 32, 32, 3)))["params"]
    assert jax.tree.map(jnp.shape, disc_params) == {
        "Conv_0": {"kernel": (4, 4, 3, 64)},
        "Conv_1": {"kernel": (4, 4, 64, 128)},
        "BatchNorm_0": {"scale": (128,), "bias": (128,)},
        "Conv_2": {"kernel": (4, 4, 128, 256)},
        "BatchNorm_1": {"scale": (256,), "bias": (256,)},
        "Conv_3": {"kernel": (4, 4, 256, 1)},
    }


def test_initial_weights():
    gen, disc = players(32, 3, 64)
    for params in (init(gen, jnp.ones((1, 100)))["params"], init(disc, jnp.ones((1, 32, 32, 3)))["params"]):
        for name, layer in params.items():
            if name.startswith("BatchNorm"):
                assert float(jnp.mean(layer["scale"])) == pytest.approx(1.0, abs=0.01)
                assert float(jnp.std(layer["scale"])) == pytest.approx(0.02, rel=0.3)
                assert not np.any(layer["bias"])
            else:
                assert float(jnp.std(layer["kernel"])) == pytest.approx(0.02, rel=0.1)
                assert float(jnp.mean(layer["kernel"])) == pytest.approx(0.0, abs=0.002)


def batch_norm(x, params):
    """Train mode: each channel by its own mean and biased variance, eps 1e-5."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = (jnp.broadcast_to(moment(x, axis=axes, keepdims=True), x.shape) for moment in (jnp.mean, jnp.var))
    scale, bias = (jnp.broadcast_to(params[name], x.shape) for name in ("scale", "bias"))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


def up(x, params):
    """Fractionally strided convolution, by Flax's own layer."""
    kernel = params["kernel"]
    layer = nn.ConvTranspose(kernel.shape[2], (4, 4), (2, 2), ((2, 2), (2, 2)), use_bias=False, transpose_kernel=True)
    return layer.apply({"params": params}, x)


def down(x, params, stride=2, padding=1):
    return nn.Conv(params["kernel"].shape[3], (4, 4), stride, padding, use_bias=False).apply({"params": params}, x)


def test_the_networks_are_those_of_the_guidelines_written_out():
    """G: project and reshape, batch norm, ReLU, tanh at its end. D: LeakyReLU 0.2, batch norm but on its input. No pooling."""
    gen, disc = players(16, 3)
    latents = jax.random.normal(jax.random.key(1), (8, 7))
    variables = init(gen, latents)
    params = variables["params"]
    x = (latents @ params["Dense_0"]["kernel"]).reshape(8, 4, 4, 8)
    x = up(jnp.maximum(batch_norm(x, params["BatchNorm_0"]), 0), params["ConvTranspose_0"])
    x = jnp.tanh(up(jnp.maximum(batch_norm(x, params["BatchNorm_1"]), 0), params["ConvTranspose_1"]))
    images, _ = jax.jit(partial(gen.apply, train=True, mutable=["batch_stats"]))(variables, latents, None)
    np.testing.assert_allclose(images, x, rtol=1e-4, atol=1e-6)

    variables = init(disc, images)
    params = variables["params"]
    x = down(leaky_relu(down(images, params["Conv_0"])), params["Conv_1"])
    x = down(leaky_relu(batch_norm(x, params["BatchNorm_0"])), params["Conv_2"], 1, 0)
    logits, _ = jax.jit(partial(disc.apply, train=True, mutable=["batch_stats"]))(variables, images, None)
    np.testing.assert_allclose(logits, x.reshape(8), rtol=1e-4, atol=1e-6)


def test_batch_norm_uses_and_moves_its_statistics():
    """Running = 0.9 running + 0.1 batch, the variance biased: PyTorch's momentum 0.1, Flax's 0.9."""
    disc = players(16, 1).disc
    images = jax.random.normal(jax.random.key(1), (8, 16, 16, 1))
    variables = init(disc, images)
    _, updated = jax.jit(partial(disc.apply, train=True, mutable=["batch_stats"]))(variables, images, None)
    hidden = Conv(4).apply({"params": variables["params"]["Conv_0"]}, images)
    normed = Conv(8).apply({"params": variables["params"]["Conv_1"]}, jnp.where(hidden > 0, hidden, 0.2 * hidden))
    statistics = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * jnp.mean(normed, axis=(0, 1, 2)), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * jnp.var(normed, axis=(0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 16, 2), (20, 12, 1)], ids=str)
def test_same_outputs_and_gradients_as_plain_flax_layers(shape):
    """The benchmark's other side computes the same function of the same parameters."""
    networks = make_networks("dcgan", shape, base_width=4)
    gan = GAN(networks, Players(None, None), OBJECTIVES["minimax"], shape)
    plain = with_plain_layers(gan)
    for ours, theirs, inputs in zip(gan.networks, plain.networks, (jnp.ones((4, 7)), jnp.ones((4, *shape))), strict=True):
        inputs = jax.random.normal(jax.random.key(1), inputs.shape)
        variables = init(ours, inputs)
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, init(theirs, inputs))

        def total(params, network, variables=variables, inputs=inputs):
            outputs, _ = network.apply({**variables, "params": params}, inputs, None, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(outputs))

        one, other = (
            jax.jit(jax.value_and_grad(total), static_argnums=1)(variables["params"], network) for network in (ours, theirs)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), one, other)


def test_without_a_norm_there_are_biases_and_no_statistics_and_variances_stay():
    """He's initialisation: what goes into each activation has about the variance of what went into the last one."""
    gen, disc = players(32, 3, 16, norm="none")
    inputs = {
        "gen": jax.random.normal(jax.random.key(1), (64, 100)),
        "disc": jax.random.normal(jax.random.key(2), (64, 32, 32, 3)),
    }
    for network, name in ((gen, "gen"), (disc, "disc")):
        variables = init(network, inputs[name])
        assert set(variables) == {"params"}
        assert any(layer.startswith("Bias") for layer in variables["params"])
        is_bias = lambda module, _: type(module).__name__ == "Bias"  # noqa: E731
        _, captured = jax.jit(partial(network.apply, train=True, capture_intermediates=is_bias))(variables, inputs[name], None)
        variances = [float(jnp.var(leaf)) for leaf in jax.tree.leaves(captured["intermediates"])]
        assert len(variances) == 3
        assert all(1.0 < variance < 4.0 for variance in variances), (name, variances)  # 2 by the rule for ReLU
