"""The experiments of the theory in their short forms, cut down: each against its closed form."""

import shutil

import numpy as np
import pytest
from conftest import ROOT

import dirac_gan
import disc_steps
import jensen_shannon
import maximum_likelihood
import mixtures
import optimal_discriminator
import report
import run_all
import saturation
from gan_jax.errors import InputError


def perform(experiment, folder, **changes):
    """The short form with some of its numbers changed; the row as it was written."""
    experiment = experiment._replace(short=dict(experiment.short) | changes)
    report.perform(experiment, full=False, folder=folder)
    assert (folder / f"{experiment.name}.png").stat().st_size > 10_000
    return report.newest_row(experiment, folder)


def test_dirac_gan(tmp_path):
    """Radii by the formulas of the issue's identities, and what they say of the distance after many steps."""
    row = perform(dirac_gan.EXPERIMENT, tmp_path, rates=(0.2, 1.0), steps=300)
    assert row["settings"]["steps"] == 300
    assert {"commit", "hardware", "seconds", "form"} <= set(row)
    assert dirac_gan.EXPERIMENT.question.endswith("?")
    plays = row["plays"]
    assert row["largest_error"] < 1e-5
    assert plays["simultaneous"]["radius"] == pytest.approx(np.sqrt(1 + 0.2**2 / 4), abs=1e-5)
    assert plays["alternating"]["radius"] == pytest.approx(1.0, abs=1e-5)
    assert plays["k = 5"]["radius"] == pytest.approx(1.0, abs=1e-5)
    assert plays["R1"]["radius"] == pytest.approx(np.sqrt(1 - 0.2 * 0.3 + 0.1**2), abs=1e-5)
    assert plays["extra-gradient"]["radius"] == pytest.approx(np.sqrt(1 - 0.1**2 + 0.1**4), abs=1e-5)
    assert plays["simultaneous"]["final_distance"] > 2
    assert 0.9 < plays["alternating"]["final_distance"] < 1.1
    assert plays["R1"]["final_distance"] < 1e-2


def test_optimal_discriminator(tmp_path):
    """V climbs towards 2·JSD − log 4 and never over it (identity 2)."""
    row = perform(optimal_discriminator.EXPERIMENT, tmp_path, steps=200, checkpoints=2, batch_size=128, panel_steps=200)
    for case in row["cases"].values():
        assert case["value_at_optimum"] == pytest.approx(2 * case["js"] - np.log(4), abs=1e-5)
        gaps = case["value_at_optimum"] - np.array(case["values"])
        assert np.all(gaps > -1e-5)
        assert gaps[-1] < 0.8 * gaps[0]
    end = row["figure_1"]["panels"]["(d) q = p, D = 1/2"]
    assert abs(end["mean"] - 1.0) < 0.8  # half of the way from -0.6, in few steps


def test_saturation(tmp_path):
    """Slopes by the closed form; in the game, D ahead starves one loss and feeds the other."""
    row = perform(saturation.EXPERIMENT, tmp_path, leads=(0, 1000), seeds=1, batch_size=64)
    logits, curves = np.array(row["logits"]), row["curves"]
    np.testing.assert_allclose(curves["minimax"]["slope"], -1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(curves["non_saturating"]["slope"], -1 / (1 + np.exp(logits)), rtol=1e-5)
    ratio = np.array(row["by_seed"]["non_saturating"][0]) / np.array(row["by_seed"]["minimax"][0])
    assert ratio[1] > 1.5 * ratio[0] > 1


def test_jensen_shannon(tmp_path):
    """Against D*, V is 2·JSD − log 4 all the way to q = p; a learned D never says more than the JSD."""
    changes = {
        "cases": ("three affine maps",),
        "learned_steps": 30,
        "disc_steps": (1,),
        "seeds": 1,
        "batch_size": 512,
        "steps": 300,
    }
    row = perform(jensen_shannon.EXPERIMENT, tmp_path, **changes)
    for case in row["optimal"].values():
        assert case["final_js"] < 1e-3 < case["js"][0]
        assert case["law_error"] < 1e-5
        assert case["gradient_mismatch"] < 0.05
    assert row["learned"]["k = 1"]["smallest_gap"] > -1e-6


def test_disc_steps(tmp_path):
    """Against D* nearly every step of G lowers the JSD."""
    row = perform(disc_steps.EXPERIMENT, tmp_path, steps=100, disc_steps=(1,), seeds=2)
    learned, exact = row["games"].values()
    assert np.min(exact["share"]) > 0.9
    assert exact["js"][-1] < 0.7 * exact["js"][0]
    np.testing.assert_allclose(exact["lag"], 0.0, atol=1e-5)
    assert np.min(learned["lag"]) > 1e-3


def test_maximum_likelihood(tmp_path):
    """One Gaussian: KL covers both modes with the data's own moments, reverse KL takes one; KL − min KL falls as 1/n."""
    changes = {"points": 300, "steps": 20, "gan_steps": 20, "sizes": (100, 2000), "repeats": 50, "data": ("ring",)}
    row = perform(maximum_likelihood.EXPERIMENT, tmp_path, **changes)
    covering, choosing, either = row["one_gaussian"].values()
    assert covering["mean"] == pytest.approx(0.0, abs=0.05)
    assert covering["stddev"] == pytest.approx(np.sqrt(9.25), rel=0.02)
    assert abs(choosing["mean"]) == pytest.approx(3.0, abs=0.05)
    assert choosing["stddev"] == pytest.approx(0.5, rel=0.02)
    assert either["JSD"] == pytest.approx(0.75 * np.log(4 / 3), rel=1e-3)  # of one of two modes, alone
    for name, best in zip(maximum_likelihood.DIVERGENCES, (covering, choosing, either), strict=True):
        assert best[name] <= min(fit[name] for fit in row["one_gaussian"].values()) + 1e-4
    excess = np.mean(row["excess_kl"], axis=-1) * np.array(changes["sizes"])
    np.testing.assert_allclose(excess, maximum_likelihood.excess_kl_times_n(), rtol=0.4)
    assert row["data"]["ring"]["measures"]["EM"][0]["kl"] < 0.2


def test_mixtures(tmp_path):
    """The harness: ceilings of a perfect sampler, and a recipe that is written with its numbers."""
    row = perform(mixtures.EXPERIMENT, tmp_path, recipes={"ring": {"steps": 30, "batch_size": 64, "hidden": (16,)}})
    found = row["densities"]["ring"]
    assert found["recipe"]["steps"] == 30
    assert found["perfect"]["modes"] == [8, 8]
    np.testing.assert_allclose(found["perfect"]["high_quality"], 1 - np.exp(-4.5), atol=0.01)
    assert max(found["perfect"]["js"]) < 0.01 < min(found["gan"]["js"])
    assert np.shape(found["samples"]) == (2, 400, 2)


def test_the_committed_page_is_made_of_the_committed_rows():
    folder = ROOT / "experiments/results/theory"
    assert folder.with_suffix(".md").read_text() == run_all.page(folder)


def test_a_script_draws_the_newest_row_again(run_script, tmp_path):
    with pytest.raises(InputError, match="no such file; run experiments"):
        report.newest_row(dirac_gan.EXPERIMENT, tmp_path)
    shutil.copy(ROOT / "experiments/results/theory/dirac_gan.jsonl", tmp_path)
    done = run_script("theory/dirac_gan.py", "--redraw", f"--results={tmp_path}")
    assert "| simultaneous | 1.004990 | 1.004990 |" in done.stdout
    assert (tmp_path / "dirac_gan.png").is_file()
