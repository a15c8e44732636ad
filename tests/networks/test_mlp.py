"""The MLP: its layers written out, shapes and bounds for points and for images, and labels beside its input."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from small_networks import init, leaky_relu

from gan_jax import make_network, make_networks


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
