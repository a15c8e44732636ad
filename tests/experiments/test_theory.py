"""The numerical checks of the theory in their short forms, cut down: each against its closed form."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from flax import linen as nn

import disc_steps
import divergences_of_objectives
import gradient_signal
import jensen_shannon
import known
import local_convergence
import maximum_likelihood
import mixture_fits
import mixtures
import mode_landscape
import optimal_discriminator
import report
import run_all
import saturation
import toys
from gan_jax.errors import InputError


def perform(experiment, folder, **changes):
    """Run the short form with some settings changed; return the row as it was written."""
    experiment = experiment._replace(short=dict(experiment.short) | changes)
    report.perform(experiment, full=False, folder=folder)
    assert (folder / f"{experiment.name}.png").stat().st_size > 10_000
    row = report.newest_row(experiment, folder)
    assert row["settings"].items() >= {name: report.plain(entry) for name, entry in changes.items()}.items()
    assert {"commit", "hardware", "seconds", "form"} <= set(row)
    return row


def test_local_convergence(tmp_path):
    """Radii of the package's own updates are those of the linearised game; R3GAN's theorem is one of them; rates follow."""
    row = perform(local_convergence.EXPERIMENT, tmp_path, steps=300, regularisers=("none", "R1 + R2"))
    assert row["largest_error"] < 1e-6
    of_pairs = row["games"]["dirac"]["relativistic"]
    radii = {name: of_pairs[name]["alternating"]["radius"] for name in of_pairs}
    assert radii == pytest.approx({"none": 1.0, "R1 + R2": np.sqrt(1 - 0.2 * 0.6)}, abs=1e-5)
    assert of_pairs["none"]["simultaneous"]["radius"] == pytest.approx(np.sqrt(1 + 0.2**2 / 4), abs=1e-5)
    assert of_pairs["R1 + R2"]["alternating"]["measured"] == pytest.approx(radii["R1 + R2"], abs=0.01)
    assert of_pairs["R1 + R2"]["alternating"]["end"] < 1e-4 < 0.2 < of_pairs["none"]["alternating"]["end"]


def test_divergences_of_objectives(tmp_path):
    """A table reaches each closed form; KL covers two modes, the JSD takes one; one real in a thousand moves only RaGAN."""
    changes = {
        "table_steps": 1500,
        "densities": ("minimax",),
        "mlp_steps": 20,
        "batch_size": 32,
        "cells_of_line": 100,
        "descents": 100,
    }
    row = perform(divergences_of_objectives.EXPERIMENT, tmp_path, **changes)
    for name, case in row["tables"].items():
        assert case["learned"] == pytest.approx(case["optimum"], abs=1e-4), name
    assert row["tables"]["relativistic"]["gradient"] < 1e-8
    assert abs(row["tables"]["relativistic"]["certified_less_formula"]) < 1e-8
    assert row["fits"]["KL(p‖q)"]["mean"] == pytest.approx(0.0, abs=0.05)
    assert row["fits"]["JSD"]["least"] == pytest.approx(0.75 * np.log(4 / 3), abs=1e-2)
    outlier = {name: np.ptp(values) for name, values in row["outlier"].items()}
    assert outlier["relativistic_average"] > 0.6
    assert max(outlier["minimax"], outlier["relativistic"]) < 2e-3


def test_gradient_signal(tmp_path):
    """G's gradient points where its divergence falls, better as D is trained ahead; for minimax that divergence is the JSD."""
    row = perform(gradient_signal.EXPERIMENT, tmp_path, objectives=("minimax",), gammas=(0.0,), leads=(0, 100), seeds=1)
    (game,) = row["games"].values()
    (behind,), (ahead,) = np.transpose(game["cosine_own"])
    assert 0.8 < behind < ahead < 1
    assert ahead > 0.97
    np.testing.assert_allclose(game["cosine_own"], game["cosine_js"], rtol=1e-5)
    assert np.all(np.array(game["norm"]) > 0)


def test_mode_landscape(tmp_path):
    """n^n − n! bad minima of separable losses and of independent pairs, none of fixed pairs (Sun et al. 2020) or of hinge."""
    row = perform(mode_landscape.EXPERIMENT, tmp_path, count=3, starts=20, moves=300, steps=20)
    bad = {name: case["bad_minima"] for name, case in row["landscapes"].items()}
    assert bad == {"minimax": 21, "least_squares": 21, "relativistic": 21, "hinge": 0, mode_landscape._FIXED: 0}
    assert {case["global_minima"] for case in row["landscapes"].values()} == {6}
    for name, case in row["landscapes"].items():
        assert (case["trapped"] > 0.1) == (bad[name] > 0)
        assert case["covered"][3] > (0.0 if bad[name] else 0.9)
        assert sum(case["covered"]) == pytest.approx(1.0)


def test_optimal_discriminator(tmp_path):
    """V rises towards 2·JSD − log 4 and never above it; figure 1 ends at q = p."""
    row = perform(optimal_discriminator.EXPERIMENT, tmp_path, steps=200, checkpoints=2, batch_size=128, panel_steps=400)
    for case in row["cases"].values():
        assert case["value_at_optimum"] == pytest.approx(2 * case["js"] - np.log(4), abs=1e-5)
        gaps = case["value_at_optimum"] - np.array(case["values"])
        assert np.all(gaps > -1e-5)
        assert gaps[-1] < 0.8 * gaps[0]
    end = row["figure_1"]["panels"]["(d) q = p, D = 1/2"]
    assert (end["mean"], end["stddev"]) == pytest.approx((1.0, 0.6), abs=0.05)


def test_saturation(tmp_path):
    """Slopes by the closed form; in training, D ahead weakens the gradient of one loss and raises that of the other."""
    row = perform(saturation.EXPERIMENT, tmp_path, leads=(0, 1000), seeds=1, batch_size=64)
    logits, curves = np.array(row["logits"]), row["curves"]
    np.testing.assert_allclose(curves["minimax"]["slope"], -1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(curves["non_saturating"]["slope"], -1 / (1 + np.exp(logits)), rtol=1e-5)
    ratio = np.array(row["by_seed"]["non_saturating"][0]) / np.array(row["by_seed"]["minimax"][0])
    assert ratio[1] > 1.5 * ratio[0] > 1


def test_jensen_shannon(tmp_path):
    """Against D*, V is 2·JSD − log 4 all the way to q = p; the estimate of a learned D never exceeds the JSD."""
    learned = {"learned_steps": 30, "disc_steps": (1,), "seeds": 1}
    row = perform(jensen_shannon.EXPERIMENT, tmp_path, cases=("three affine maps",), batch_size=512, steps=300, **learned)
    for case in row["optimal"].values():
        assert case["final_js"] < 1e-3 < case["js"][0]
        assert case["law_error"] < 1e-5
        assert case["gradient_mismatch"] < 0.05
    assert row["learned"]["k = 1"]["smallest_gap"] > -1e-6


def test_disc_steps(tmp_path):
    """Against D* nearly every update of G lowers the JSD; a learned D lags behind D*, less so with a larger k."""
    row = perform(disc_steps.EXPERIMENT, tmp_path, steps=100, disc_steps=(1, 5), seeds=2)
    once, often, exact = row["games"].values()
    assert np.min(exact["share"]) > 0.9
    assert exact["js"][-1] < 0.7 * exact["js"][0]
    np.testing.assert_allclose(exact["lag"], 0.0, atol=1e-5)
    assert np.mean(once["lag"]) > 2 * np.mean(often["lag"]) > 1e-3


def test_maximum_likelihood(tmp_path):
    """One Gaussian: KL covers both modes with the data's own moments, reverse KL takes one; KL − min KL falls as 1/n."""
    changes = {"points": 300, "steps": 20, "gan_steps": 20, "sizes": (100, 2000), "repeats": 2000}
    row = perform(maximum_likelihood.EXPERIMENT, tmp_path, **changes)
    fits = row["one_gaussian"]
    by_kl, by_reverse_kl, by_js = (fits[name] for name in maximum_likelihood.DIVERGENCES)
    assert (by_kl["mean"], by_kl["stddev"]) == pytest.approx((0.0, np.sqrt(9.25)), abs=0.05)
    assert (abs(by_reverse_kl["mean"]), by_reverse_kl["stddev"]) == pytest.approx((3.0, 0.5), abs=0.05)
    assert by_js["JSD"] == pytest.approx(0.75 * np.log(4 / 3), rel=1e-3)  # of two modes and one of them
    for name in maximum_likelihood.DIVERGENCES:
        assert fits[name][name] <= min(fit[name] for fit in fits.values()) + 1e-4
    excess = np.mean(row["excess_kl"], axis=-1) * np.array(changes["sizes"])
    np.testing.assert_allclose(excess, maximum_likelihood.excess_kl_times_n(), rtol=0.1)
    measures = {fit: by_seed[0] for fit, by_seed in row["data"]["ring"]["measures"].items()}
    assert measures["EM, from k-means"]["kl"] < 0.2
    for fit in ("likelihood", "RpGAN + R1 + R2"):
        from_random = measures["likelihood by gradients" if fit == "likelihood" else fit]
        assert measures[f"{fit}, from k-means"]["js"] < 0.9 * from_random["js"]


def test_d_of_the_old_recipe_stops_half_way():
    """Its cosine counted G's updates, of which D has twice as many; the recipe beside it lets D learn to the end."""
    gen, slope = known.AffineMixture(2, 1, nn.initializers.normal()), jnp.ones(())
    moved = {}
    for name, make in mixture_fits.GANS.items():
        gan, steps = make(gen, 4), []
        opt_state = gan.optimizers.disc.init(slope)
        for _ in range(4 * gan.disc_steps):
            step, opt_state = gan.optimizers.disc.update(slope, opt_state)
            steps.append(abs(float(step)))
        assert steps[0] == pytest.approx(2e-3, rel=1e-3)
        moved[name] = np.array(steps) > 1e-5
    stopped, to_the_end, regularised = moved.values()
    np.testing.assert_array_equal(stopped, [True] * 4 + [False] * 4)
    assert np.all(to_the_end)
    assert np.all(regularised)


def test_mixtures(tmp_path):
    """A perfect sampler's statistics by the closed form, and a row that states the recipe."""
    recipe = {"steps": 30, "batch_size": 64, "hidden": [16], "objective": "relativistic", "r1": 0.1}
    row = perform(mixtures.EXPERIMENT, tmp_path, recipes={"ring": {"pairs": recipe}})
    result = row["densities"]["ring"]
    assert result["games"]["pairs"]["recipe"] == mixtures.Recipe(**recipe)._asdict()
    assert result["perfect"]["modes"] == [8, 8]
    np.testing.assert_allclose(result["perfect"]["high_quality"], 1 - np.exp(-4.5), atol=0.01)
    assert max(result["perfect"]["js"]) < 0.01
    assert np.shape(result["games"]["pairs"]["samples"]) == (2, 400, 2)


def test_toys(tmp_path):
    """Weights that are traced, all games in one program, are those of a game alone; and what counts as a failure."""
    recipe = {"steps": 20, "batch_size": 16, "hidden": [8], "rate": 1e-2}
    row = perform(toys.EXPERIMENT, tmp_path, recipe=recipe, games=("RpGAN + R1", "RpGAN, no penalty"), looks=2)
    assert set(row["densities"]["ring"]) == {"RpGAN + R1", "RpGAN, no penalty"}
    assert np.shape(row["densities"]["ring"]["RpGAN + R1"]["js"]) == (2, 2)
    of_pairs, ring, rng = mixtures.Recipe(**recipe, objective="relativistic"), toys.DENSITIES["ring"], jax.random.key(1)
    weights, means = jnp.array([(10.0, 0.0), (0.0, 0.0)]), jnp.asarray(ring.means, jnp.float32)
    with_r1, without = toys.train_all(of_pairs, 1, means, ring.stddev, weights, rng[None])[:, 0]
    alone = of_pairs._replace(r1=10.0)
    np.testing.assert_allclose(with_r1, mixtures.train(mixtures.make_gan(alone), ring, alone, rng), atol=1e-4)
    assert np.max(np.abs(with_r1 - without)) > 1e-3

    lost = mixtures.statistics(np.full((1, 5, 2), np.nan), ring)
    assert lost["modes"] + lost["high_quality"] == [0, 0]
    ends = {"modes": [[8, 8], [8, 4]], "finite": [[1, 1], [1, 1]]}
    assert toys.failures(ends, 8) == {"diverged": "0%", "collapsed": "0%"}
    ends = {"modes": [[8, 8, 8, 8], [8, 3, 0, 8]], "finite": [[1, 1, 1, 1], [1, 1, 0, 1]]}
    assert toys.failures(ends, 8) == {"diverged": "25%", "collapsed": "25%"}


def test_the_committed_page_is_made_of_the_committed_rows():
    folder = ROOT / "experiments/results/theory"
    assert folder.with_suffix(".md").read_text() == run_all.page(folder)
    assert all(experiment.question.endswith("?") for experiment in run_all.EXPERIMENTS)


def test_a_script_draws_the_newest_row_again(run_script, tmp_path):
    with pytest.raises(InputError, match="no such file; run experiments"):
        report.newest_row(saturation.EXPERIMENT, tmp_path)
    shutil.copy(ROOT / "experiments/results/theory/saturation.jsonl", tmp_path)
    done = run_script("theory/saturation.py", "--redraw", f"--results={tmp_path}")
    assert "| 10000 | 0.0051 ± 0.0009 | 1.1 ± 0.2 | 528 ± 55 |" in done.stdout
    assert (tmp_path / "saturation.png").is_file()
