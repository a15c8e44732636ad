"""The experiments of the theory in their short forms, cut down: each against its closed form."""

import json

import numpy as np
import pytest

import dirac_gan
import report


def perform(experiment, folder, **changes):
    """The short form with some of its numbers changed; the row as it was written."""
    experiment = experiment._replace(short=dict(experiment.short) | changes)
    report.perform(experiment, full=False, folder=folder)
    assert (folder / f"{experiment.name}.png").stat().st_size > 10_000
    return report.newest_row(experiment, folder)


def test_a_row_holds_its_settings_and_evidence_and_is_all_that_the_figure_needs(tmp_path):
    experiment = dirac_gan.EXPERIMENT
    row = perform(experiment, tmp_path, steps=10, rates=(0.2,))
    assert row["settings"]["steps"] == 10
    assert {"commit", "hardware", "seconds", "form"} <= set(row)
    assert json.dumps(experiment.table(row))
    assert experiment.question.endswith("?")


def test_dirac_gan(tmp_path):
    """Radii by the formulas of the issue's identities, and what they say of the distance after many steps."""
    row = perform(dirac_gan.EXPERIMENT, tmp_path, rates=(0.2, 1.0), steps=300)
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
