"""A network's dtype is that of its arithmetic alone: parameters, statistics, gradients and outputs are float32."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from small import drawn_variables
from small_networks import LABELS, K, inputs_of, network

from gan_jax import Players, make_network
from gan_jax.networks.conv import Conv, ConvTranspose


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype_is_that_of_the_arithmetic_alone(dtype):
    """Parameters, statistics, gradients and what leaves the networks stay float32, and so does the arithmetic of D's head."""
    gen, disc = (network(player, "dcgan", dtype=dtype) for player in Players._fields)
    for module, inputs, heads in ((gen, jnp.ones((4, 7)), 0), (disc, jnp.ones((4, 16, 16, 1)), 1)):
        outputs, variables = jax.jit(partial(module.init_with_output, train=True))(jax.random.key(0), inputs, None)

        def total(params, module=module, variables=variables, inputs=inputs):
            return jnp.sum(module.apply({**variables, "params": params}, inputs, None, train=False))

        gradients = jax.jit(jax.grad(total))(variables["params"])
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((outputs, variables, gradients)))
        convolutions = [line for line in str(jax.make_jaxpr(total)(variables["params"])).splitlines() if "conv_general" in line]
        assert len(convolutions) > heads
        assert sum("bf16[" in line for line in convolutions) == (dtype == "bfloat16") * (len(convolutions) - heads)


@pytest.mark.parametrize("name", ["dcgan", "sndcgan", "resnet", "mlp"])
def test_logits_are_not_rounded_to_bfloat16(name):
    size = {"mlp": {}, "resnet": {"width": 4}}.get(name, {"base_width": 4})
    disc = make_network("disc", name, (16, 16, 1), dtype="bfloat16", **size)
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


@pytest.mark.parametrize("name", ["sndcgan", "resnet"])
@pytest.mark.parametrize("num_classes", [0, K])
def test_bfloat16_is_the_dtype_of_the_arithmetic_alone(name, num_classes):
    """Parameters, statistics, gradients and what leaves the networks stay float32, and no convolution is in float32."""
    labels = LABELS if num_classes else None
    for player in Players._fields:
        module, inputs = network(player, name, dtype="bfloat16", num_classes=num_classes), inputs_of(player)
        variables = drawn_variables(module, inputs, labels)

        def total(params, module=module, variables=variables, inputs=inputs):
            outputs, updated = module.apply(
                {**variables, "params": params}, inputs, labels, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(outputs), (outputs, updated)

        gradients, seen = jax.eval_shape(jax.grad(total, has_aux=True), variables["params"])
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((variables, gradients, seen)))
        convolutions = [line for line in str(jax.make_jaxpr(total)(variables["params"])).splitlines() if "conv_general" in line]
        assert convolutions
        assert all("bf16[" in line for line in convolutions)
