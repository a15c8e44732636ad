"""Rows are whole, a few steps late and never written twice; progress shows the rates."""

import io
import json
import re
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from gan_jax.files import read_jsonl
from gan_jax.run import writers
from gan_jax.run.writers import MetricBuffer, MetricWriter, Progress


def test_buffer_gives_back_every_step_once_in_order_and_some_steps_late():
    buffer = MetricBuffer(chunk=3, lag=2)
    seen = []
    for step in range(1, 11):
        rows = buffer.push(range(step, step + 1), {"value": jnp.full(1, step)})
        assert all(number <= step - 2 for number, _ in rows)
        seen += rows
    seen += buffer.flush()
    assert seen == [(step, {"value": float(step)}) for step in range(1, 11)]
    assert buffer.flush() == []


def test_buffer_takes_calls_of_many_steps_apart():
    buffer = MetricBuffer(chunk=1, lag=1)
    seen = buffer.push(range(1, 4), {"value": jnp.arange(1.0, 4.0)})
    seen += buffer.push(range(4, 6), {"value": jnp.arange(4.0, 6.0)})
    assert [step for step, _ in seen] == [1, 2, 3]
    seen += buffer.flush()
    assert seen == [(step, {"value": float(step)}) for step in range(1, 6)]


def test_rows_after_the_step_of_a_resume_are_dropped_and_a_cut_line_is_left_out(tmp_path):
    writer = MetricWriter(tmp_path, start=0)
    for step in (5, 10, 15):
        writer.write(writer.metrics, step, {"value": -1.0 / step})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "val')
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [5, 10, 15]
    again = MetricWriter(tmp_path, start=10)
    again.write(again.metrics, 15, {"value": 7.0})
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["value"]) for row in lines] == [(5, -0.2), (10, -0.1), (15, 7.0)]


PROBABILITY = {"value": -1.386, "loss/disc": 1.386, "logits/real": 1.0, "logits/fake": -1.0}
HINGE = {"loss/disc": 0.5, "logits/real": 1.0, "logits/fake": -2.0}


@pytest.mark.parametrize(
    ("metrics", "shown"), [(PROBABILITY, "V=-1.386"), (HINGE, "objective=-0.500 logit_gap=3.000")], ids=["sigmoid", "hinge"]
)
def test_progress_shows_rates_time_left_and_the_value_of_the_game(metrics, shown):
    stream = io.StringIO()
    progress = Progress(total=10, images_per_step=32, stream=stream)
    progress.update(10)
    progress.report(10, metrics)
    progress.close()
    assert re.fullmatch(rf"step 10/10  .* steps/s  .* images/s  0 s left  {shown}\n", stream.getvalue())


def test_rates_and_the_time_left_are_those_since_the_clock_was_started(monkeypatch):
    """40 steps of 32 images in 10 s, after 20 of an earlier process; 40 are left. Lines are five seconds apart."""
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr(writers, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    progress = Progress(total=100, images_per_step=32, stream=stream)
    now[0] = 5.0
    progress.start_clock(20)
    progress.update(60)
    now[0] = 9.0
    progress.report(60, PROBABILITY)
    assert stream.getvalue() == ""
    now[0] = 15.0
    assert progress.rates() == {"steps_per_second": 4.0, "images_per_second": 128.0}
    progress.report(60, PROBABILITY)
    assert stream.getvalue() == "step 60/100  4.0 steps/s  128 images/s  10 s left  V=-1.386\n"


def test_a_terminal_shows_the_newest_line_alone():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = Progress(total=10, images_per_step=32, stream=stream)
    progress.report(10, PROBABILITY)
    progress.report(10, PROBABILITY)
    assert stream.getvalue().count("\r\033[K") == 2
    assert "\n" not in stream.getvalue()
    progress.print("warning: V ≈ 0")
    assert stream.getvalue().endswith("V=-1.386\nwarning: V ≈ 0\n")
