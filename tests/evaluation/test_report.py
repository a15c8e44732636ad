"""The table of a row: digits, errors, scales, baselines and notes."""

import math

import pytest

from gan_jax.evaluation import format_metrics
from gan_jax.evaluation.report import Baseline, find_baseline, format_table
from gan_jax.evaluation.results import append_row, format_number, over_seeds


@pytest.mark.parametrize(
    ("number", "error", "text"),
    [
        (29.617, 0.412, "29.6 ± 0.4"),
        (1234.5, 67.0, "1234 ± 67"),
        (0.03456, 0.0007, "0.0346 ± 0.0007"),
        (0.71234, math.nan, "0.712"),
        (123.456, math.nan, "123"),
        (8, math.nan, "8"),
        (7.5, 0.5, "7.5 ± 0.5"),
        (8.0, 0.0, "8"),
        (0.0, math.nan, "0"),
        (math.nan, math.nan, "nan"),
        (-0.02, 0.1, "-0.0 ± 0.1"),
        (8.67e-9, 6.1e-10, "8.7e-09 ± 6e-10"),
        (1.234e-7, math.nan, "1.23e-07"),
        (0.5012345, 9e-8, "5.0123450e-01 ± 9e-08"),
        (3.14159, 0.0996, "3.1 ± 0.1"),
        (30.4, 9.7, "30 ± 10"),
        (9.996, math.nan, "10.0"),
    ],
)
def test_digits_end_where_the_error_begins(number, error, text):
    assert format_number(number, error) == text


def cells(table, name):
    (line,) = (line for line in table.splitlines() if line.startswith(name))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_table_has_errors_over_seeds_and_the_baseline_beside_them():
    by_seed = [{"fid": 10.0, "kid": 0.010, "kid_standard_error": 0.001, "class_share/0": 0.5, "diversity": 3.0}]
    by_seed.append({"fid": 12.0, "kid": 0.012, "kid_standard_error": 0.001, "class_share/0": 0.5, "diversity": 3.0})
    table = format_table(over_seeds(by_seed), Baseline("real vs real, 500", {"fid": 2.5, "kid": 0.0005}))
    assert cells(table, "metric") == ["metric", "mean ± standard error over 2 seeds of samples", "real vs real, 500"]
    assert cells(table, "fid") == ["fid", "11 ± 1", "2.50"]
    assert cells(table, "kid") == ["kid × 10³", "11 ± 1", "0.500"]
    assert cells(table, "diversity") == ["diversity", "3"]
    assert len(table.splitlines()) == 4
    single = format_table(over_seeds(by_seed[:1]))
    assert "over its subsets" in single.splitlines()[0]
    assert cells(single, "kid") == ["kid × 10³", "10 ± 1"]


def test_numbers_that_say_nothing_have_a_note():
    """Grey noise is precise and recalls nothing; a stray makes a mode count."""
    grey = format_table({"seeds": 1, "mean": {"precision": 1.0, "recall": 0.0, "density": 4.0, "coverage": 0.1}})
    assert "says nothing: with recall 0" in grey.splitlines()[1]
    assert "says nothing" not in grey.splitlines()[4]
    assert "says nothing" not in format_table({"seeds": 1, "mean": {"precision": 0.9, "recall": 0.5}})
    modes = format_table({"seeds": 1, "mean": {"modes": 8, "high_quality": 0.25}})
    assert cells(modes, "modes")[2] == "one sample makes a mode count; 25.0% of samples are of high quality"
    assert format_metrics({"eval/modes": 8, "eval/high_quality": 0.25, "eval/js": 0.5}) == (
        "eval/modes 8 (25.0% of high quality), eval/js 0.5"
    )
    assert format_metrics({"modes": 9, "kl": 2, "confident": 0.5}, {"modes": 1.0}) == "modes 9 ± 1 (50.0% confident), kl 2"


def test_the_baseline_is_that_of_the_data_and_the_features(tmp_path):
    path = tmp_path / "results.jsonl"
    row = {"features": "pixels", "weights_sha256": None, "num": 9, "mean": {"pixels_kid": 0.5}}
    assert find_baseline(path, row) is None
    for features, number in (("pixels", 0.1), ("pixels", 0.2), ("inception", 0.3)):
        append_row(path, row | {"features": features, "mean": {"pixels_kid": number}, "baseline": True})
    append_row(path, row)
    assert find_baseline(path, row) == ("real vs real, 9", {"pixels_kid": 0.2})
    assert find_baseline(path, row | {"baseline": True}) is None
    for real, number in (("mnist5k, 40 held-out images of 50", 0.6), ("emoji, 40 held-out images of 50", 0.7)):
        append_row(path, row | {"real": real, "mean": {"pixels_kid": number}, "baseline": True})
    assert find_baseline(path, row | {"real": "mnist5k, 30 training images of 50"}) == ("real vs real, 9", {"pixels_kid": 0.6})
    assert find_baseline(path, row | {"perfect_sampler": {"mean": {"kl": 1.0}}}) == ("perfect sampler", {"kl": 1.0})
