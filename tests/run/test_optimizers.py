"""The optimisers of both players are, at each step, what `config.optimizer` and `config.schedule` say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config

from gan_jax.run.config import make_gan, make_schedules
from gan_jax.schedules import cosine


def test_schedules_count_steps_for_both_players_and_end_at_their_images():
    """Over 2,400 images of 8 × 3 a step: 100 steps; D's optimiser counts three updates for each."""
    overrides = {"disc_steps": 3, "schedule.images": 2400, "penalty.r1": 1.0, "penalty.final_r1": 0.1}
    overrides |= {"optimizer.name": "sgd", "optimizer.learning_rate": 1.0, "optimizer.final_learning_rate": 0.5}
    config = small_config(**overrides, **{"network.disc.dcgan.norm": "none"})
    schedules, gan = make_schedules(config), make_gan(config)
    assert set(schedules) == {"penalty_weight/r1", "learning_rate/gen", "learning_rate/disc"}
    for step in (0, 30, 100, 400):
        assert float(gan.penalties[0][1](jnp.int32(step))) == pytest.approx(float(cosine(1.0, 0.1, 100)(jnp.int32(step))))
        for player, updates in (("gen", 1), ("disc", 3)):
            optimizer = getattr(gan.optimizers, player)
            state = jax.tree.map(lambda leaf: jnp.int32(step * updates + updates - 1), optimizer.init(jnp.zeros(())))  # noqa: B023
            update, _ = optimizer.update(jnp.array(1.0), state)
            assert float(update) == pytest.approx(-float(cosine(1.0, 0.5, 100)(jnp.int32(step)))), (player, step)


def test_b1_and_b2_of_each_player_reach_adam():
    """Three updates on given gradients are those of Adam as Kingma and Ba wrote it down."""
    decays = {"gen": (0.3, 0.8), "disc": (0.6, 0.95)}
    overrides = {f"optimizer.{player}.b{i + 1}": pair[i] for player, pair in decays.items() for i in range(2)}
    optimizers = make_gan(small_config(**overrides)).optimizers._asdict()
    for player, (b1, b2) in decays.items():
        state, first, second = optimizers[player].init(jnp.zeros(())), 0.0, 0.0
        for count, gradient in enumerate((1.0, -2.0, 0.5), start=1):
            update, state = optimizers[player].update(jnp.array(gradient), state)
            first, second = b1 * first + (1 - b1) * gradient, b2 * second + (1 - b2) * gradient**2
            expected = -2e-4 * first / (1 - b1**count) / np.sqrt(second / (1 - b2**count))
            assert float(update) == pytest.approx(expected, rel=1e-4), (player, count)


def test_a_scheduled_b2_is_adams_at_each_count():
    """Adam with b2 from 0.9 to 0.99 over two steps: moments decay, and are corrected, by the b2 of the count."""
    scheduled = {"optimizer.b2": 0.9, "optimizer.final_b2": 0.99, "schedule.images": 16, "optimizer.b1": 0.0}
    config = small_config(**scheduled, **{"schedule.shape": "linear"})
    optimizer, second = make_gan(config).optimizers.gen, 0.0
    state = optimizer.init(jnp.zeros(()))
    assert set(make_schedules(config)) == {"b2/gen", "b2/disc"}
    for count, (gradient, b2) in enumerate(((1.0, 0.9), (-2.0, 0.945), (0.5, 0.99)), start=1):
        update, state = optimizer.update(jnp.array(gradient), state)
        second = b2 * second + (1 - b2) * gradient**2
        assert float(update) == pytest.approx(-2e-4 * gradient / np.sqrt(second / (1 - b2**count)), rel=1e-4)


def test_a_state_goes_on_under_the_constants_of_a_changed_config_where_b2_is_scheduled():
    """A gradient of 0 moves by the first moment alone, -rate · b1 · m̂ / √v̂: the rate and b1 are those of the new config."""
    old, new = (
        make_gan(
            small_config(
                **{"optimizer.learning_rate": rate, "optimizer.b1": b1, "optimizer.final_b2": 0.9, "schedule.images": 16}
            )
        ).optimizers.gen
        for rate, b1 in ((0.5, 0.25), (0.125, 0.75))
    )
    _, state = old.update(jnp.array(2.0), old.init(jnp.zeros(())))
    update, continued = new.update(jnp.array(0.0), state)
    b2 = continued.hyperparams["b2"]
    first, second = 0.75 * 0.75 * 2.0, b2 * (1 - 0.999) * 4.0
    expected = -0.125 * (first / (1 - 0.75**2)) / np.sqrt(second / (1 - b2**2))
    assert float(update) == pytest.approx(float(expected), rel=1e-3)
    assert jax.tree.structure(continued) == jax.tree.structure(state)
