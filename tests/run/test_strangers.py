"""A stranger's run: nothing of it is executed, nothing that it names is opened, and whatever it says is a run or one line."""

import json
import os

import jax
import pytest
from ml_collections import ConfigDict
from small import small_config

from gan_jax import create_state, sample
from gan_jax.data import is_known
from gan_jax.errors import InputError
from gan_jax.files import append_jsonl, read_jsonl
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import make_gan, resolve
from gan_jax.run.records import digest
from gan_jax.run.restore import restore_run, trust
from gan_jax.run.runtime import lock_workdir

CONFIG = {"network.name": "mlp", "network.mlp.hidden": (4,)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with one checkpoint; its record."""
    workdir = tmp_path_factory.mktemp("stranger")
    config = small_config(**CONFIG)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        checkpoints.save(create_state(make_gan(config), jax.random.key(0)), resolve(config))
    return workdir, json.loads(record_of(workdir).read_text())


def record_of(workdir):
    return workdir / "checkpoints" / "0" / "record" / "metadata"


def write_record(run, change):
    """Write the record after a change, with its own digest."""
    workdir, original = run
    record = json.loads(json.dumps(original))
    changed = change(record)
    record = record if changed is None else changed
    if isinstance(record, dict):
        record.pop("sha256", None)
        record["sha256"] = digest(record)
    record_of(workdir).write_text(json.dumps(record))
    return workdir


def entry(key, given):
    def change(record):
        *sections, name = key.split(".")
        nested = record
        for section in sections:
            nested = nested[section]
        nested[name] = given

    return change


CHANGES = {
    "no record": lambda record: [],
    "an empty record": lambda record: {},
    "no config": entry("config", {}),
    "a list for a config": entry("config", []),
    "a deep config": entry("config", json.loads('{"a":' * 400 + "1" + "}" * 400)),
    "an unknown network": entry("config.network.gen.name", "evil"),
    "an unknown dataset": entry("config.data.name", "evil"),
    "a dataset that is a number": entry("config.data.name", 3),
    "a negative size": entry("config.latent_dim", -1),
    "a size that is text": entry("config.latent_dim", "4"),
    "another size": entry("config.latent_dim", 5),
    "a score that is text": entry("selection_metric", "best"),
    "a score that is infinite": entry("selection_metric", float("inf")),
    "a score that is a list": entry("selection_metric", [1]),
    "no leaves": entry("leaves", None),
    "a leaf that is a list": entry("leaves.step", []),
    "a leaf of a negative shape": entry("leaves.step.shape", [-1]),
    "a leaf of objects": entry("leaves.step.dtype", "object"),
    "a leaf of another dtype": entry("leaves.step.dtype", "float32"),
    "a leaf without a digest": entry("leaves.step.sha256", None),
    "a leaf of all memory": entry("leaves.step.shape", [2**50]),
    "too many dimensions": entry("leaves.step.shape", [1] * 100),
    "one leaf more": entry("leaves.evil", {"dtype": "float32", "shape": [1], "sha256": ""}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_bad_record_is_one_line(run, name):
    with pytest.raises(InputError) as error:
        restore_run(write_record(run, CHANGES[name]))
    assert str(run[0]) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


NOT_NEEDED = {
    "an unknown entry": entry("config.evil", 1),
    "an unknown option of the data": entry("config.data.evil", 1),
    "an unknown objective": entry("config.objective", "evil"),
    "an objective that is a list": entry("config.objective", [1]),
    "an unknown optimiser": entry("config.optimizer.gen.name", "evil"),
    "no number": entry("config.optimizer.gen.learning_rate", None),
    "a list for a section": entry("config.watch", [1]),
    "a history that is none": entry("config.history", 3),
}


@pytest.mark.parametrize("name", NOT_NEEDED)
def test_what_samples_do_not_need_may_be_anything(run, name):
    config, gan, state = restore_run(write_record(run, NOT_NEEDED[name]))
    assert sample(gan, state, jax.random.key(0), 1).shape == (1, 8, 8, 1)
    assert trust(config).data.name == "mnist5k"


@pytest.mark.parametrize("which", ["final", "best"])
def test_a_record_as_it_was_written_is_restored(run, which):
    workdir = write_record(run, entry("selection_metric", 1.5))
    assert int(restore_run(workdir, which)[2].step) == 0


def test_what_is_not_a_file_in_a_run_is_refused_before_it_is_opened(run, tmp_path):
    """A pipe hangs its reader, /dev/zero and a large file of spaces fill the memory."""
    workdir = write_record(run, lambda record: None)
    path = record_of(workdir)
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), lambda: os.truncate(path, 2**31)):
        if make.__code__.co_names[:2] != ("os", "truncate"):
            path.unlink()
        else:
            path.write_text("")
        make()
        with pytest.raises(InputError, match=r"metadata: must be (a regular file, not a link|at most 16777216 bytes)"):
            restore_run(workdir)
        path.unlink()
        path.write_text("")


@pytest.mark.parametrize("name", ["results.jsonl", "runs.jsonl"])
def test_rows_are_written_through_no_link(tmp_path, name):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / name).symlink_to("mine")
    for use in (lambda path: append_jsonl(path, {"a": 1}), read_jsonl):
        with pytest.raises(InputError, match="must be a regular file"):
            use(tmp_path / name)
    assert (tmp_path / "mine").read_text() == "kept"


def test_rows_that_are_no_rows_are_skipped(tmp_path):
    (tmp_path / "rows").write_text('[1]\n"a"\n{"a": 1}\n' + "[" * 100_000 + "\n" + "9" * 5000 + "\n" + " " * 2**21 + "\n{}")
    assert read_jsonl(tmp_path / "rows") == [{"a": 1}, {}]


@pytest.mark.parametrize("name", [".lock", "samples", "checkpoints", "metrics.jsonl"])
def test_a_workdir_with_a_link_is_not_trained_in(tmp_path, name):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=f"{name}: must not be a link"), lock_workdir(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize("name", ["folder:/home", "numpy:/etc/passwd", "stacked:numpy:x", "stacked:stacked:folder:x"])
def test_a_path_is_no_known_name(name):
    assert not is_known(name)


@pytest.mark.parametrize(
    "name", ["huggingface:evil", "evil", "a.b/c", "../evil", "mnist/../evil", "/evil", "kubric:mnist", "os.Path"]
)
def test_no_dataset_is_known_that_makes_tfds_import_or_fetch_what_it_names(name):
    assert not is_known(f"tfds:{name}")
    assert not is_known(f"stacked:tfds:{name}")


@pytest.mark.parametrize("name", ["mnist5k", "mnist", "ring", "stacked:mnist5k", "tfds:cifar10", "tfds:emnist/letters:3.*.*"])
def test_embedded_cached_and_registered_datasets_are_known(name):
    assert is_known(name)


@pytest.mark.parametrize(
    ("name", "folder", "flags", "allowed"),
    [
        ("mnist5k", "", {}, ("mnist5k", "")),
        ("mnist5k", "/theirs", {}, ("mnist5k", "")),
        ("mnist", "/theirs", {}, "--data_dir=/theirs"),
        ("stacked:mnist", "/theirs", {}, "--data_dir=/theirs"),
        ("tfds:mnist", "/theirs", {}, "--data_dir=/theirs"),
        ("tfds:mnist", "/theirs", {"data_dir": "/theirs"}, ("tfds:mnist", "/theirs")),
        ("tfds:evil", "", {"data_dir": "/theirs"}, "--data=tfds:evil"),
        ("folder:/theirs", "", {}, "--data=folder:/theirs"),
        ("folder:/theirs", "", {"data": "folder:/mine"}, ("folder:/mine", "")),
    ],
)
def test_a_path_of_a_record_is_opened_where_it_is_repeated(name, folder, flags, allowed):
    overrides = {"data.name": name, "data.dir": folder, "data.split": "train[:9]"} | (
        {"data.channels": 3} if name.startswith("stacked") else {}
    )
    config = ConfigDict(small_config(**overrides, **CONFIG).to_dict())
    if isinstance(allowed, tuple):
        data = trust(config, **flags).data
        assert (data.name, data.dir) == allowed
        assert data.split == ("train" if data.name.startswith("folder:") else "train[:9]")  # of files, as all were read
    else:
        with pytest.raises(InputError, match=f"add {allowed}$"):
            trust(config, **flags)
