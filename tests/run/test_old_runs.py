"""Old runs stay readable: those below old_runs/, and those whose config lacks an entry or has one that is gone."""

import json
import shutil
from functools import reduce
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import old_run
import pytest
from small import assert_trees_equal, small_config, small_state

import gan_jax
from gan_jax import OBJECTIVES, create_state, run_keys
from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run import page
from gan_jax.run.checkpoints import Checkpoints, _digest
from gan_jax.run.compare import group_runs, read_runs
from gan_jax.run.config import make_configured_dataset, make_gan, resolve
from gan_jax.run.entries import changes, images_before
from gan_jax.run.loop import train
from gan_jax.run.plots import save_samples
from gan_jax.run.restore import restore_run
from gan_jax.run.saved import get_config
from gan_jax.run.workdir import has_checkpoint

POINTS = Path(__file__).parent / "old_runs" / "0.2.0.dev0" / "points"
OLD = sorted(Path(__file__).parent.glob("old_runs/*/*/"))
MLP = {"network.name": "mlp", "network.mlp.hidden": (4,)}


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


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr("gan_jax.run.loop.save_run_plots", lambda workdir: [])


def edit(workdir, change):
    """Change the config of a run as it was saved: in its record, with its own digest, and in config.json."""
    for path in workdir.glob("checkpoints/*/record/metadata"):
        record = json.loads(path.read_text())
        del record["sha256"]
        change(record["config"])
        path.write_text(json.dumps(record | {"sha256": _digest(record)}))
    config = json.loads((workdir / "config.json").read_text())
    change(config)
    (workdir / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A run of 4 steps."""
    workdir = tmp_path_factory.mktemp("shared")
    config = small_config(num_steps=4, checkpoint_every=4, log_every=2, ema_decay=0.5, **MLP)
    train(config, workdir)
    return config, workdir


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
    assert "alone" not in capsys.readouterr().out
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
    assert f"{workdir}: its generator alone is restored: " in capsys.readouterr().out
    np.testing.assert_array_equal(gan_jax.sample(gan, state, jax.random.key(0), 3), expected)
    save_samples(gan, state, expected, workdir / "grid.png", dataset_name=config.data.name)
    assert (workdir / "grid.png").stat().st_size > 5000
    assert list(old_run.measure(workdir)["metrics"]) == ["step 20 (final), raw weights"]
    with pytest.raises(InputError, match="restored for its samples alone"):
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


def test_a_run_begins_with_the_networks_of_another(run, tmp_path, capsys):
    """Networks and average are taken, optimisers and step are new; a killed run needs no flag, and ignores it."""
    config, workdir = run
    _, _, origin = restore_run(workdir)
    config.optimizer.learning_rate, config.seed, config.objective = 1e-5, 7, "hinge"
    config.checkpoint_every = 100
    state = train(config, tmp_path / "tuned", init_from=workdir)
    assert f"begins with the networks of {workdir} at step 4" in capsys.readouterr().out
    assert int(state.step) == 4
    shutil.rmtree(workdir)  # it is not needed any more
    shutil.rmtree(tmp_path / "tuned" / "checkpoints" / "4")  # as if it was killed before its first save
    _, gan, first = restore_run(tmp_path / "tuned")
    fresh = create_state(gan, run_keys(7).init)
    assert int(first.step) == 0
    assert_trees_equal((first.params, first.stats), (origin.params, origin.stats))
    assert_trees_equal(first.ema, origin.ema)
    assert_trees_equal(first.opt_state, fresh.opt_state)

    config.num_steps = 2
    train(config, tmp_path / "tuned")  # without the flag
    assert "begins with" not in capsys.readouterr().out
    assert_trees_equal(
        gan_jax.fit(gan, make_configured_dataset(config), 2, state=first, seed=7).state, restore_run(tmp_path / "tuned")[2]
    )
    train(config, tmp_path / "tuned", init_from=workdir)
    assert f"--init_from={workdir} is ignored, as the run has a checkpoint of its own" in capsys.readouterr().out
    rows = read_jsonl(tmp_path / "tuned" / "runs.jsonl")
    assert [row["from_step"] for row in rows] == [0, 0]
    expected = [{"step": 0, "init_from": {"workdir": str(workdir), "step": 4}}]
    assert [row["config"]["history"] for row in rows] == [expected] * 2
    assert get_config(str(tmp_path / "tuned" / "config.json")).seed == 7


def test_an_average_begins_at_the_generator_where_the_other_run_has_none(tmp_path):
    config = small_config(ema_decay=0.9, **MLP)
    gan = make_gan(config)
    raw = small_state(gan).replace(ema=None, step=jnp.int32(3))
    with Checkpoints(tmp_path / "raw" / "checkpoints") as checkpoints:
        checkpoints.save(raw, resolve(config))
    dataset = make_configured_dataset(config)
    fitted = gan_jax.fit(gan, dataset, 1, init_from=tmp_path / "raw", seed=5)
    new = create_state(gan, run_keys(5).init)
    begun = new.replace(params=raw.params, stats=raw.stats, ema={"params": raw.params.gen, "batch_stats": raw.stats.gen})
    assert_trees_equal(gan_jax.fit(gan, dataset, 1, state=begun, seed=5).state, fitted.state)
    with pytest.raises(InputError, match="state and init_from: only one can be given"):
        gan_jax.fit(gan, dataset, 1, state=new, init_from=tmp_path / "raw")
    other = make_gan(small_config(latent_dim=5, **MLP))
    match = r"^init_from=.*raw: params/gen/Dense_0/.*raw/config\.json has the entries of its recipe"
    with pytest.raises(InputError, match=match):
        gan_jax.fit(other, dataset, 1, init_from=tmp_path / "raw")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"latent_dim": 5},
            r"params/gen/Dense_0/kernel is float32\[4, 4\] there, and float32\[5, 4\] .*config\.latent_dim: 4 -> 5,",
        ),
        ({"num_classes": 8}, r"params/.* see config\.num_classes: 0 -> 8"),
        ({"network.gen.mlp.hidden": (5,)}, r"params/gen/.* see config\.network\.gen\.mlp\.hidden: \[4\] -> \[5\],"),
        ({"network.disc.mlp.hidden": (4, 4)}, r"params/disc/.* see config\.network\.disc\.mlp\.hidden: \[4\] -> \[4, 4\],"),
        ({"network.disc.mlp.hidden": (5,), "latent_dim": 5}, r"params/gen/.* see config\.latent_dim: 4 -> 5,"),
        (
            {"packing": 2},
            r"params/disc/Dense_0/kernel is float32\[64, 4\] there, and float32\[128, 4\] .* see config\.packing: 1 -> 2",
        ),
        ({"data.name": "ring"}, r"params/gen/Dense_1/.* see config\.data\.name: mnist5k -> ring"),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_networks_of_another_shape_are_refused_with_the_leaf_and_the_entry_before_the_data_are_read(
    shared, tmp_path, monkeypatch, change, message
):
    config, workdir = shared
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(change)
    monkeypatch.setattr("gan_jax.run.loop.make_configured_dataset", None)
    with pytest.raises(InputError, match=message) as error:
        train(config, tmp_path / "new", init_from=workdir)
    assert f"--init_from={workdir}: " in str(error.value)
    assert f"--config={workdir}/config.json" in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_not_there_is_no_origin(tmp_path):
    with pytest.raises(InputError, match=r"--init_from=.*nowhere: no run is there"):
        train(small_config(**MLP), tmp_path / "new", init_from=tmp_path / "nowhere")
    assert not has_checkpoint(tmp_path / "new")


def test_changes_that_are_allowed_continue_the_run_and_are_recorded(run):
    config, workdir = run
    begun = {"step": 0, "init_from": {"workdir": "another", "step": 9}}
    edit(workdir, lambda config: config.update(history=[begun]))
    config.num_steps = 6
    config.optimizer.gen.learning_rate, config.batch_size, config.objective = 1e-5, 16, "hinge"
    with pytest.raises(
        InputError, match=r"batch_size: 8 -> 16, objective: .*, optimizer\.gen\.learning_rate: 0\.0002 -> 1e-05\)"
    ):
        train(config, workdir)
    assert int(train(config, workdir, allow_changes=True).step) == 6
    changed = {"batch_size": [8, 16], "objective": ["non_saturating", "hinge"], "optimizer.gen.learning_rate": [2e-4, 1e-5]}
    event = {"step": 4, "changes": changed}
    first, second = read_jsonl(workdir / "runs.jsonl")
    assert "history" not in first["config"]
    assert (second["from_step"], second["config"]["history"]) == (4, [begun, event])
    saved = json.loads((workdir / "config.json").read_text())
    assert (saved["history"], saved["batch_size"]) == ([begun, event], 16)
    assert [row["images_seen"] for row in read_jsonl(workdir / "metrics.jsonl")] == [16, 32, 64]
    (group,) = group_runs(read_runs([workdir]))
    assert group.runs[0].entries["history"] == [begun, event]
    assert page.tabulate_runs([group])

    config = get_config(str(workdir / "config.json"))  # the same command as before, and a resume by --workdir alone
    assert int(train(config, workdir, allow_changes=True).step) == 6
    config.num_steps = 8
    assert int(train(config, workdir).step) == 8
    assert [row["config"].get("history") for row in read_jsonl(workdir / "runs.jsonl")] == [
        None,
        [begun, event],
        [begun, event],
    ]


def test_images_seen_are_those_of_the_batches_that_the_run_had():
    """4 steps of 8 images, 4 of 16, 2 of 2 × 16."""
    events = [{"batch_size": [8, 16], "seed": [0, 1]}, {"disc_steps": [1, 2]}]
    history = [
        {"step": 0, "init_from": {}},
        *({"step": step, "changes": event} for step, event in zip((4, 8), events, strict=True)),
    ]
    resolved = {"batch_size": 16, "disc_steps": 2, "history": history}
    assert images_before(resolved) + 10 * 2 * 16 == 4 * 8 + 4 * 16 + 2 * 2 * 16
    assert images_before({"batch_size": 16, "disc_steps": 2}) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 5}, r"shapes with latent_dim: 4 -> 5: params/gen/Dense_0/kernel is float32\[4, 4\] in the checkpoint"),
        ({"ema_decay": 0.0}, r"shapes with ema_decay: 0\.5 -> 0\.0: ema/.* absent by the config"),
        ({"optimizer.gen.name": "sgd"}, r"shapes with optimizer\.gen\.name: adam -> sgd: opt_state/gen"),
        (
            {"num_steps": 4, "seed": 1},
            r"the run is complete at step 4: a larger --config\.num_steps continues it with seed: 0 -> 1",
        ),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_changes_of_shapes_and_of_nothing_are_refused(shared, change, message):
    config, workdir = shared
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({"num_steps": 6} | change)
    with pytest.raises(InputError, match=f"--allow_changes: .*{message}"):
        train(config, workdir, allow_changes=True)
    assert before == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
