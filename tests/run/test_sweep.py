"""Sweeps: which runs they have, what they refuse, and that what is complete is skipped."""

import os

import forked
import pytest
from conftest import ROOT

from gan_jax import create_state, run_keys
from gan_jax.errors import InputError
from gan_jax.run import sweep
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import make_gan, resolve

pytestmark = pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections, on Python 3.11

RING = "experiments/configs/ring.py"
SMALL = ("--config.num_steps=2", "--config.batch_size=8", "--config.network.mlp.hidden=(4,)", "--config.eval_every=0")


def test_a_sweep_has_all_combinations_and_names_what_differs():
    runs = sweep.expand(["--config.objective=minimax,hinge", "--config.seed=0,1,2", "--config.batch_size=8"])
    assert len(runs) == len(set(runs)) == 6
    assert [run.name for run in runs[:2]] == ["objective=minimax,seed=0", "objective=minimax,seed=1"]
    assert runs[-1].overrides == ("--config.objective=hinge", "--config.seed=2", "--config.batch_size=8")
    (single,) = sweep.expand(["--config.seed=0"])
    assert single.name == "run"
    same_ends = sweep.expand(["--config.optimizer.gen.b1=0,0.5", "--config.optimizer.disc.b1=0,0.5"])
    assert same_ends[1].name == "optimizer.gen.b1=0,optimizer.disc.b1=0.5"


def test_commas_in_brackets_divide_no_values():
    assert sweep.split_values("(64,64),(128,),[1,[2,3]],a") == ["(64,64)", "(128,)", "[1,[2,3]]", "a"]
    runs = sweep.expand(["--config.network.mlp.hidden=(4,4),(8,)"])
    assert [tuple(sweep.make_config(RING, run).network.mlp.hidden) for run in runs] == [(4, 4), (8,)]
    assert all("(" not in run.name for run in runs)  # a shell would read them


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--config.seed=0,1,1"], "none twice"),
        (["--config.seed=0,"], "VALUE"),
        (["--config.seed"], "VALUE"),
        (["--config.seed=0", "--config.seed=1"], "must be given once"),
        (["--config.data.name=a/b,a:b"], "same folder"),
    ],
)
def test_bad_sweeps_are_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        sweep.expand(overrides)


def test_every_run_is_checked_before_the_first_is_trained(run_script, tmp_path):
    for override, message in [
        ("--config.objective=minimax,hinges", "objective=hinges: config.objective=hinges must be one of"),
        ("--config.sed=0,1", "--config.sed: no such entry; did you mean seed?"),
        ("--config.batch_size=8,nine", "batch_size=nine: "),
    ]:
        done = run_script("sweep.py", f"--config={RING}", f"--workdir={tmp_path}", override, status=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_sweep_ends_its_runs():
    code = """
import subprocess, sys
sys.path.insert(0, "experiments")
from sweep import ending
process = subprocess.Popen(["sleep", "60"])
try:
    with ending({process: 1}):
        raise KeyError
except KeyError:
    print(process.wait())
"""
    done = forked.run(["-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.stdout, done.returncode) == ("-15\n", 0), done.stderr


def test_runs_are_trained_skipped_and_extended(run_script, tmp_path):
    """Of two runs at once, one meets a run of another config in its folder, and the other is none the worse."""
    other = sweep.make_config(RING, sweep.Run("", ("--config.seed=1", "--config.objective=hinge", *SMALL)))
    with Checkpoints(tmp_path / "seed=1" / "checkpoints") as checkpoints:
        checkpoints.save(create_state(make_gan(other), run_keys(1).init), resolve(other))
    command = ("sweep.py", f"--config={RING}", f"--workdir={tmp_path}", "--config.seed=0,1", *SMALL)
    done = run_script(*command, "--jobs=2", status=1, fast=True)
    assert "1 of 2: seed=0: complete after " in done.stdout
    assert "2 of 2: seed=1: status 2" in done.stdout
    assert "has a run with another config (objective: hinge -> non_saturating)" in done.stdout
    assert done.stderr.startswith("error: 1 of 2 runs failed: seed=1")
    done = run_script(*command, "--slurm=partition=gpu", status=2, fast=True)
    assert done.stderr == "error: --slurm: must be left out without --launcher=slurm\n"
    longer = run_script(*command[:3], "--config.num_steps=3", "--config.seed=0,1", *SMALL[1:], "--dry_run", fast=True).stdout
    assert longer.splitlines() == ["seed=0: begun", "seed=1: begun", "2 runs, 0 complete"]
    one = run_script(*command[:3], "--config.seed=0,7", *SMALL, "--launcher=submitit", fast=True).stdout
    assert "seed=0: complete\n2 runs, 1 complete\njob " in one
    assert sweep.is_complete(tmp_path / "seed=7", sweep.make_config(RING, sweep.Run("", ("--config.seed=7", *SMALL))))
