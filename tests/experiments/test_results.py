"""Committed pages are those of the committed rows."""

import importlib.util
import re
import shutil

import pytest
from conftest import ROOT

import benchmark_layers
from gan_jax.files import read_jsonl

RESULTS = ROOT / "experiments" / "results"


PAGES = {
    "ten_years": ("ten_years.py",),
    "stacked_table": ("stacked_mnist.py",),
    "fashion_losses": ("fashion_mnist.py", "--table=losses"),
    "fashion_labels": ("fashion_mnist.py", "--table=labels"),
    "fashion_few_images": ("fashion_mnist.py", "--table=few_images"),
    "mnist_digits": ("fashion_mnist.py", "--table=digits"),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_drawn_again_from_their_rows(name, run_script, tmp_path):
    for file in (f"{name}.jsonl", f"{name}_samples.npz"):
        shutil.copy(RESULTS / file, tmp_path)
    run_script(*PAGES[name], "--redraw", f"--results={tmp_path}")
    assert (tmp_path / f"{name}.md").read_text() == (RESULTS / f"{name}.md").read_text()
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["ten_years", "stacked_table", "fashion_labels"])
def test_pages_without_rows_end_in_one_line(name, run_script, tmp_path):
    done = run_script(*PAGES[name], "--redraw", f"--results={tmp_path}", status=2)
    assert re.match(r"error: .*jsonl has no .*run .*with these flags: run without --redraw\n$", done.stderr)


def test_the_index_names_every_row_page_and_picture_and_nothing_else():
    linked = set(re.findall(r"\]\(([^)#]+)\)", (RESULTS / "README.md").read_text()))
    there = {file.relative_to(RESULTS).as_posix() for file in RESULTS.iterdir() if file.suffix in (".jsonl", ".md", ".png")}
    assert there - {"README.md"} <= linked
    assert all((RESULTS / link).exists() for link in linked if "://" not in link)


def test_the_numbers_of_the_readmes_table_are_in_the_index():
    index = (RESULTS / "README.md").read_text()
    measured = (ROOT / "README.md").read_text().partition("## What was measured")[2].partition("\n## ")[0]
    lines = [line for line in measured.splitlines() if re.match(r"\| [^|]", line)]
    found = [text.rstrip(".,") for line in lines for text in re.findall(r"\d[\d.,]*(?: ± [\d.]+)?", line.split("|")[2])]
    assert len(found) > 10
    assert [text for text in found if not re.search(rf"(?<![\d.,]){re.escape(text)}(?!\d|[.,]\d)", index)] == []


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
