"""Tables of runs: what a row is known by, and what becomes of a run that diverges."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from absl import flags

from configs import ring
from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run import table


def small_config(learning_rate=1e-3):
    recipe = table.Recipe("small", {"optimizer.learning_rate": learning_rate, "network.mlp.hidden": (4,)}, (7,))
    config = recipe.make_config(ring.get_config(), 7)
    config.update(num_steps=2, batch_size=8, eval_every=2, eval_num=100, sample_every=2, checkpoint_every=2)
    return config


def test_own_entries_are_those_that_differ_from_the_default():
    entries = table.own_entries(small_config())
    assert entries["seed"] == 7
    assert entries["optimizer.gen.learning_rate"] == 1e-3  # both players follow the common entry
    assert "objective" not in entries
    assert not any(key.startswith("data.dir") for key in entries)


@pytest.mark.usefixtures("no_curves")
def test_a_run_that_has_its_row_is_neither_trained_nor_evaluated_again(tmp_path):
    def evaluate():
        calls.append(table.restored_samples(tmp_path / "run", 5)[0:5].shape)
        return {"mean": {"answer": 42.0}}

    calls, path = [], tmp_path / "rows.jsonl"
    rows = [table.make_row(path, {"recipe": "small"}, small_config(), tmp_path / "run", evaluate) for _ in range(2)]
    assert calls == [(5, 2)]
    assert rows[0] == rows[1] == read_jsonl(path)[0]
    assert (rows[0]["ended"], rows[0]["mean"]) == ("complete", {"answer": 42.0})
    assert rows[0]["real_baseline"].keys() == {"eval/modes", "eval/high_quality", "eval/js"}
    curve = table.make_curve(rows, "eval/js")
    assert (curve.times.tolist(), curve.values.shape) == ([2], (2, 1))
    table.make_row(path, {"recipe": "small"}, small_config(2e-3), tmp_path / "other", dict)
    assert len(read_jsonl(path)) == 2  # other entries are another run
    with pytest.raises(InputError, match="another config"):
        table.make_row(path, {"recipe": "small"}, small_config(3e-3), tmp_path / "run", evaluate)


def test_a_run_that_diverges_has_a_row_without_metrics(tmp_path):
    config = small_config(1e20)
    config.update(num_steps=5, eval_every=0, checkpoint_every=100)  # samples alone are due at the end
    row = table.make_row(tmp_path / "rows.jsonl", {}, config, tmp_path / "run", lambda: pytest.fail("evaluated"))
    assert "nan" in row["ended"] or "inf" in row["ended"]
    assert "mean" not in row


def test_samples_of_a_trial_have_another_name_than_those_of_the_default_flags(tmp_path):
    given = flags.FlagValues()
    settings = [flags.DEFINE_integer(name, 5, "", flag_values=given) for name in ("width", "num")]
    given(["script"])
    assert table.with_flags("minimax", *settings) == "minimax"
    given(["script", "--num=7"])
    assert table.with_flags("minimax", *settings) == "minimax, num=7"


def test_samples_that_are_added_at_once_are_all_kept(tmp_path):
    samples = np.zeros((3, 8, 8, 1), np.uint8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: table.add_samples(tmp_path / "new" / "samples.npz", str(name), samples), range(16)))
    assert set(np.load(tmp_path / "new" / "samples.npz")) == {str(name) for name in range(16)}


def test_the_picture_has_a_line_of_samples_for_each_recipe(tmp_path):
    for name, value in (("a", 0), ("b", 255)):
        table.add_samples(tmp_path / "samples.npz", name, np.full((3, 8, 8, 1), value, np.uint8))
    samples = dict(np.load(tmp_path / "samples.npz"))
    assert {name: int(images.mean()) for name, images in samples.items()} == {"a": 0, "b": 255}
    curves = {"a": table.Curve(np.array([1, 2]), np.array([[3.0, 2.0]]))}
    table.save_table_picture(tmp_path / "p.png", samples, curves, labels=("x", "y"), baseline=("real", 1.0))
    assert (tmp_path / "p.png").stat().st_size > 5_000
