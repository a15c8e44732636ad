"""Old runs stay readable: those below old_runs/, and those whose config lacks an entry or has one that is gone."""

import json
import shutil
from functools import reduce
from pathlib import Path

import jax
import numpy as np
import old_run
import pytest
from old_run import MLP, edit, train_four_steps
from small import assert_trees_equal, small_config

import gan_jax
from gan_jax import OBJECTIVES
from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run.compare import group_runs, read_runs
from gan_jax.run.config import resolve
from gan_jax.run.entries import changes
from gan_jax.run.loop import train
from gan_jax.run.plots import save_samples
from gan_jax.run.restore import restore_run
from gan_jax.run.saved import get_config

POINTS = Path(__file__).parent / "old_runs" / "0.2.0.dev0" / "points"
OLD = sorted(Path(__file__).parent.glob("old_runs/*/*/"))
pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.mark.parametrize("workdir", OLD, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_run_of_its_day_is_sampled_evaluated_and_resumed(workdir, tmp_path):
    """To a grey level and 1e-3, as other machines round otherwise."""
    run = shutil.copytree(workdir, tmp_path / "run")
    expected, measured = json.loads((run / "expected.json").read_text()), old_run.measure(run)
    assert measured["step"] == expected["step"]
    np.testing.assert_allclose(measured["samples"], expected["samples"], atol=1 if workdir.name == "images" else 1e-3)
    assert measured["metrics"].keys() == expected["metrics"].keys()
    for name, metrics in expected["metrics"].items():
        assert measured["metrics"][name] == pytest.approx(metrics, rel=0.05)
    config = get_config(str(run / "config.json"))
    assert changes(json.loads((run / "config.json").read_text()), resolve(config)) == {}
    config.num_steps = expected["step"] + 2
    assert int(train(config, run).step) == expected["step"] + 2
    assert read_jsonl(run / "runs.jsonl")[-1]["from_step"] == expected["step"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A run of 4 steps."""
    workdir = tmp_path_factory.mktemp("shared")
    return train_four_steps(workdir), workdir


@pytest.fixture
def run(shared, tmp_path):
    config, workdir = shared
    return config.copy_and_resolve_references(), shutil.copytree(workdir, tmp_path / "run")


@pytest.fixture
def points(tmp_path):
    return shutil.copytree(POINTS, tmp_path / "points")


def lack(config):
    sections = config["penalty"], config["network"]["gen"], config["optimizer"]["disc"]
    for section, key in zip((config, *sections), ("augment", "every", "r3gan", "b2"), strict=True):
        section.pop(key, None)


def test_an_entry_that_a_saved_config_lacks_has_its_default_also_on_resume(run):
    config, workdir = run
    before = restore_run(workdir)
    edit(workdir, lack)
    after = restore_run(workdir)
    assert after[0].to_dict() == before[0].to_dict()
    assert_trees_equal(after[2], before[2])
    assert get_config(str(workdir / "config.json")).to_dict() == config.to_dict()
    (group,) = group_runs(read_runs([workdir]))
    assert group.runs[0].entries["augment"] == ""
    config.num_steps = 6
    assert int(train(config, workdir).step) == 6
    config.augment, config.num_steps = "cutout", 8
    edit(workdir, lack)
    with pytest.raises(InputError, match=r"\(augment:  -> cutout\).* or --allow_changes to continue it"):
        train(config, workdir)


def test_an_entry_that_is_gone_stops_no_samples_and_a_resume_only_without_the_flag(run, capsys):
    config, workdir = run

    def add(config):
        config["evil"], config["data"]["evil"] = {"a": 1}, "x" * 10_000

    before = restore_run(workdir)
    edit(workdir, add)
    after = restore_run(workdir)
    assert after[0].to_dict() == before[0].to_dict()
    assert_trees_equal(after[2], before[2])
    assert "only its generator" not in capsys.readouterr().out
    config = get_config(str(workdir / "config.json"))
    config.num_steps = 6
    with pytest.raises(InputError, match=r"data\.evil: xxx.* -> None, evil\.a: 1 -> None\): .*--allow_changes") as error:
        train(config, workdir)
    assert len(str(error.value)) < 600
    assert int(train(config, workdir, allow_changes=True).step) == 6
    (workdir / "mine.json").write_text('{"objektive": "hinge"}')  # a file of the user's, and not of a run, is strict
    with pytest.raises(InputError, match="objektive: no such entry; did you mean objective"):
        get_config(str(workdir / "mine.json"))


FOREIGN = {
    "objective": ("objective", "mine"),
    "optimizer": ("optimizer.disc.name", "mine"),
    "discriminator": ("network.disc.name", "mine"),
    "schedule": ("schedule.shape", "mine"),
    "other discriminator": ("network.disc.mlp.hidden", [5]),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_the_generator_does_not_need_stops_no_samples(points, name, capsys):
    """As of a run whose own config file has registered an objective: nothing of it is imported, and its generator is whole."""
    workdir = points
    _, gan, state = restore_run(workdir)
    expected = gan_jax.sample(gan, state, jax.random.key(0), 3)

    def change(config):
        *sections, last = FOREIGN[name][0].split(".")
        reduce(dict.get, sections, config)[last] = FOREIGN[name][1]

    edit(workdir, change)
    config, gan, state = gan_jax.load(workdir)
    assert f"{workdir}: only its generator is restored: " in capsys.readouterr().out
    np.testing.assert_array_equal(gan_jax.sample(gan, state, jax.random.key(0), 3), expected)
    save_samples(gan, state, expected, workdir / "grid.png", dataset_name=config.data.name)
    assert (workdir / "grid.png").stat().st_size > 5000
    assert list(old_run.measure(workdir)["metrics"]) == ["step 20 (final), raw weights"]
    with pytest.raises(InputError, match="restored for sampling only"):
        gan_jax.fit(gan, gan_jax.make_dataset("ring", batch_size=8), 1, state=state, progress=False)


def test_what_the_generator_needs_is_refused_in_one_line(run):
    _, workdir = run
    edit(workdir, lambda config: config.update(objective="mine", latent_dim=5))
    with pytest.raises(InputError, match=r"record of step 4: params/gen/Dense_0/kernel is float32\[4, 4\] in the checkpoint"):
        restore_run(workdir)


def test_a_run_with_an_objective_of_its_own_is_trained_and_sampled_where_that_is_not_known(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(OBJECTIVES, "mine", OBJECTIVES["hinge"])
    train(small_config(objective="mine", num_steps=2, **MLP), tmp_path / "run")
    monkeypatch.delitem(OBJECTIVES, "mine")
    config, gan, state = restore_run(tmp_path / "run")
    assert (config.objective, gan.objective, gan.networks.disc, state.params.disc) == ("mine", None, None, None)
    assert "config.objective=mine must be one of" in capsys.readouterr().out
    measured = old_run.measure(tmp_path / "run")
    assert measured["metrics"]["step 2 (final), raw weights"]["pixels_frechet"] > 0
