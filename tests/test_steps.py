"""The step is algorithm 1: how often each player moves, in which order, from which randomness, on what D is shown."""

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
    judge,
    logits_on,
    real_batch,
    real_batches,
    train_step,
)

from gan_jax import Players, create_state, diffaugment, example_keys, make_networks, sample_latents, steps, value
from gan_jax.errors import InputError
from gan_jax.penalties import r1, r2
from gan_jax.schedules import constant
from gan_jax.state import has_batch_norm, pack, update_ema
from gan_jax.steps import PURPOSES


def test_counts_of_the_two_optimisers():
    gan = small_gan("mlp", disc_steps=3)
    state = small_state(gan)
    for _ in range(3):
        state, _ = train_step(gan, state, real_batches(gan), RNG)
    assert int(state.step) == 3
    assert int(optax.tree.get(state.opt_state.gen, "count")) == 3
    assert int(optax.tree.get(state.opt_state.disc, "count")) == 3 * 3
    with pytest.raises(InputError, match=r"2 batches: a step of this recipe must have 3"):
        train_step(gan, state, jax.tree.map(lambda leaf: leaf[1:], real_batches(gan)), RNG)


@pytest.mark.parametrize(
    ("network", "disc_steps", "options"),
    [
        ("dcgan", 1, {}),
        ("mlp", 2, {"objective": "relativistic", "num_classes": 4, "penalties": ((r1, constant(1.0)),)}),
    ],
    ids=["dcgan", "all of it"],
)
def test_a_step_is_gs_update_after_ds_to_the_bit(network, disc_steps, options):
    """Algorithm 1, not simultaneous play: G's gradient is taken against D as its k updates have left it."""
    gan = small_gan(network, ema_decay=0.5, disc_steps=disc_steps, **options)
    before, batches = small_state(gan).replace(step=jnp.int32(4)), real_batches(gan)
    keys = [jax.random.fold_in(jax.random.fold_in(RNG, 4), index) for index in range(disc_steps + 1)]
    state, batch = before, jax.tree.map(lambda leaf: leaf[-1], batches)
    for index, key in enumerate(keys[:-1]):
        state, _ = steps.disc_update(gan, state, jax.tree.map(lambda leaf, i=index: leaf[i], batches), key)
    expected, _ = steps.gen_update(gan, state, batch, keys[-1])
    expected = update_ema(gan, expected.replace(step=jnp.int32(5)))
    after, _ = steps.train_step(gan, before, batches, RNG)  # op by op like the above: compilers round otherwise
    assert_trees_equal(after, expected)
    simultaneous, _ = steps.gen_update(gan, before, batch, keys[-1])
    assert any(trees_differ(after.params.gen, simultaneous.params.gen))


def test_metrics_of_a_step_are_those_of_its_last_discriminator_update():
    gan = small_gan("mlp", disc_steps=2)
    before, batches = small_state(gan), real_batches(gan)
    state, by_update = before, []
    for index in range(2):
        batch = jax.tree.map(lambda leaf, i=index: leaf[i], batches)
        state, metrics = steps.disc_update(gan, state, batch, jax.random.fold_in(jax.random.fold_in(RNG, 0), index))
        by_update.append(metrics)
    _, of_step = steps.train_step(gan, before, batches, RNG)
    for name, number in by_update[-1].items():
        assert float(of_step[name]) == float(number), name
        assert float(number) not in {float(metrics[name]) for metrics in by_update[:-1]}, name


@pytest.mark.parametrize("objective", ["non_saturating", "relativistic"])
def test_every_update_has_its_own_images_and_latents(objective):
    """In two steps of k = 2 no latent is used twice, and each real batch once, G's own of a paired objective included."""
    gan = small_gan("mlp", objective=objective, disc_steps=2)
    latents, real = [], []

    class Recording:
        def __init__(self, network, record):
            self.network, self.record = network, record

        def apply(self, variables, inputs, labels, **options):
            if not isinstance(inputs, jax.core.Tracer):  # G's fake images, on which D's parameters do not depend
                self.record.append(np.asarray(inputs))
            return self.network.apply(variables, inputs, labels, **options)

    recording = replace(gan, networks=Players(*(Recording(*pair) for pair in zip(gan.networks, (latents, real), strict=True))))
    batches = [real_batches(gan, seed=10 * step) for step in range(2)]
    state = small_state(gan)
    with jax.disable_jit():
        for batch in batches:
            state, _ = steps.train_step(recording, state, batch, RNG)
    used = np.concatenate(latents)
    assert len(used) == 2 * (2 + 1) * 8
    assert len(np.unique(used, axis=0)) == len(used)
    judged = [images.tobytes() for images in real]
    for batch in batches:
        for index, images in enumerate(batch.images):
            again = 1 + (objective == "non_saturating" and index == 1)  # there G's pass over it is dead code to a compiler
            assert judged.count(np.asarray(images).tobytes()) == again


def test_latents_are_standard_normal_and_belong_to_their_example():
    latents = sample_latents(example_keys(jax.random.key(0), "latents", 2000), 5)
    assert float(jnp.mean(latents)) == pytest.approx(0.0, abs=0.03)
    assert float(jnp.std(latents)) == pytest.approx(1.0, abs=0.03)
    tail = sample_latents(example_keys(jax.random.key(0), "latents", 10, first=7), 5)
    np.testing.assert_array_equal(tail, latents[7:17])


def test_every_purpose_and_example_has_a_key_of_its_own():
    keys = [jax.random.key_data(example_keys(RNG, purpose, 50)) for purpose in PURPOSES]
    assert len(np.unique(np.concatenate(keys), axis=0)) == 50 * len(PURPOSES)


def test_labels_reach_both_players_and_fakes_have_the_labels_of_their_real_examples():
    gan = small_gan("mlp", num_classes=4)
    state, batch = small_state(gan), real_batch(gan)
    other = batch._replace(labels=(batch.labels + 1) % 4)
    for update, player in ((disc_update, "disc"), (gen_update, "gen")):
        moved = [getattr(update(gan, state, some, RNG)[0].params, player) for some in (batch, other)]
        assert any(trees_differ(*moved))
    fake = draw_fakes(gan, state.params.gen, state, batch.labels, example_keys(RNG, "latents", 8))[0]
    recorded = []

    class Labelled:
        def __init__(self, network):
            self.network = network

        def apply(self, variables, inputs, labels, **options):
            recorded.append((inputs, labels))
            return self.network.apply(variables, inputs, labels, **options)

    labelled = replace(gan, networks=Players(*map(Labelled, gan.networks)))
    steps.disc_update(labelled, state, batch, RNG)
    np.testing.assert_allclose(recorded[2][0], fake, rtol=1e-5, atol=1e-6)
    steps.gen_update(labelled, state, batch, RNG)
    assert len(recorded) == 6  # each draws fakes, and judges two batches
    assert all(np.array_equal(labels, batch.labels) for _, labels in recorded)


def test_packed_samples_have_one_logit_together():
    """PacGAN: neighbours in the batch side by side in the channels; the objective is over packs."""
    images = jnp.arange(4 * 2 * 2 * 3.0).reshape(4, 2, 2, 3)
    np.testing.assert_array_equal(pack(images, 2), jnp.stack([jnp.concatenate([images[i], images[i + 1]], -1) for i in (0, 2)]))
    gan = small_gan("mlp", packing=2, penalties=((r1, constant(1.0)),))
    state, batch = create_state(gan, jax.random.key(0)), real_batch(gan)
    assert state.params.disc["Dense_0"]["kernel"].shape[0] == 2 * 2
    logits = logits_on(gan, state, batch, RNG)
    assert [numbers.shape for numbers in logits] == [(4,), (4,)]
    after, metrics = disc_update(gan, state, batch, RNG)
    assert float(metrics["value"]) == pytest.approx(float(jnp.mean(value(*logits))), rel=1e-5)
    gen_update(gan, after, batch, RNG)


def test_both_players_and_penalties_see_augmented_samples_by_the_keys_of_their_examples():
    gan = small_gan("mlp", penalties=((r1, constant(1.0)), (r2, constant(1.0))))
    gan = replace(gan, networks=make_networks("mlp", (8, 8, 1), hidden=(16,)), sample_shape=(8, 8, 1))
    augmented = replace(gan, augment=diffaugment("translation,cutout"))
    state, batch = small_state(gan), real_batch(gan)
    logits = logits_on(augmented, state, batch, RNG)
    for seen, plain in zip(logits, logits_on(gan, state, batch, RNG), strict=True):
        assert np.all(seen != plain)
    (_, metrics), (_, of_gen) = (update(augmented, state, batch, RNG) for update in (disc_update, gen_update))
    expected = {"logits/real": jnp.mean(logits[0]), "logits/fake": jnp.mean(logits[1])}
    expected["loss/gen"] = jnp.mean(gan.objective.gen(*logits))
    keys = {purpose: example_keys(RNG, purpose, 8) for purpose in PURPOSES}
    fake, _ = draw_fakes(gan, state.params.gen, state, None, keys["latents"])
    for name, images, purpose in (("r1", batch.images, "real"), ("r2", fake, "fake")):
        logit = lambda x, of=keys[purpose]: jnp.sum(judge(augmented, state.params.disc, state, x, None, of)[0])  # noqa: E731
        expected[f"penalty/{name}"] = jnp.sum(jax.grad(logit)(images) ** 2) / 2 / 8
    for name, number in expected.items():
        assert float((metrics | of_gen)[name]) == pytest.approx(float(number), rel=1e-4, abs=1e-6), name


def test_averaged_generator_follows_the_closed_form():
    """EMA of parameters and statistics with the decay min(d, (1 + t)/(10 + t))."""
    gan = small_gan(ema_decay=0.5)
    state = small_state(gan)
    expected = {"params": state.params.gen, "batch_stats": state.stats.gen}
    for step in range(1, 15):
        state, _ = train_step(gan, state, real_batches(gan, seed=step), RNG)
        decay = min(0.5, (1 + step) / (10 + step))
        raw = {"params": state.params.gen, "batch_stats": state.stats.gen}
        expected = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, expected, raw)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.ema, expected)


def test_no_average_by_default():
    gan = small_gan("mlp")
    state, _ = jax.eval_shape(partial(steps.train_step, gan), small_state(gan), real_batches(gan), RNG)
    assert state.ema is None


def test_an_initial_state_that_compiles_quickly_has_the_same_bits(monkeypatch):
    gan, rng, level = small_gan("mlp"), jax.random.key(0), "xla_backend_optimization_level"
    usual = jax.jit(partial(create_state, gan), compiler_options={level: 3})(rng)
    monkeypatch.delenv("XLA_FLAGS")  # whose level is a third one
    quick = create_state(gan, rng, outermost=True)
    assert_trees_equal(quick, usual)


def test_batch_norm_is_told_from_other_statistics():
    assert has_batch_norm(small_state(small_gan()).stats.disc)
    assert not has_batch_norm(small_state(small_gan("mlp")).stats.disc)
    assert not has_batch_norm({"SpectralNorm_0": {"Dense_0/kernel/u": jnp.ones(3), "Dense_0/kernel/sigma": jnp.ones(())}})


def test_one_state_one_result_under_jit_vmap_and_scan():
    options = {"objective": "relativistic", "num_classes": 4, "penalties": ((r1, constant(1.0)),)}
    gan = small_gan("mlp", ema_decay=0.9, **options)
    batches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(real_batches(gan, seed=10 * i) for i in range(4)))

    def scanned(state):
        return jax.lax.scan(lambda s, batch: steps.train_step(gan, s, batch, RNG), state, batches)[0]

    state = small_state(gan)
    for index in range(4):
        state, _ = train_step(gan, state, jax.tree.map(lambda leaf, i=index: leaf[i], batches), RNG)
    together = jax.jit(jax.vmap(scanned))(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), small_state(gan)))
    for index in range(2):
        jax.tree.map(lambda a, b, i=index: np.testing.assert_allclose(a, b[i], rtol=2e-4, atol=1e-5), state, together)
