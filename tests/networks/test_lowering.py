"""The step and sampling lower for accelerators on a machine without one; Winograd's sums are the CPU's alone."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest

from gan_jax import GAN, OBJECTIVES, Batch, Players, make_network, make_networks, sampling, train_step
from gan_jax.networks import NETWORKS, winograd
from gan_jax.penalties import r1
from gan_jax.schedules import constant
from gan_jax.state import abstract_state

BATCH, SHAPE = 64, (32, 32, 3)
PLATFORMS = ("cpu", "cuda", "tpu")


def recipe(norm, penalties=()):
    networks = make_networks("dcgan", SHAPE, base_width=64, norm=norm)
    adam = optax.adam(2e-4)
    return GAN(networks, Players(adam, adam), OBJECTIVES["non_saturating"], SHAPE, penalties=penalties)


def count(text):
    return {name: text.count(f"stablehlo.{name}") for name in ("convolution", "dot_general")}


def lowered_step(gan, platform):
    """The training step's operations, from shapes alone."""

    def step(state, images, key_data):
        return train_step(gan, state, Batch(images), jax.random.wrap_key_data(key_data))

    images = jax.ShapeDtypeStruct((1, BATCH, *SHAPE), jnp.float32)
    key_data = jax.ShapeDtypeStruct((2,), jnp.uint32)
    exported = jax.export.export(jax.jit(step), platforms=[platform])(abstract_state(gan), images, key_data)
    assert exported.platforms == (platform,)
    return count(exported.mlir_module())


@pytest.mark.parametrize("penalised", [False, True])
def test_a_step_lowers_for_every_platform_and_only_a_cpu_has_winograds_sums(penalised):
    assert winograd.applies(BATCH, (16, 16), 2, 1, (4, 4, 64, 128))
    gan = recipe("none", ((r1, constant(1.0)),)) if penalised else recipe("batch")
    cpu, cuda, tpu = (lowered_step(gan, platform) for platform in PLATFORMS)
    assert cuda == tpu
    assert cuda["convolution"] > cpu["convolution"]
    assert cpu["dot_general"] - cuda["dot_general"] >= 9 * (cuda["convolution"] - cpu["convolution"])


def test_sampling_lowers_for_every_platform():
    gan = recipe("batch")
    variables = jax.eval_shape(lambda: {"params": abstract_state(gan).params.gen, "batch_stats": abstract_state(gan).stats.gen})
    latents = jax.ShapeDtypeStruct((64, 100), jnp.float32)
    generate = jax.jit(lambda variables, latents: sampling.generate_batch(gan.networks.gen, True, variables, latents, None))
    modules = [jax.export.export(generate, platforms=[platform])(variables, latents).mlir_module() for platform in PLATFORMS]
    counts = [count(module) for module in modules]
    assert counts[1] == counts[2]
    assert (counts[1]["convolution"], counts[1]["dot_general"]) == (3, 1)  # the projection, and three layers
    assert (counts[0]["convolution"], counts[0]["dot_general"]) == (1, 1 + 2 * 9)  # but for the last, of too few channels
    # XLA calls cuDNN's input gradient only where the kernel is the result of a reverse, with nothing between.
    kernels = re.findall(r"stablehlo\.convolution\(%\w+, (%\w+)\)[^\n]*lhs_dilate = \[2, 2\]", modules[1])
    assert len(kernels) == 3
    assert all(re.search(rf"{kernel} = stablehlo\.reverse ", modules[1]) for kernel in kernels)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_any_size_is_lowered_as_the_batch_of_sampling(name):
    """So that an exported generator has the bits of `generate`."""
    size = {"mlp": {"hidden": (8,)}, "dcgan": {"base_width": 32}, "resnet": {"width": 8}, "r3gan": {"widths": (16,)}}
    gen = make_network("gen", name, SHAPE, num_classes=2, **size.get(name, {"base_width": 8}))
    variables = jax.eval_shape(partial(gen.init, train=False), jax.random.key(0), jnp.ones((1, 4)), jnp.zeros((1,), jnp.int32))
    generate = jax.jit(lambda *inputs: sampling.generate_batch(gen, True, *inputs))

    def lowered(batch):
        inputs = jax.ShapeDtypeStruct((batch, 4), jnp.float32), jax.ShapeDtypeStruct((batch,), jnp.int32)
        exported = jax.export.export(generate, platforms=["cpu"])(variables, *inputs)
        assert exported.out_avals[0].shape == (batch, *SHAPE)
        return count(exported.mlir_module())

    assert lowered(*jax.export.symbolic_shape("batch")) == lowered(sampling.BATCH_SIZE)
