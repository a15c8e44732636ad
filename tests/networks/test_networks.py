"""The networks: shapes, DCGAN's guidelines read off the traced graph, dtypes, and the same numbers from Flax's own layers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from small import drawn_variables, small_gan, small_state

from baselines.plain_flax import with_plain_layers
from gan_jax import GAN, OBJECTIVES, Players, create_state, make_network, make_networks
from gan_jax.errors import InputError
from gan_jax.networks.conv import Conv, ConvTranspose


def init(network, inputs, labels=None):
    return jax.jit(partial(network.init, train=True))(jax.random.key(0), inputs, labels)


def players(size=32, channels=3, base_width=4, dtype="float32", norm="batch"):
    return make_networks("dcgan", (size, size, channels), base_width=base_width, dtype=dtype, norm=norm)


@pytest.mark.parametrize(("size", "channels", "base_width"), [(8, 1, 4), (16, 2, 3), (32, 3, 4), (64, 4, 1), (128, 1, 1)])
def test_shapes_for_every_size_channels_and_width(size, channels, base_width):
    gen, disc = players(size, channels, base_width)
    latents = jnp.ones((2, 7))
    images = jax.eval_shape(lambda: gen.init_with_output(jax.random.key(0), latents, None, train=False)[0])
    assert images.shape == (2, size, size, channels)
    logits = jax.eval_shape(lambda: disc.init_with_output(jax.random.key(0), jnp.zeros(images.shape), None, train=False)[0])
    assert logits.shape == (2,)


@pytest.mark.parametrize(
    ("name", "sample_shape", "options", "message"),
    [
        ("dcgan", (30, 30, 1), {}, "image size 30 × 30 must be .*; nearest: 28 × 28 and 32 × 32; set config.data.image_size"),
        ("dcgan", (4, 4, 1), {}, "image size 4 × 4 must be .*; nearest: 6 × 6; "),
        ("dcgan", (70, 62, 1), {}, "image size 70 × 62 must be .*; nearest: 64 × 56 and 80 × 64; "),
        ("dcgan", (2,), {}, "makes images, but the samples are \\(2,\\): choose mlp"),
        ("dcgan", (16, 16, 1), {"base_width": 0}, "base_width=0 must be an integer ≥ 1"),
        ("dcgan", (16, 16, 1), {"norm": "bach"}, "norm=bach must be one of batch, none.*; did you mean batch"),
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


def leaky_relu(x):
    return jnp.where(x > 0, x, 0.2 * x)


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


def test_the_mlp_written_out():
    gen, disc = make_networks("mlp", (2,), hidden=(5, 6))
    for network, inputs, activation in ((gen, jnp.ones((4, 3)), nn.relu), (disc, jnp.ones((4, 2)), leaky_relu)):
        inputs = jax.random.normal(jax.random.key(1), inputs.shape)
        variables = init(network, inputs)
        x = inputs
        for layer in ("Dense_0", "Dense_1", "Dense_2"):
            params = variables["params"][layer]
            x = x @ params["kernel"] + params["bias"][None]
            x = x if layer == "Dense_2" else activation(x)
        outputs = network.apply(variables, inputs, None, train=True)
        np.testing.assert_allclose(outputs, x.reshape(outputs.shape), rtol=1e-4, atol=1e-6)


def test_images_lie_in_minus_one_to_one():
    gen, _ = players()
    latents = 100 * jax.random.normal(jax.random.key(1), (8, 7))
    images, _ = jax.jit(partial(gen.init_with_output, train=False))(jax.random.key(0), latents, None)
    assert float(jnp.max(jnp.abs(images))) <= 1.0


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype_is_that_of_the_arithmetic_alone(dtype):
    """Parameters, statistics, gradients and what leaves the networks stay float32, and so does the arithmetic of D's head."""
    gen, disc = players(16, 1, 4, dtype)
    for network, inputs, heads in ((gen, jnp.ones((4, 7)), 0), (disc, jnp.ones((4, 16, 16, 1)), 1)):
        outputs, variables = jax.jit(partial(network.init_with_output, train=True))(jax.random.key(0), inputs, None)

        def total(params, network=network, variables=variables, inputs=inputs):
            return jnp.sum(network.apply({**variables, "params": params}, inputs, None, train=False))

        gradients = jax.jit(jax.grad(total))(variables["params"])
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((outputs, variables, gradients)))
        convolutions = [line for line in str(jax.make_jaxpr(total)(variables["params"])).splitlines() if "conv_general" in line]
        assert len(convolutions) > heads
        assert sum("bf16[" in line for line in convolutions) == (dtype == "bfloat16") * (len(convolutions) - heads)


@pytest.mark.parametrize("name", ["dcgan", "sndcgan", "mlp"])
def test_logits_are_not_rounded_to_bfloat16(name):
    disc = make_network("disc", name, (16, 16, 1), dtype="bfloat16", **({} if name == "mlp" else {"base_width": 4}))
    images = jax.random.normal(jax.random.key(1), (8, 16, 16, 1))
    logits = disc.apply(drawn_variables(disc, images), images, None, train=False)
    assert logits.dtype == jnp.float32
    assert bool(jnp.all(logits != logits.astype(jnp.bfloat16)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_compute_in_dtype(dtype):
    images = jnp.ones((2, 8, 8, 3))
    for layer, shape in ((Conv(5, dtype=dtype), (2, 4, 4, 5)), (ConvTranspose(5, dtype=dtype), (2, 16, 16, 5))):
        outputs, variables = layer.init_with_output(jax.random.key(0), images)
        assert outputs.shape == shape
        assert outputs.dtype == dtype
        assert variables["params"]["kernel"].dtype == jnp.float32


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


def test_mlp_shapes_and_bounds():
    points = make_networks("mlp", (2,), hidden=(16, 8))
    samples, _ = jax.jit(partial(points.gen.init_with_output, train=False))(jax.random.key(0), 1e4 * jnp.ones((5, 3)), None)
    assert samples.shape == (5, 2)
    assert float(jnp.max(jnp.abs(samples))) > 1.0
    images = make_networks("mlp", (8, 8, 3), hidden=(16, 8))
    samples, _ = jax.jit(partial(images.gen.init_with_output, train=False))(jax.random.key(0), 1e4 * jnp.ones((5, 3)), None)
    assert samples.shape == (5, 8, 8, 3)
    assert float(jnp.max(jnp.abs(samples))) <= 1.0
    logits, _ = jax.jit(partial(images.disc.init_with_output, train=False))(jax.random.key(0), samples, None)
    assert logits.shape == (5,)


def test_labels_of_an_mlp_are_one_hot_beside_its_input():
    """The same as an unlabelled one on inputs of D + K entries, and another class is another output."""
    labels = jnp.array([0, 2, 1, 2])
    for player, shape in (("gen", (4, 3)), ("disc", (4, 2))):
        inputs = jax.random.normal(jax.random.key(1), shape)
        labelled, plain = (make_network(player, "mlp", (2,), hidden=(5,), num_classes=count) for count in (3, 0))
        variables = init(labelled, inputs, labels)
        joined = jnp.concatenate([inputs, jnp.eye(3)[labels]], axis=1)
        outputs = labelled.apply(variables, inputs, labels, train=True)
        np.testing.assert_allclose(outputs, plain.apply(variables, joined, None, train=True), rtol=1e-6)
        assert np.all(outputs != labelled.apply(variables, inputs, (labels + 1) % 3, train=True))


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


def test_initial_state_depends_on_the_key_alone():
    gan = small_gan()
    first, again = small_state(gan), small_state(gan)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = create_state(gan, jax.random.key(1))
    kernels = [state.params.gen["Dense_0"]["kernel"] for state in (first, other)]
    assert np.all(kernels[0] != kernels[1])
