"""Symptoms are named when they have lasted, once, and not where they do not hold throughout."""

import pytest

from gan_jax.run.watch import CollapseWatch

HEALTHY = {"logits/real": 1.0, "logits/fake": -1.0, "value": -1.0}
SYMPTOMS = {
    "D's logits are saturated": {"logits/real": 9.0, "logits/fake": -9.0},
    "V is stuck at 0": {"value": -0.001},
}


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_is_named_once_when_it_has_lasted_and_again_after_a_pause(symptom):
    watch = CollapseWatch(steps=10, diversity=0.2, stops=True)
    named = {}
    for step in range(1, 61):
        ill = 20 <= step < 35 or step >= 45
        for episode in watch.metrics(step, HEALTHY | (SYMPTOMS[symptom] if ill else {})):
            named[step] = str(episode)
        assert watch.stop == (29 <= step < 35 or step >= 54)
    assert named == {29: f"{symptom}, steps 20 to 29", 54: f"{symptom}, steps 45 to 54"}
    assert [str(episode) for episode in watch.episodes] == [f"{symptom}, steps 20 to 34", f"{symptom}, steps 45 to 60"]


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_what_holds_only_now_and_then_is_no_symptom(symptom):
    watch = CollapseWatch(steps=10, diversity=0.2)
    for step in range(1000):
        assert watch.metrics(step, HEALTHY | (SYMPTOMS[symptom] if step % 10 else {})) == []
    assert watch.episodes == []


def test_one_sure_logit_is_not_saturation():
    watch = CollapseWatch(steps=1, diversity=0.2)
    for step in range(10):
        assert watch.metrics(step, HEALTHY | {"logits/real": 20.0}) == []


def test_samples_that_are_alike_are_named():
    watch = CollapseWatch(steps=500, diversity=0.2, stops=True)
    seen = [watch.samples(step, 0.19) for step in (250, 500, 750)]
    assert [len(episodes) for episodes in seen] == [0, 0, 1]
    assert str(seen[-1][0]) == "the samples are nearly identical, steps 250 to 750"
    assert watch.samples(1000, 0.2) == []
    assert not watch.stop
