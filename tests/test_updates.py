"""An update moves one player in the right direction, by the gradient of its objective, and measures what it has seen."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import assert_trees_equal, small_gan, small_state, trees_differ
from updates import (
    RNG,
    disc_update,
    draw_fakes,
    gen_update,
    goal_on,
    judge,
    logits_on,
    real_batch,
    real_batches,
)

from gan_jax import OBJECTIVES, Players, create_state, example_keys, sample_latents, steps, value
from gan_jax.objectives import Objective
from gan_jax.penalties import r1
from gan_jax.schedules import constant, cosine

# An objective sees logits, whatever the network; batch norm's statistics move with and without a real batch of G's own.
NETWORKS_AND_OBJECTIVES = [("dcgan", "minimax"), ("dcgan", "relativistic_average"), *(("mlp", name) for name in OBJECTIVES)]


@pytest.mark.parametrize(("network", "objective"), NETWORKS_AND_OBJECTIVES)
def test_only_d_moves_in_its_update_and_its_objective_rises_on_the_batch(network, objective):
    gan = small_gan(network, objective=objective)
    before, batch = small_state(gan), real_batch(gan)
    after, metrics = disc_update(gan, before, batch, RNG)
    for name in ("params", "stats", "opt_state"):
        assert_trees_equal(getattr(before, name).gen, getattr(after, name).gen)
    # A relative objective does not see what shifts all logits alike, such as D's last bias.
    assert sum(trees_differ(before.params.disc, after.params.disc)) >= len(jax.tree.leaves(before.params.disc)) - 1
    assert float(metrics["loss/disc"]) == pytest.approx(-goal_on(gan, before, batch, RNG), rel=1e-5)
    assert goal_on(gan, after, batch, RNG) > goal_on(gan, before, batch, RNG)


@pytest.mark.parametrize(("network", "objective"), NETWORKS_AND_OBJECTIVES)
def test_only_g_moves_in_its_update_and_its_loss_falls_on_the_batch(network, objective):
    gan = small_gan(network, objective=objective)
    before, batch = small_state(gan), real_batch(gan)
    after, metrics = gen_update(gan, before, batch, RNG)
    for name in ("params", "stats", "opt_state"):
        assert_trees_equal(getattr(before, name).disc, getattr(after, name).disc)
    assert all(trees_differ(before.params.gen, after.params.gen))
    _, metrics_after = gen_update(gan, after, batch, RNG)
    assert float(metrics_after["loss/gen"]) < float(metrics["loss/gen"])


def test_running_statistics_move_with_their_own_player_only():
    gan = small_gan()
    before = small_state(gan)
    assert len(jax.tree.leaves(before.stats.disc)) == 2
    after, _ = disc_update(gan, before, real_batch(gan), RNG)
    assert all(trees_differ(before.stats.disc, after.stats.disc))
    after, _ = gen_update(gan, before, real_batch(gan), RNG)
    assert all(trees_differ(before.stats.gen, after.stats.gen))


def test_g_learns_from_d_in_train_mode():
    """D normalises G's fake images with their own statistics, whatever its running ones are."""
    gan = small_gan()
    state = small_state(gan)
    odd = state.replace(stats=Players(state.stats.gen, jax.tree.map(lambda x: x + 5.0, state.stats.disc)))
    losses = [float(gen_update(gan, some, real_batch(gan), RNG)[1]["loss/gen"]) for some in (state, odd)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("network", ["dcgan", "mlp"])
def test_every_metric_is_its_closed_form(network):
    gan = small_gan(network, objective="minimax")
    state, batch = small_state(gan), real_batch(gan)
    logits = [np.asarray(numbers, np.float64) for numbers in logits_on(gan, state, batch, RNG)]
    probs = [1 / (1 + np.exp(-numbers)) for numbers in logits]
    v = np.mean(np.log(probs[0])) + np.mean(np.log(1 - probs[1]))
    _, metrics = disc_update(gan, state, batch, RNG)
    expected = {"value": v, "loss/disc": -v, "jsd/lower_bound": (v + np.log(4)) / 2}
    for index, name in enumerate(("real", "fake")):
        expected |= {f"logits/{name}": np.mean(logits[index]), f"prob/{name}": np.mean(probs[index])}
    expected["accuracy/disc"] = np.mean([probs[0] > 0.5, probs[1] < 0.5])
    for name, number in expected.items():
        assert float(metrics[name]) == pytest.approx(number, rel=1e-4, abs=1e-6), name
    assert set(metrics) == {*expected, "grad_norm/disc"}
    _, metrics = gen_update(gan, state, batch, RNG)
    assert float(metrics["loss/gen"]) == pytest.approx(np.mean(np.log(1 - probs[1])), rel=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_v_and_probabilities_are_metrics_only_where_the_logits_are_those_of_a_probability(objective):
    gan = small_gan("mlp", objective=objective)
    _, metrics = jax.eval_shape(partial(steps.train_step, gan), small_state(gan), real_batches(gan), RNG)
    always = {"loss/disc", "loss/gen", "logits/real", "logits/fake", "accuracy/disc", "grad_norm/disc", "grad_norm/gen"}
    of_probability = {"value", "jsd/lower_bound", "prob/real", "prob/fake"}
    assert set(metrics) == always | (of_probability if gan.objective.is_probability else set())


def test_ds_statistics_are_the_mean_of_its_two_passes_from_one_start():
    """Running = 0.9 old + 0.1 (real + fake) / 2, the fake images those of the update's own latents."""
    gan = small_gan()
    state, batch = small_state(gan), real_batch(gan)
    after, _ = disc_update(gan, state, batch, RNG)
    keys = example_keys(RNG, "latents", 8)
    fake, _ = draw_fakes(gan, state.params.gen, state, None, keys)
    real_stats, fake_stats = (judge(gan, state.params.disc, state, images, None, keys)[1] for images in (batch.images, fake))
    expected = jax.tree.map(lambda r, f: (r + f) / 2, real_stats, fake_stats)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.stats.disc, expected)


def test_ascent_is_by_the_gradient_of_v_and_descent_by_that_of_the_loss():
    """With plain SGD the parameters move by exactly +rate × gradient for D and −rate × gradient for G."""
    gan = replace(small_gan("mlp", objective="minimax"), optimizers=Players(optax.sgd(0.1), optax.sgd(0.1)))
    state, batch = small_state(gan), real_batch(gan)
    latents = sample_latents(example_keys(RNG, "latents", 8), gan.latent_dim)

    def v(params):
        fake = gan.networks.gen.apply({"params": params.gen}, latents, None, train=True)
        logits = [gan.networks.disc.apply({"params": params.disc}, images, None, train=True) for images in (batch.images, fake)]
        return jnp.mean(value(*logits))

    gradients = jax.jit(jax.grad(v))(state.params)
    after, metrics = disc_update(gan, state, batch, RNG)
    expected = jax.tree.map(lambda p, g: p + 0.1 * g, state.params.disc, gradients.disc)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params.disc, expected)
    after, of_gen = gen_update(gan, state, batch, RNG)
    for player, norm in (("disc", metrics["grad_norm/disc"]), ("gen", of_gen["grad_norm/gen"])):
        assert float(norm) == pytest.approx(float(optax.tree.norm(getattr(gradients, player))), rel=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params.gen, gradients.gen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params.gen, expected)


def test_d_descends_its_penalties_by_their_weight_at_the_step():
    """By SGD: rate × (gradient of the objective − weight × gradient of R1), the weight halfway down a cosine from 4 to 2."""
    gan = small_gan("mlp", penalties=((r1, cosine(4.0, 2.0, 10)),))
    gan = replace(gan, optimizers=Players(optax.sgd(0.1), optax.sgd(0.1)))
    state, batch = create_state(gan, jax.random.key(0)).replace(step=jnp.int32(5)), real_batch(gan)
    disc = lambda params, images: gan.networks.disc.apply({"params": params}, images, None, train=True)  # noqa: E731

    def penalty(params):
        slopes = jax.vmap(jax.grad(lambda image: disc(params, image[None])[0]))(batch.images)
        return jnp.mean(jnp.sum(slopes**2, axis=-1)) / 2

    without, _ = disc_update(replace(gan, penalties=()), state, batch, RNG)
    after, metrics = disc_update(gan, state, batch, RNG)
    mean, slopes = jax.jit(jax.value_and_grad(penalty))(state.params.disc)
    expected = jax.tree.map(lambda p, g: p - 0.1 * 3.0 * g, without.params.disc, slopes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params.disc, expected)
    assert float(metrics["penalty/r1"]) == pytest.approx(float(mean), rel=1e-5)
    assert float(metrics["loss/disc"]) == pytest.approx(-goal_on(gan, state, batch, RNG), rel=1e-5)


def test_penalties_of_one_name_keep_their_own_weights():
    """Two that one factory has made."""

    def times(factor):
        def penalty(*inputs):
            return factor * r1(*inputs)

        return penalty

    both = small_gan("mlp", penalties=((times(1.0), constant(3.0)), (times(10.0), constant(0.5))))
    both = replace(both, optimizers=Players(optax.sgd(0.1), optax.sgd(0.1)))  # Adam would hide a factor
    one = replace(both, penalties=((r1, constant(8.0)),))
    (after, _), (expected, _) = (disc_update(gan, small_state(gan), real_batch(gan), RNG) for gan in (both, one))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params.disc, expected.params.disc)


def test_a_lazy_penalty_has_so_many_times_its_weight_at_every_so_many_steps():
    sgd = Players(optax.sgd(0.1), optax.sgd(0.1))  # Adam would hide a factor
    eager = replace(small_gan("mlp", penalties=((r1, constant(4.0)),)), optimizers=sgd)
    lazy = replace(small_gan("mlp", penalties=((r1, constant(1.0)),), penalty_every=4), optimizers=sgd)
    batch, state = real_batch(eager), small_state(eager)
    for step in (0, 3, 8):
        at = state.replace(step=jnp.int32(step))
        due = step % 4 == 0
        expected, expected_metrics = disc_update(eager if due else replace(eager, penalties=()), at, batch, RNG)
        after, metrics = disc_update(lazy, at, batch, RNG)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params, expected.params)
        assert float(metrics["penalty/r1"]) == (pytest.approx(float(expected_metrics["penalty/r1"])) if due else 0.0)


def test_weight_decay_shrinks_ds_weights():
    """The trap of ascent by a negated update: decay would grow them."""
    still = Objective(disc=lambda real, fake: 0.0 * real + 0.0 * fake, gen=lambda real, fake: fake)
    decaying = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0))
    gan = replace(small_gan("mlp"), objective=still, optimizers=Players(decaying, decaying))
    state = small_state(gan)
    after, _ = disc_update(gan, state, real_batch(gan), RNG)
    expected = jax.tree.map(lambda p: 0.9 * p, state.params.disc)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.params.disc, expected)


def test_a_generator_that_ignores_the_real_logits_costs_no_pass_over_them():
    gan = small_gan("mlp")
    products = {}
    for name in ("hinge", "relativistic"):
        recipe = replace(gan, objective=OBJECTIVES[name])
        lowered = jax.jit(steps.gen_update, static_argnums=0).lower(recipe, small_state(gan), real_batch(gan), RNG)
        products[name] = lowered.compile().as_text().count(" dot(")
    assert products["hinge"] < products["relativistic"]
