"""Spectral norm against singular values, layer norm, and what each norm means for the examples and updates of a batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from small import assert_trees_equal, drawn_variables, small_gan, small_state, trees_differ
from small_networks import LABELS, K, every_image_network, in_train_mode, init, inputs_of, network
from updates import disc_update, gen_update

from gan_jax import Batch, create_state
from gan_jax.errors import InputError
from gan_jax.networks.layers import normalise
from gan_jax.penalties import r1
from gan_jax.schedules import constant
from gan_jax.state import has_batch_norm


@pytest.mark.parametrize("norm", ["layer", "spectral"])
def test_a_norm_of_d_alone_is_refused_in_g(norm):
    message = f"norm={norm} is for the discriminator only, the generator has batch or none: set config.network.disc.dcgan.norm"
    with pytest.raises(InputError, match=message) as error:
        network("gen", "dcgan", norm=norm)
    assert "\n" not in str(error.value)
    network("disc", "dcgan", norm=norm)


def spectral_norms(params, stats):
    """Of every kernel, by its path: |W u| for the u that the statistics keep, and the largest singular value."""
    kernels = {path[:-1]: np.asarray(leaf) for path, leaf in flatten_dict(params).items() if path[-1] == "kernel"}
    vectors = {(*path[:-2], path[-1].removesuffix("_u")): leaf for path, leaf in flatten_dict(stats).items()}
    assert vectors.keys() == kernels.keys()
    matrices = {path: kernel.reshape(-1, kernel.shape[-1]) for path, kernel in kernels.items()}
    return {path: (np.linalg.norm(W @ vectors[path]), np.linalg.svd(W, compute_uv=False)[0]) for path, W in matrices.items()}


@every_image_network
def test_the_power_iteration_arrives_at_the_largest_singular_value_of_every_kernel(name):
    """Miyato et al. 2018: then each layer is a map of spectral norm 1; the embedding of classes too."""
    module, images = network("disc", name, norm="spectral", num_classes=K), inputs_of("disc")[:1]
    variables = drawn_variables(module, images, LABELS[:1])
    params = variables["params"]

    @jax.jit
    def iterations(count):
        def once(_, stats):
            return in_train_mode(module)({"params": params, "batch_stats": stats}, images, LABELS[:1])[1]["batch_stats"]

        return jax.lax.fori_loop(0, count, once, variables["batch_stats"])

    assert any(sigma < 0.95 * true for sigma, true in spectral_norms(params, iterations(1)).values())
    for path, (sigma, true) in spectral_norms(params, iterations(500)).items():
        assert sigma == pytest.approx(true, rel=1e-3), path


@pytest.mark.parametrize("name", ["sndcgan", "resnet"])
def test_initial_weights_are_those_without_spectral_norm_to_the_bit(name):
    """Drawn, not divided: the size of an optimiser's steps beside them is that of the paper."""
    drawn, plain = (init(network("disc", name, norm=norm), inputs_of("disc"))["params"] for norm in ("spectral", "none"))
    assert_trees_equal(drawn, plain)


@every_image_network
def test_the_scale_of_a_kernel_is_divided_out(name):
    """Ten times the kernels are the same discriminator, and a gradient has no part along its kernel."""
    module, images = network("disc", name, norm="spectral"), inputs_of("disc")
    variables = drawn_variables(module, images)
    scaled = {**variables, "params": jax.tree.map(lambda leaf: 10 * leaf if leaf.ndim > 1 else leaf, variables["params"])}
    logits, again = (in_train_mode(module)(each, images, None)[0] for each in (variables, scaled))
    np.testing.assert_allclose(logits, again, rtol=1e-4, atol=1e-6)
    assert np.all(logits != 0)
    gradients = jax.jit(
        jax.grad(lambda params: jnp.sum(jnp.sin(in_train_mode(module)({**variables, "params": params}, images, None)[0])))
    )(variables["params"])
    for path, gradient in flatten_dict(gradients).items():
        kernel = flatten_dict(variables["params"])[path]
        if path[-1] == "kernel":
            lengths = jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel)
            assert abs(float(jnp.vdot(gradient, kernel))) < 1e-4 * float(lengths), path


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("dcgan", "batch"),
        ("dcgan", "layer"),
        ("dcgan", "spectral"),
        ("sndcgan", "none"),
        ("resnet", "layer"),
        ("resnet", "none"),
    ],
)
def test_only_batch_norm_couples_the_examples_of_a_batch(name, norm):
    """What a penalty on the slope of each example needs."""
    module, images = network("disc", name, norm=norm), inputs_of("disc")
    variables = drawn_variables(module, images)
    others = images.at[4:].set(3 * inputs_of("disc", seed=2)[4:])
    first, second = (in_train_mode(module)(variables, each, None)[0] for each in (images, others))
    assert np.all(first[4:] != second[4:])
    assert np.allclose(first[:4], second[:4], rtol=1e-5, atol=1e-6) == (norm != "batch")
    assert has_batch_norm(variables.get("batch_stats", {})) == (norm == "batch")


def test_layer_norm_is_over_all_entries_of_an_example_with_a_scale_and_a_bias_for_each_channel():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return normalise(x, norm="layer", train=True, dtype=jnp.float32)

    x = 2.0 + 3.0 * jax.random.normal(jax.random.key(0), (4, 6, 6, 5))
    params = {"scale": jnp.arange(1.0, 6.0), "bias": jnp.arange(5.0)}
    moments = [moment(x, axis=(1, 2, 3), keepdims=True) for moment in (jnp.mean, jnp.var)]
    expected = (x - moments[0]) / jnp.sqrt(moments[1] + 1e-5) * params["scale"][None, None, None] + params["bias"][
        None, None, None
    ]
    np.testing.assert_allclose(Normed().apply({"params": {"LayerNorm_0": params}}, x), expected, rtol=1e-4, atol=1e-5)


def batch_of(num_classes=0):
    return Batch(jnp.tanh(inputs_of("disc", seed=3)), LABELS if num_classes else None)


def test_d_moves_its_statistics_once_in_its_own_update_and_never_in_gs():
    """The two passes of an update start from one u and the same kernels, so that their mean is either's."""
    gan = small_gan(norm="spectral", objective="hinge")
    state, batch, rng = small_state(gan), batch_of(), jax.random.key(5)
    after, _ = disc_update(gan, state, batch, rng)
    assert all(trees_differ(state.stats.disc, after.stats.disc))
    _, updated = in_train_mode(gan.networks.disc)(
        {"params": state.params.disc, "batch_stats": state.stats.disc}, batch.images, None
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.stats.disc, updated["batch_stats"])
    last, _ = gen_update(gan, after, batch, rng)
    assert_trees_equal(last.stats.disc, after.stats.disc)
    assert any(trees_differ(last.params.gen, after.params.gen))


@pytest.mark.parametrize(("name", "norm"), [("dcgan", "layer"), ("resnet", "spectral")])
def test_a_penalty_is_allowed_with_any_norm_but_batch_norm(name, norm):
    gan = small_gan(name, norm=norm, objective="hinge", num_classes=K, penalties=((r1, constant(1.0)),))
    after, metrics = disc_update(gan, create_state(gan, jax.random.key(0)), batch_of(K), jax.random.key(5))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((after.params.disc, metrics)))
    assert float(metrics["penalty/r1"]) > 0


@every_image_network
def test_u_does_not_depend_on_the_images(name):
    """So that both passes of an update, and all parts of a batch, arrive at the same."""
    module, images = network("disc", name, norm="spectral"), inputs_of("disc")
    variables = init(module, images)
    left, right = (in_train_mode(module)(variables, part, None)[1] for part in (images[:4], 2.0 * images[4:]))
    jax.tree.map(np.testing.assert_array_equal, left, right)
    assert any(
        np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (left["batch_stats"], variables["batch_stats"])), strict=True)
    )


@every_image_network
def test_a_batch_in_two_parts_is_the_whole_batch(name):
    """Under a mapped axis, conditional batch norm takes the statistics of all parts."""
    module, latents = network("gen", name, num_classes=K), inputs_of("gen")
    variables = drawn_variables(module, latents, LABELS)
    whole, updated = in_train_mode(module)(variables, latents, LABELS)
    in_parts = partial(module.clone(axis_name="parts").apply, train=True, mutable=["batch_stats"])
    in_parts = jax.jit(jax.vmap(in_parts, in_axes=(None, 0, 0), axis_name="parts"))
    parts, stats = in_parts(variables, latents.reshape(2, 4, -1), LABELS.reshape(2, 4))
    np.testing.assert_allclose(parts.reshape(whole.shape), whole, rtol=1e-3, atol=1e-4)
    for part in range(2):
        jax.tree.map(lambda a, b, i=part: np.testing.assert_allclose(b[i], a, rtol=1e-3, atol=1e-5), updated, stats)
