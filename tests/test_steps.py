"""The step is algorithm 1: who moves, in which direction, how often, from which randomness."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import assert_trees_equal, small_gan, small_state, trees_differ

from gan_jax import OBJECTIVES, Players, draw_latents, steps, value
from gan_jax.objectives import Objective
from gan_jax.state import update_ema

NETWORKS_AND_OBJECTIVES = [(network, objective) for network in ("dcgan", "mlp") for objective in OBJECTIVES]
# Compiled, for speed: the recipe is static.
disc_update = jax.jit(steps.disc_update, static_argnums=0)
gen_update = jax.jit(steps.gen_update, static_argnums=(0, 2))
train_step = jax.jit(steps.train_step, static_argnums=0)
apply = jax.jit(steps._apply, static_argnums=0)

both_networks = pytest.mark.parametrize("network", ["dcgan", "mlp"])


def real_batch(gan, batch_size=8, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (batch_size, *gan.sample_shape)), jnp.float32)


def value_on(gan, state, real, rng):
    """V on the batch that `disc_update(gan, state, real, rng)` ascends."""
    latents = draw_latents(rng, len(real), gan.latent_dim)
    fake, _ = apply(gan.networks.gen, state.params.gen, state.batch_stats.gen, latents)
    logits = [apply(gan.networks.disc, state.params.disc, state.batch_stats.disc, images)[0] for images in (real, fake)]
    return float(jnp.mean(value(*logits)))


@pytest.mark.parametrize(("network", "objective"), NETWORKS_AND_OBJECTIVES)
def test_only_d_moves_in_its_update_and_v_rises_on_the_batch(network, objective):
    gan = small_gan(network, objective=objective)
    before, rng = small_state(gan), jax.random.key(1)
    real = real_batch(gan)
    after, metrics = disc_update(gan, before, real, rng)
    for name in ("params", "batch_stats", "opt_state"):
        assert_trees_equal(getattr(before, name).gen, getattr(after, name).gen)
    assert all(trees_differ(before.params.disc, after.params.disc))
    assert float(metrics["value"]) == pytest.approx(value_on(gan, before, real, rng), rel=1e-5)
    assert value_on(gan, after, real, rng) > value_on(gan, before, real, rng)


@pytest.mark.parametrize(("network", "objective"), NETWORKS_AND_OBJECTIVES)
def test_only_g_moves_in_its_update_and_its_loss_falls_on_the_batch(network, objective):
    gan = small_gan(network, objective=objective)
    before, rng = small_state(gan), jax.random.key(1)
    after, metrics = gen_update(gan, before, 8, rng)
    for name in ("params", "batch_stats", "opt_state"):
        assert_trees_equal(getattr(before, name).disc, getattr(after, name).disc)
    assert all(trees_differ(before.params.gen, after.params.gen))
    _, metrics_after = gen_update(gan, after, 8, rng)
    assert float(metrics_after["loss/gen"]) < float(metrics["loss/gen"])


def test_running_statistics_move_with_their_own_player_only():
    gan = small_gan()
    before = small_state(gan)
    assert len(jax.tree.leaves(before.batch_stats.disc)) == 2
    after, _ = disc_update(gan, before, real_batch(gan), jax.random.key(1))
    assert all(trees_differ(before.batch_stats.disc, after.batch_stats.disc))
    after, _ = gen_update(gan, before, 8, jax.random.key(1))
    assert all(trees_differ(before.batch_stats.gen, after.batch_stats.gen))


def test_g_learns_from_d_in_train_mode():
    """D normalises G's fake images with their own statistics, whatever its running ones are."""
    gan = small_gan()
    state = small_state(gan)
    odd = state.replace(batch_stats=Players(state.batch_stats.gen, jax.tree.map(lambda x: x + 5.0, state.batch_stats.disc)))
    losses = [float(gen_update(gan, some, 8, jax.random.key(1))[1]["loss/gen"]) for some in (state, odd)]
    assert losses[0] == losses[1]


@both_networks
def test_every_metric_is_its_closed_form(network):
    gan = small_gan(network, objective="minimax")
    state, real, rng = small_state(gan), real_batch(gan), jax.random.key(1)
    latents = draw_latents(rng, len(real), gan.latent_dim)
    fake, _ = apply(gan.networks.gen, state.params.gen, state.batch_stats.gen, latents)
    logits = [
        np.asarray(apply(gan.networks.disc, state.params.disc, state.batch_stats.disc, images)[0], np.float64)
        for images in (real, fake)
    ]
    probs = [1 / (1 + np.exp(-numbers)) for numbers in logits]
    v = np.mean(np.log(probs[0])) + np.mean(np.log(1 - probs[1]))
    _, metrics = disc_update(gan, state, real, rng)
    expected = {"value": v, "loss/disc": -v, "jsd/lower_bound": (v + np.log(4)) / 2}
    for index, name in enumerate(("real", "fake")):
        expected |= {f"logits/{name}": np.mean(logits[index]), f"prob/{name}": np.mean(probs[index])}
    for name, number in expected.items():
        assert float(metrics[name]) == pytest.approx(number, rel=1e-4, abs=1e-6), name
    assert set(metrics) == {*expected, "grad_norm/disc"}
    _, metrics = gen_update(gan, state, len(real), rng)
    assert float(metrics["loss/gen"]) == pytest.approx(np.mean(np.log(1 - probs[1])), rel=1e-4)


def test_ds_statistics_see_the_real_pass_then_the_fake_pass():
    """Running = 0.9 (0.9 old + 0.1 real) + 0.1 fake, the fake images those of the update's own latents."""
    gan = small_gan()
    state, rng = small_state(gan), jax.random.key(1)
    real = real_batch(gan)
    after, _ = disc_update(gan, state, real, rng)
    fake, _ = apply(gan.networks.gen, state.params.gen, state.batch_stats.gen, draw_latents(rng, 8, gan.latent_dim))
    of_one = lambda images: apply(gan.networks.disc, state.params.disc, state.batch_stats.disc, images)[1]  # noqa: E731
    expected = jax.tree.map(lambda old, r, f: 0.9 * r + (f - 0.9 * old), state.batch_stats.disc, of_one(real), of_one(fake))
    assert jax.tree.leaves(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.batch_stats.disc, expected)


def test_ascent_is_by_the_gradient_of_v_and_descent_by_that_of_the_loss():
    """With plain SGD the parameters move by exactly +rate × gradient for D and −rate × gradient for G."""
    gan = replace(small_gan("mlp", objective="minimax"), optimizers=Players(optax.sgd(0.1), optax.sgd(0.1)))
    state, rng = small_state(gan), jax.random.key(1)
    real = real_batch(gan)
    latents = draw_latents(rng, len(real), gan.latent_dim)

    def v(params):
        fake = gan.networks.gen.apply({"params": params.gen}, latents, train=True)
        logits = [gan.networks.disc.apply({"params": params.disc}, images, train=True) for images in (real, fake)]
        return jnp.mean(value(*logits))

    gradients = jax.grad(v)(state.params)
    after, _ = disc_update(gan, state, real, rng)
    expected = jax.tree.map(lambda p, g: p + 0.1 * g, state.params.disc, gradients.disc)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params.disc, expected)
    after, _ = gen_update(gan, state, len(real), rng)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params.gen, gradients.gen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params.gen, expected)


def test_weight_decay_shrinks_ds_weights():
    """The trap of ascent by a negated update: decay would grow them."""
    still = Objective(disc=lambda real, fake: 0.0 * real + 0.0 * fake, gen=lambda fake: fake)
    decaying = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0))
    gan = replace(small_gan("mlp"), objective=still, optimizers=Players(decaying, decaying))
    state = small_state(gan)
    after, _ = disc_update(gan, state, real_batch(gan), jax.random.key(1))
    expected = jax.tree.map(lambda p: 0.9 * p, state.params.disc)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.params.disc, expected)


@pytest.mark.parametrize("disc_steps", [1, 2, 5])
def test_counts_of_the_two_optimisers(disc_steps):
    gan = small_gan("mlp")
    state = small_state(gan)
    for _ in range(3):
        batch = {"images": jnp.stack([real_batch(gan, seed=i) for i in range(disc_steps)])}
        state, _ = train_step(gan, state, batch, jax.random.key(1))
    assert int(state.step) == 3
    assert int(optax.tree.get(state.opt_state.gen, "count")) == 3
    assert int(optax.tree.get(state.opt_state.disc, "count")) == 3 * disc_steps


@both_networks
@pytest.mark.parametrize("disc_steps", [1, 3])
def test_g_moves_after_ds_ascents_to_the_bit(network, disc_steps):
    """Algorithm 1, not simultaneous play: G's gradient is taken against D as its k ascents have left it."""
    gan = small_gan(network, ema_decay=0.5)
    before, rng = small_state(gan).replace(step=jnp.int32(4)), jax.random.key(1)
    images = jnp.stack([real_batch(gan, seed=i) for i in range(disc_steps)])
    keys = [jax.random.fold_in(jax.random.fold_in(rng, 4), index) for index in range(disc_steps + 1)]
    state = before
    for real, key in zip(images, keys[:-1], strict=True):
        state, _ = steps.disc_update(gan, state, real, key)
    expected, _ = steps.gen_update(gan, state, images.shape[1], keys[-1])
    expected = update_ema(gan, expected.replace(step=jnp.int32(5)))
    after, _ = steps.train_step(gan, before, {"images": images}, rng)  # op by op like the above: compilers round otherwise
    assert_trees_equal(after, expected)
    simultaneous, _ = steps.gen_update(gan, before, images.shape[1], keys[-1])
    assert any(trees_differ(after.params.gen, simultaneous.params.gen))


def test_metrics_of_a_step_are_those_of_its_last_ascent():
    gan = small_gan("mlp")
    before, rng = small_state(gan), jax.random.key(1)
    images = jnp.stack([real_batch(gan, seed=i) for i in range(3)])
    state, by_ascent = before, []
    for index, real in enumerate(images):
        state, metrics = steps.disc_update(gan, state, real, jax.random.fold_in(jax.random.fold_in(rng, 0), index))
        by_ascent.append(metrics)
    _, found = steps.train_step(gan, before, {"images": images}, rng)
    for name, number in by_ascent[-1].items():
        assert float(found[name]) == float(number), name
        assert float(number) not in {float(metrics[name]) for metrics in by_ascent[:-1]}, name


def test_every_ascent_has_its_own_images_and_latents_and_g_has_fresh_ones():
    """In two steps of k = 3 no latent is used twice, and each real batch once."""
    gan = small_gan("mlp")
    latents, real = [], []

    class Recording:
        def __init__(self, network, record):
            self.network, self.record = network, record

        def apply(self, variables, inputs, **options):
            if not isinstance(inputs, jax.core.Tracer):  # G's fake images, on which D's parameters do not depend
                self.record.append(np.asarray(inputs))
            return self.network.apply(variables, inputs, **options)

    recording = replace(gan, networks=Players(*(Recording(*pair) for pair in zip(gan.networks, (latents, real), strict=True))))
    batches = [{"images": jnp.stack([real_batch(gan, seed=3 * step + i) for i in range(3)])} for step in range(2)]
    state = small_state(gan)
    with jax.disable_jit():
        for batch in batches:
            state, _ = steps.train_step(recording, state, batch, jax.random.key(1))
    used = np.concatenate(latents)
    assert len(used) == 2 * (3 + 1) * 8
    assert len(np.unique(used, axis=0)) == len(used)
    seen = {images.tobytes() for images in real}
    assert all(np.asarray(images).tobytes() in seen for batch in batches for images in batch["images"])


def test_latents_are_standard_normal_and_belong_to_their_example():
    latents = draw_latents(jax.random.key(0), 2000, 5)
    assert float(jnp.mean(latents)) == pytest.approx(0.0, abs=0.03)
    assert float(jnp.std(latents)) == pytest.approx(1.0, abs=0.03)
    np.testing.assert_array_equal(draw_latents(jax.random.key(0), 10, 5), latents[:10])


def test_averaged_generator_follows_the_closed_form():
    """EMA of parameters and statistics with the decay min(d, (1 + t)/(10 + t))."""
    gan = small_gan(ema_decay=0.5)
    state = small_state(gan)
    expected = {"params": state.params.gen, "batch_stats": state.batch_stats.gen}
    for step in range(1, 15):
        state, _ = train_step(gan, state, {"images": real_batch(gan, seed=step)[None]}, jax.random.key(1))
        decay = min(0.5, (1 + step) / (10 + step))
        raw = {"params": state.params.gen, "batch_stats": state.batch_stats.gen}
        expected = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, expected, raw)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.ema, expected)


def test_no_average_by_default():
    gan = small_gan()
    state, _ = train_step(gan, small_state(gan), {"images": real_batch(gan)[None]}, jax.random.key(1))
    assert state.ema is None


@both_networks
def test_v_is_logged_whatever_the_objective(network):
    constant = Objective(disc=lambda real, fake: real - fake, gen=lambda fake: -fake)
    gan = replace(small_gan(network), objective=constant)
    state, real, rng = small_state(gan), real_batch(gan), jax.random.key(1)
    _, metrics = disc_update(gan, state, real, rng)
    assert float(metrics["value"]) == pytest.approx(value_on(gan, state, real, rng), rel=1e-5)
    assert float(metrics["jsd/lower_bound"]) == pytest.approx((float(metrics["value"]) + np.log(4)) / 2, abs=1e-6)


def test_one_state_one_result_under_jit_vmap_and_scan():
    """The step does not know how it is run."""
    gan = small_gan("mlp", ema_decay=0.9)
    images = jnp.stack([real_batch(gan, seed=i) for i in range(4)])[:, None]
    rng = jax.random.key(1)

    def scanned(state):
        return jax.lax.scan(lambda s, x: steps.train_step(gan, s, {"images": x}, rng), state, images)[0]

    state = small_state(gan)
    for batch in images:
        state, _ = train_step(gan, state, {"images": batch}, rng)
    together = jax.jit(jax.vmap(scanned))(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), small_state(gan)))
    for index in range(2):
        jax.tree.map(lambda a, b, i=index: np.testing.assert_allclose(a, b[i], rtol=2e-4, atol=1e-5), state, together)
