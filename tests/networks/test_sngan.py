"""The SNGAN family: published sizes, spectral norm against singular values, layer norm, classes, and the step on each."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from small import assert_trees_equal, drawn_variables, small_gan, small_state, trees_differ

from gan_jax import Batch, Players, create_state, make_network, steps
from gan_jax.errors import InputError
from gan_jax.networks.layers import normalise
from gan_jax.networks.resnet import mean_of_pixels, repeat_pixels
from gan_jax.penalties import r1
from gan_jax.schedules import constant
from gan_jax.state import has_batch_norm

K = 3
LABELS = jnp.arange(8, dtype=jnp.int32) % K
IMAGE_NETWORKS = ("dcgan", "sndcgan", "resnet")
SMALL = {"dcgan": {"base_width": 4}, "sndcgan": {"base_width": 4}, "resnet": {"width": 4}}
disc_update = jax.jit(steps.disc_update, static_argnums=0)
gen_update = jax.jit(steps.gen_update, static_argnums=0)
every_image_network = pytest.mark.parametrize("name", IMAGE_NETWORKS)


def network(player, name, *, size=16, channels=1, **options):
    return make_network(player, name, (size, size, channels), **SMALL[name] | options)


def inputs_of(player, *, size=16, channels=1, latent_dim=5, seed=1):
    shape = (len(LABELS), latent_dim) if player == "gen" else (len(LABELS), size, size, channels)
    return jax.random.normal(jax.random.key(seed), shape)


def init(module, inputs, labels=None):
    return jax.jit(partial(module.init, train=False))(jax.random.key(0), inputs, labels)


@cache
def in_train_mode(module):
    return jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))


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


@pytest.mark.parametrize(
    ("name", "sample_shape", "options", "message"),
    [
        ("sndcgan", (8, 8, 1), {}, "network sndcgan: image size 8 × 8 must be .*; nearest: 16 × 16; "),
        ("sndcgan", (2,), {}, "network sndcgan makes images, but the samples are \\(2,\\): choose mlp"),
        ("sndcgan", (16, 16, 1), {"base_width": 0}, "base_width=0 must be an integer ≥ 1"),
        ("sndcgan", (16, 16, 1), {"base_width": 4.5}, "base_width=4.5 must be an integer ≥ 1"),
        ("sndcgan", (16, 16, 1), {"norm": "spectrl"}, "norm=spectrl must be one of spectral, none; did you mean spectral"),
        ("sndcgan", (16, 16, 1), {"norm": "batch"}, "norm=batch must be one of spectral, none"),
        ("resnet", (17, 24, 1), {}, "network resnet: image size 17 × 24 must be .*; nearest: 16 × 24 and 20 × 24; "),
        ("resnet", (16, 16, 1), {"width": 0}, "width=0 must be an integer ≥ 1"),
        ("resnet", (16, 16, 1), {"width": "wide"}, "width=wide must be an integer ≥ 1"),
        ("resnet", (16, 16, 1), {"norm": "leyer"}, "norm=leyer must be one of spectral, layer, none; did you mean layer"),
    ],
)
@pytest.mark.parametrize("player", Players._fields)
def test_what_these_networks_cannot_be_is_one_line(player, name, sample_shape, options, message):
    with pytest.raises(InputError, match=message) as error:
        make_network(player, name, sample_shape, **options)
    assert "\n" not in str(error.value)


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


@every_image_network
def test_images_lie_in_minus_one_to_one(name):
    module = network("gen", name)
    latents = 100 * inputs_of("gen")
    variables = drawn_variables(module, latents, amount=1.0)
    images = jax.jit(partial(module.apply, train=False))(variables, latents, None)
    assert 0.5 < float(jnp.max(jnp.abs(images))) <= 1.0


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


def batch_of(num_classes=0, size=16):
    return Batch(jnp.tanh(inputs_of("disc", size=size, seed=3)), LABELS if num_classes else None)


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


def test_a_batch_in_two_parts_is_the_whole_batch():
    """Under a mapped axis, conditional batch norm takes the statistics of all parts, and u is the same in each."""
    gen, disc = (partial(network, *player, size=8, num_classes=K) for player in (("gen", "resnet"), ("disc", "dcgan")))
    networks = Players(gen(), disc(norm="spectral"))
    gan = replace(small_gan(objective="hinge", num_classes=K), sample_shape=(8, 8, 1))
    gan = replace(gan, networks=networks, optimizers=Players(*[optax.sgd(0.1)] * 2))
    state, batch, rng = small_state(gan), batch_of(K, size=8), jax.random.key(5)
    batches = jax.tree.map(lambda leaf: leaf[None], batch)
    whole, _ = jax.jit(steps.train_step, static_argnums=0)(gan, state, batches, rng)

    parted = replace(gan, networks=Players(gan.networks.gen.clone(axis_name="parts"), gan.networks.disc))
    parts = jax.tree.map(lambda leaf: leaf.reshape(1, 2, 4, *leaf.shape[2:]), batches)
    step = partial(steps.train_step, parted, axis_name="parts")
    after, _ = jax.jit(jax.vmap(step, in_axes=(None, 1, None), axis_name="parts"))(state, parts, rng)
    for part in range(2):
        jax.tree.map(lambda a, b, i=part: np.testing.assert_allclose(a, b[i], rtol=1e-3, atol=2e-5), whole, after)
