"""A script that trains a table of games, in small, with its rows, its page and its picture."""

import os

import forked
import pytest
from conftest import ROOT

from gan_jax.evaluation.results import format_number
from gan_jax.files import read_jsonl

# One of the recipes with a step time that is known, a small classifier, and no pictures of each run.
_SMALL = """
import sys
sys.path.insert(0, "experiments")
import ten_years
from gan_jax.evaluation.features import classifier
from gan_jax.run import cli, loop
classifier.RECIPE.update(steps=60, width=4, dimensions=8)
loop.save_run_plots = lambda workdir: []
ten_years.RECIPES = ten_years.RECIPES[4:5]
ten_years.measure_steps = lambda: {"hinge + spectral norm": 0.25}
cli.run(ten_years.main)
"""


@pytest.mark.usefixtures("own_cache")
def test_ten_years_reports_other_seeds_than_it_tunes_with(tmp_path):
    flags = ("--seconds=1", "--seeds=1", "--width=4", f"--runs={tmp_path}/runs", f"--results={tmp_path}")
    for _ in range(2):
        done = forked.run(["-c", _SMALL, *flags], cwd=ROOT, env=os.environ)
        assert done.returncode == 0, done.stderr
        _, *tuning, reported = read_jsonl(tmp_path / "ten_years.jsonl")
        assert [(row["seed"], row["learning_rate"], row["num_steps"]) for row in tuning] == [(0, 2e-4, 4), (0, 1e-3, 4)]
    better = min(tuning, key=lambda row: row["distance"])
    assert (reported["seed"], reported["learning_rate"]) == (1, better["learning_rate"])
    assert f"| {format_number(reported['distance'])} |" in (tmp_path / "ten_years.md").read_text()
    assert (tmp_path / "ten_years.png").stat().st_size > 10_000
