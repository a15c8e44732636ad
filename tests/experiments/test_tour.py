"""The tour runs from its first cell to its last, and is committed with what it printed and drew."""

import nbclient
import nbformat
import pytest
from conftest import ROOT

TOUR = ROOT / "experiments" / "tour.ipynb"


def outputs(notebook):
    return [[output.output_type for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # the kernel's libraries
def test_the_tour_runs_and_has_its_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(TOUR, as_version=4)
    committed = outputs(notebook)
    assert len(notebook.cells) <= 14
    assert TOUR.stat().st_size < 150_000
    for cell in notebook.cells:
        cell.source = cell.source.replace("num_steps=6000, every=100", "num_steps=6, every=3").replace("num=1000", "num=200")
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    briefly = 'from gan_jax.evaluation.features import classifier\nclassifier.RECIPE["steps"] = 100\n'
    first.source = briefly + first.source
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()

    def shown(cells):
        return [[kind for kind in kinds if kind != "stream"] for kinds in cells]

    assert shown(outputs(notebook)) == shown(committed)
