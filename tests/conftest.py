"""Strict by default: silent rank promotion raises, and a script is run as a user runs it, in its own process (forked.py)."""

import gc
import os
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

# A fifth of the compile time, for steps that run a handful of times. Scripts, whose bits matter, run without it.
_FAST_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib") < "0.12":  # later ones end a process that sets it
    _FAST_FLAGS += " --xla_cpu_use_fusion_emitters=false"
_USER_FLAGS = os.environ.get("XLA_FLAGS", "").removesuffix(_FAST_FLAGS).strip()  # a worker of xdist inherits both
os.environ["XLA_FLAGS"] = f"{_USER_FLAGS} {_FAST_FLAGS}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # bits and devices are a CPU's

# One fresh cache of all compiled programs for the session: its workers and the scripts they run meet there.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import forked  # noqa: E402
import jax  # noqa: E402  # reads the flags
import pytest  # noqa: E402

from gan_jax import data  # noqa: E402

data.load_digits = cache(data.load_digits)  # nearly every run resizes the same 5,000

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent
_BRIEFLY = """
import runpy, sys
from gan_jax.evaluation.features import classifier, stacked
classifier.RECIPE["steps"] = stacked.STACKED_RECIPE["steps"] = 100
sys.argv, sys.path[0] = sys.argv[1:], "experiments"
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_SLOWEST = ("theory", "scripts", "conditional_scripts", "experiments", "devices", "updates", "steps", "distributed")
_SLOWEST += ("connections", "faults", "norms", "sngan", "benchmark", "machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, so that none is left to one worker at the end while the other has nothing to do."""
    order = {f"test_{name}": place for place, name in enumerate(_SLOWEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    gc.freeze()  # modules and tests stay: to look through them is a twentieth of the time of a suite that traces
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a test's own in which the package caches, here and in the scripts that it runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curves and no animation at the end of a run here: they take longer than a small run."""
    monkeypatch.setattr("gan_jax.run.loop.save_run_plots", lambda workdir: [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a user's images."""
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_script("train.py", "--config=…", status=2)`: a script of experiments/, from the root of the checkout.

    fast: compiled like the tests, where bits do not matter. brief: a classifier that it needs is trained for 100 steps.
    """

    def run(
        script: str, *arguments: str, status: int = 0, fast: bool = False, brief: bool = False
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"] if fast else _USER_FLAGS}
        command = [*(["-c", _BRIEFLY] if brief else []), f"experiments/{script}", *arguments]
        done = forked.run(command, cwd=ROOT, env=environment)
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
