"""What is measured of a machine: curves of growing work, and the jobs of an accelerator, in their small forms."""

import math

import pytest

import accelerator_page
from gan_jax.files import read_jsonl
from plot_growth import exponent, make_page


def test_the_exponent_is_that_of_a_power_law_through_the_last_two_points():
    assert exponent([(1, 50.0), *((x, 3.0 * x**1.7) for x in (4, 9))]) == pytest.approx(1.7)
    assert math.isnan(exponent([(1, 2.0)]))


def test_the_page_of_growth_has_the_newest_device_alone_in_the_order_of_x():
    row = {"curve": "start", "unit": "images", "expected": "1", "bytes": 2**20}
    rows = [row | {"x": x, "seconds": x / 50, "device": device} for x, device in ((9, "old"), (1000, "new"), (100, "new"))]
    rows.insert(0, rows[0] | {"curve": "step"})
    lines = [line for line in make_page(rows).splitlines() if line.startswith("| start")]
    assert lines == ["| start | 100 images | 2 | 1 MiB |  |  |", "| start | 1,000 images | 20 | 1 MiB | 1.00 | 1 |"]


def test_growth_measures_a_point_once(run_script, tmp_path):
    arguments = ("growth.py", "--points=2", "--curves=start, on the device", f"--results={tmp_path}")
    first = run_script(*arguments, fast=True)
    assert [line.partition(":")[0] for line in first.stdout.splitlines()[:2]] == [
        "start, on the device, 1,000 images",
        "start, on the device, 10,000 images",
    ]
    rows = read_jsonl(tmp_path / "growth.jsonl")
    assert [row["x"] for row in rows] == [1_000, 10_000]
    assert all(row["seconds"] > 0 and row["bytes"] >= 0 for row in rows)
    again = run_script(*arguments, fast=True)
    assert again.stdout.splitlines() == [f"{tmp_path}/growth.md, {tmp_path}/growth.png"]
    assert read_jsonl(tmp_path / "growth.jsonl") == rows
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_jobs_of_an_accelerator_run_in_small_and_go_on_where_they_stopped(run_script, tmp_path):
    arguments = ("accelerator.py", "--tiny", "--baselines=", "--minutes=0", f"--results={tmp_path}")
    for done in (1, 2):
        out = run_script(*arguments, "--part=benchmark", fast=True).stdout
        assert f"{done} of 8 rows are there; rerun the same command for the rest\n" in out
    assert "all 1 rows of quality are there\n" in run_script(*arguments, "--part=quality", fast=True, brief=True).stdout
    raced, other, trained = read_jsonl(tmp_path / "accelerator.jsonl")
    assert (raced["dtype"], other["dtype"], raced["tiny"], trained["row"]["to_step"]) == ("float32", "bfloat16", True, 4)
    assert [row["row"]["dtype"] for row in (raced, other)] == ["float32", "bfloat16"]
    for flags, message in (
        (arguments[2:], "JAX sees no accelerator"),
        (("--tiny", "--baselines=pytorch"), "--baselines=pytorch"),
    ):
        assert message in run_script("accelerator.py", *flags, f"--results={tmp_path}", status=2, fast=True).stderr
    page = (tmp_path / "accelerator.md").read_text()
    assert "### benchmark" in page
    assert "### quality" in page
    diverged = trained | {"dtype": "bfloat16", "row": {"ended": "step 7: loss/disc is nan"}}
    assert "bfloat16 |  |  | step 7: loss/disc is nan |" in accelerator_page.make_page([diverged])
