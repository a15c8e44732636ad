"""A row holds the means of its interval and the numbers of the recipe, also where a checkpoint cuts the interval in two."""

import jax.numpy as jnp
import pytest
from small import small_config

from gan_jax.files import read_jsonl
from gan_jax.run.config import make_plan
from gan_jax.run.recorder import Recorder
from gan_jax.run.scalars import IntervalMeans, RecipeNumbers

RATES = ("steps_per_second", "images_per_second")


def metrics_of(steps):
    """A loss that no float of 32 bits rounds, and D's other numbers."""
    losses = jnp.array([float(step**2) for step in steps])
    return dict.fromkeys(("loss/disc", "loss/gen", "logits/real", "logits/fake"), losses)


def rows_of(workdir):
    return [{name: row[name] for name in row if name not in RATES} for row in read_jsonl(workdir / "metrics.jsonl")]


def record(workdir, start, stop):
    with Recorder(make_plan(small_config(num_steps=12, log_every=5)), workdir, start=start) as recorder:
        for step in range(start + 1, stop + 1):
            recorder.add_metrics(range(step, step + 1), metrics_of([step]))
        recorder.flush()
        for _ in range(2):  # as where a run ends at a step that was due to be saved
            recorder.keep_unfinished(stop)


@pytest.mark.parametrize("stops", [(12,), (3, 12), (3, 8, 10, 12), (1, 2, 3, 4, 12)])
def test_a_row_has_the_means_of_its_interval_however_often_the_run_was_resumed_in_it(tmp_path, stops, capsys):
    for start, stop in zip((0, *stops), stops, strict=False):
        record(tmp_path, start, stop)
    rows = rows_of(tmp_path)
    squares = [(1 + 4 + 9 + 16 + 25) / 5, (36 + 49 + 64 + 81 + 100) / 5, (121 + 144) / 2]
    assert [(row["step"], row["loss/gen"], row["images_seen"]) for row in rows] == [
        (step, mean, 8 * step) for step, mean in zip((5, 10, 12), squares, strict=True)
    ]
    assert (tmp_path / "unfinished.jsonl").exists() == (len(stops) > 1)
    assert "damaged" not in capsys.readouterr().err


def test_sums_of_a_run_that_saved_nothing_are_not_continued(tmp_path):
    record(tmp_path, 0, 3)
    record(tmp_path, 0, 3)
    record(tmp_path, 3, 5)
    assert [row["loss/gen"] for row in rows_of(tmp_path)] == [11.0]


def test_a_lazy_penalty_is_averaged_over_the_steps_that_compute_it():
    means = IntervalMeans(penalty_every=4)
    for step in range(1, 6):
        means.add(step, {"penalty/r1": 6.0 * ((step - 1) % 4 == 0), "loss/gen": float(step)})
    assert means.take() == {"penalty/r1": 6.0, "loss/gen": 3.0}
    means.add(6, {"penalty/r1": 0.0, "loss/gen": 1.0})
    assert means.take() == {"loss/gen": 1.0}
    assert means.take() == {}


def test_the_recipes_numbers_are_those_of_the_step():
    schedule = {"optimizer.disc.learning_rate": 1e-3, "optimizer.disc.final_learning_rate": 0.0, "schedule.shape": "linear"}
    schedule |= {"penalty.r1": 2.0, "penalty.final_r1": 1.0, "penalty.r2": 0.5, "network.disc.dcgan.norm": "none"}
    options = {"optimizer.gen.name": "sgd", "augment": "color", "augment_probability": 0.25, "schedule.images": 10 * 8}
    numbers = RecipeNumbers(make_plan(small_config(**schedule, **options, ema_half_life=8.0, ema_ramp_up=0.0)))
    constant = {"learning_rate/gen": 2e-4, "b2/disc": 0.999, "penalty_weight/r2": 0.5, "augment_probability": 0.25}
    constant |= {"ema_half_life": 8.0, "ema_decay": 0.5}  # a batch of 8 images is one half-life
    for step, share in ((1, 1.0), (6, 0.5), (11, 0.0), (20, 0.0)):
        expected = constant | {"learning_rate/disc": 1e-3 * share, "penalty_weight/r1": 1.0 + share}
        assert numbers.at(step) == pytest.approx(expected, rel=1e-6)


def test_the_decay_of_an_average_that_warms_up_is_that_of_the_steps_it_has_seen():
    numbers = RecipeNumbers(make_plan(small_config(ema_decay=0.9)))
    assert [numbers.at(step)["ema_decay"] for step in (1, 8, 1000)] == pytest.approx([2 / 11, 9 / 18, 0.9], rel=1e-6)


def test_a_scheduled_half_life_is_that_of_the_decay_beside_it():
    half_life = {"ema_half_life": 8.0, "final_ema_half_life": 88.0, "ema_ramp_up": 0.0, "schedule.images": 10 * 8}
    numbers = RecipeNumbers(make_plan(small_config(**half_life, **{"schedule.shape": "linear"})))
    for step in (1, 5, 10, 11):
        row = numbers.at(step)
        assert row["ema_half_life"] == pytest.approx(8.0 * (1 + min(step, 10)))
        assert row["ema_decay"] == pytest.approx(0.5 ** (8 / row["ema_half_life"]))
