"""Symptoms are reported once when they have lasted, and not where they come and go or mean nothing."""

import pytest
from small import small_config

from gan_jax.errors import CollapseError
from gan_jax.files import read_jsonl
from gan_jax.run.loop import train
from gan_jax.run.watch import CollapseWatch

HEALTHY = {"logits/real": 1.0, "logits/fake": -1.0, "value": -1.0}
SYMPTOMS = {
    "saturated discriminator": {"logits/real": 9.0, "logits/fake": -9.0},
    "V ≈ 0": {"value": -0.001},
}


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_is_reported_once_when_it_has_lasted_and_again_after_a_pause(symptom):
    watch = CollapseWatch(steps=10, diversity=0.2, stops=True)
    reported = {}
    for step in range(1, 61):
        present = 20 <= step < 35 or step >= 45
        for episode in watch.add_metrics(step, HEALTHY | (SYMPTOMS[symptom] if present else {})):
            reported[step] = str(episode)
        assert watch.stop == (29 <= step < 35 or step >= 54)
    assert reported == {29: f"{symptom}, steps 20 to 29", 54: f"{symptom}, steps 45 to 54"}
    assert [str(episode) for episode in watch.episodes] == [f"{symptom}, steps 20 to 34", f"{symptom}, steps 45 to 60"]


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_that_comes_and_goes_is_not_reported(symptom):
    watch = CollapseWatch(steps=10, diversity=0.2)
    for step in range(1000):
        assert watch.add_metrics(step, HEALTHY | (SYMPTOMS[symptom] if step % 10 else {})) == []
    assert watch.episodes == []


def test_one_large_logit_is_not_saturation():
    watch = CollapseWatch(steps=1, diversity=0.2)
    for step in range(10):
        assert watch.add_metrics(step, HEALTHY | {"logits/real": 20.0}) == []


def test_logits_that_are_no_probabilities_raise_no_alarm():
    """A hinge or Wasserstein run: no V, logits far beyond those of a saturated sigmoid."""
    watch = CollapseWatch(steps=1, diversity=0.2, stops=True)
    for step in range(1000):
        watch.add_metrics(step, {"logits/real": 50.0 + step, "logits/fake": -50.0 - step, "loss/disc": 0.0})
        watch.add_evaluation(step, {"samples/diversity": 0.9})
        assert not watch.stop
    assert watch.episodes == []


def test_nearly_identical_samples_are_reported():
    watch = CollapseWatch(steps=500, diversity=0.2, stops=True)
    reported = [watch.add_evaluation(step, {"samples/diversity": 0.19}) for step in (250, 500, 750)]
    assert [len(episodes) for episodes in reported] == [0, 0, 1]
    assert str(reported[-1][0]) == "nearly identical samples, steps 250 to 750"
    watch.add_evaluation(900, {"eval/js": 0.1})
    assert watch.stop
    assert watch.add_evaluation(1000, {"samples/diversity": 0.2}) == []
    assert not watch.stop


@pytest.mark.usefixtures("no_curves")
def test_nearly_identical_samples_are_reported_and_stop_the_run_where_the_config_says_so(tmp_path, capsys):
    never_learns = {"watch.steps": 4, "sample_every": 2, "optimizer.gen.learning_rate": 1e-30}
    train(small_config(**never_learns), tmp_path / "warn")
    printed = capsys.readouterr().out
    assert "warning: nearly identical samples, steps 0 to 4" in printed
    assert "watch: nearly identical samples, steps 0 to 20" in printed
    for _ in range(2):  # a resumed run watches on from the rows of the first
        with pytest.raises(
            CollapseError, match="stopped at step 4 and saved it: nearly identical samples, steps 0 to 4; --conf"
        ):
            train(small_config(**never_learns, **{"watch.action": "stop"}), tmp_path / "stop")
    assert [row["ended"] for row in read_jsonl(tmp_path / "stop" / "runs.jsonl")] == ["collapse", "collapse"]
