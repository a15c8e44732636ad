"""Committed pages are those of the committed rows."""

import importlib.util
import shutil

import pytest
from conftest import ROOT

import benchmark_layers
from gan_jax.files import read_jsonl

RESULTS = ROOT / "experiments" / "results"


def test_ten_years_are_drawn_again_from_their_rows(run_script, tmp_path):
    for name in ("ten_years.jsonl", "ten_years_samples.npz"):
        shutil.copy(RESULTS / name, tmp_path)
    run_script("ten_years.py", "--redraw", f"--results={tmp_path}")
    assert (tmp_path / "ten_years.md").read_text() == (RESULTS / "ten_years.md").read_text()
    assert (tmp_path / "ten_years.png").stat().st_size > 10_000


def test_ten_years_without_rows_end_in_one_line(run_script, tmp_path):
    done = run_script("ten_years.py", "--redraw", f"--results={tmp_path}", status=2)
    assert "has no reported run of minimax" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_of_layers_is_that_of_its_rows():
    rows = read_jsonl(RESULTS / "benchmark_layers.jsonl")[-len(benchmark_layers.LAYERS) :]
    assert benchmark_layers.make_page(rows, "benchmark_layers.jsonl") == (RESULTS / "benchmark_layers.md").read_text()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the extra `bench`")
def test_layers_are_timed_beside_the_same_layers_of_pytorch(monkeypatch):
    """`measure` compares the outputs first."""
    monkeypatch.setattr(benchmark_layers, "_BATCH", type("Flag", (), {"value": 2}))
    monkeypatch.setattr(benchmark_layers, "_REPEATS", type("Flag", (), {"value": 1}))
    row = benchmark_layers.measure(benchmark_layers.Layer("r3gan", 8, 4, 8, 3, 1, 1, 2))
    assert all(row[name]["ours_ms"] > 0 and row[name]["torch_ms"] > 0 for name in benchmark_layers.PASSES)
