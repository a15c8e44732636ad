"""A run begins with another's networks, or continues under another config: what its state allows, and its history tells."""

import json
import shutil

import jax.numpy as jnp
import pytest
from old_run import MLP, edit, train_four_steps
from small import assert_trees_equal, small_config, small_state

import gan_jax
from gan_jax import create_state, run_keys
from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run import page
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.compare import group_runs, read_runs
from gan_jax.run.config import make_configured_dataset, make_gan, resolve
from gan_jax.run.entries import images_before
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run
from gan_jax.run.saved import get_config
from gan_jax.run.workdir import has_checkpoint

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A run of 4 steps."""
    workdir = tmp_path_factory.mktemp("shared")
    return train_four_steps(workdir), workdir


@pytest.fixture
def run(shared, tmp_path):
    config, workdir = shared
    return config.copy_and_resolve_references(), shutil.copytree(workdir, tmp_path / "run")


def test_a_run_begins_with_the_networks_of_another(run, tmp_path, capsys):
    """Networks and average are taken, optimisers and step are new; a killed run needs no flag, and ignores it."""
    config, workdir = run
    _, _, origin = restore_run(workdir)
    config.optimizer.learning_rate, config.seed, config.objective = 1e-5, 7, "hinge"
    config.checkpoint_every = 100
    state = train(config, tmp_path / "tuned", init_from=workdir)
    assert f"starts from the networks of {workdir} at step 4" in capsys.readouterr().out
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
    assert "starts from" not in capsys.readouterr().out
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
            r"params/gen/Dense_0/kernel is float32\[4, 4\] there, but float32\[5, 4\] .*config\.latent_dim: 4 -> 5,",
        ),
        ({"num_classes": 8}, r"params/.* see config\.num_classes: 0 -> 8"),
        ({"network.gen.mlp.hidden": (5,)}, r"params/gen/.* see config\.network\.gen\.mlp\.hidden: \[4\] -> \[5\],"),
        ({"network.disc.mlp.hidden": (4, 4)}, r"params/disc/.* see config\.network\.disc\.mlp\.hidden: \[4\] -> \[4, 4\],"),
        ({"network.disc.mlp.hidden": (5,), "latent_dim": 5}, r"params/gen/.* see config\.latent_dim: 4 -> 5,"),
        (
            {"packing": 2},
            r"params/disc/Dense_0/kernel is float32\[64, 4\] there, but float32\[128, 4\] .* see config\.packing: 1 -> 2",
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
    real = (workdir / "real.png").read_bytes()
    (workdir / "real.png").write_bytes(b"of other data")
    shutil.copy(workdir / "samples" / "00000004.png", workdir / "samples" / "00000005.png")  # of a run that was killed
    assert int(train(config, workdir, allow_changes=True).step) == 6
    assert (workdir / "real.png").read_bytes() == real
    assert (workdir / "samples" / "00000004.png").exists()
    assert not (workdir / "samples" / "00000005.png").exists()
    (events,) = workdir.glob("events.out.tfevents.*.4")
    assert b"samples/real" in events.read_bytes()
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
    strange = [
        3,
        {},
        {"step": "a"},
        *({"step": 1, "changes": each} for each in (3, {"batch_size": 8}, {"batch_size": ["a", 8]})),
    ]
    assert images_before(resolved | {"history": strange}) == images_before({"batch_size": 16, "disc_steps": 2}) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 5}, r"shapes with latent_dim: 4 -> 5: params/gen/Dense_0/kernel is float32\[4, 4\] in the checkpoint"),
        ({"ema_decay": 0.0}, r"shapes with ema_decay: 0\.5 -> 0\.0: ema/.* absent by the config"),
        ({"optimizer.gen.name": "sgd"}, r"shapes with optimizer\.gen\.name: adam -> sgd: opt_state/gen"),
        (
            {"batch_size": 16, "penalty.final_r1": 0.1, "schedule.images": 80},
            r"batch_size: 8 -> 16: the steps so far would count anew in the schedules .* keep batch_size, or .* --init_from=",
        ),
        (
            {"disc_steps": 2, "penalty.final_r1": 0.1, "schedule.images": 80},
            r"disc_steps: 1 -> 2: .* keep disc_steps, or",
        ),
        (
            {"disc_steps": 2, "ema_decay": 0.0, "ema_half_life": 80.0},
            r"disc_steps: 1 -> 2: .* count anew in the average's ramp-up \(ema_ramp_up\): keep disc_steps, or",
        ),
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
