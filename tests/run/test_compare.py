"""Runs beside one another: what is grouped and averaged, and what is refused."""

import csv
import json

import pytest
from written_runs import data_of, shown, write_rows, write_run, write_table

from configs import mnist, ring
from gan_jax.errors import InputError
from gan_jax.run import compare, page
from gan_jax.run.compare import group_runs, read_runs


def test_runs_are_grouped_by_the_entries_in_which_they_differ_and_averaged_over_seeds(tmp_path):
    groups = group_runs(read_runs([write_table(tmp_path)]))
    assert [group.name for group in groups] == ["optimizer.learning_rate=0.001", "optimizer.learning_rate=0.0002"]
    first, second = shown(groups)
    assert (first["runs"], first["training seeds"], first["steps"], first["ended"]) == ("2", "0, 1", "30", "2 complete")
    assert (first["eval/js, best"], first["eval/js, final"]) == ("0.3 ± 0.1", "0.6 ± 0")  # not of the best's neighbours
    assert (second["eval/js, best"], second["eval/js, final"], second["minutes"]) == ("0.7 ± 0", "0.7 ± 0", "1.5 ± 0.5")
    assert (first["samples/diversity, final"], "samples/diversity, best" in first) == ("1 ± 0", False)
    best, _, final, _ = (run["best step"] for run in page.as_text(page.tabulate_runs(groups)))
    assert (best, final) == ("20", "30")
    numbers = page.as_numbers(page.tabulate(groups))[0]
    assert numbers["eval/js, best, mean"] == pytest.approx(0.3)
    assert numbers["eval/js, best, SE over training seeds"] == pytest.approx(0.1)


def test_a_setting_of_both_players_is_one_entry_and_unused_options_are_none(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", **{"optimizer.b1": 0.0, "network.dcgan.base_width": 5, "data.dir": "/elsewhere"})
    write_run(tmp_path / "c", **{"optimizer.b1": 0.1 + 0.2, "network.gen.mlp.hidden": (3,)})
    groups = group_runs(read_runs([tmp_path]))
    assert groups[2].name == "network.gen.mlp.hidden=[3], optimizer.b1=0.3"
    settings = [group.settings for group in groups]
    assert settings[0] == {"network.gen.mlp.hidden": [128, 128], "optimizer.b1": 0.5}
    assert [each["network.gen.mlp.hidden"] for each in settings] == [[128, 128], [128, 128], [3]]


def test_a_run_with_another_history_is_another_experiment(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / str(seed), seed=seed)
    history = [{"step": 4, "changes": {"objective": ["hinge", "minimax"]}}]
    path = tmp_path / "1" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"history": history}))
    groups = group_runs(read_runs([tmp_path]))
    assert [(len(group.runs), group.settings.get("history")) for group in groups] == [(1, None), (1, history)]


def test_rows_of_evaluate_are_those_of_the_averaged_weights_at_the_run_s_best_and_final_step(tmp_path):
    def row(step, weights, js, num=500):
        fields = {"step": step, "which": "any", "weights": weights, "num": num, "num_real": 9, "real": "ring"}
        return fields | {"mean": {"js": js, "reverse_kl": float("nan"), "class_share/3": 0.5}}

    stale = row(10, "EMA", 9.0)
    results = [stale, row(30, "EMA", 2.0), row(20, "EMA", 8.0), row(20, "EMA", 1.0), row(30, "raw", 7.0), {"step": 30}]
    results.append(row(30, "EMA", 6.0) | {"features": "pixels"})
    write_run(tmp_path / "a", results=results)
    write_run(tmp_path / "b", seed=1, results=[row(30, "raw", 4.0), row(20, "raw", 3.0, num=90)])
    (line,) = shown(group_runs(read_runs([tmp_path])))
    beside = {title: text for title, text in line.items() if "beside" in title}
    assert list(beside)[:2] == [f"js of 500 samples beside 9 of ring, {which}" for which in ("best", "final")]
    assert beside == {
        "js of 500 samples beside 9 of ring, best": "1 (1 of 2)",
        "js of 500 samples beside 9 of ring, final": "3 ± 1",
        "js of 500 samples beside 9 of ring by pixels, final": "6 (1 of 2)",
        "js of 90 samples beside 9 of ring, best": "3 (1 of 2)",
    }


def test_the_end_and_the_minutes_of_a_run_that_was_cut_off_follow_from_its_rows(tmp_path, monkeypatch):
    for seed, ended in enumerate(("complete", "sigterm", None)):
        write_run(tmp_path / str(seed), seed=seed, ended=ended)
    write_run(tmp_path / "3", seed=3, ended="complete")
    write_rows(tmp_path / "3" / "runs.jsonl", [{"to_step": 10, "seconds": 60.0, "ended": "sigint"}])
    lines = page.as_text(page.tabulate_runs(group_runs(read_runs([tmp_path]))))
    assert [line["ended"] for line in lines] == ["complete", "sigterm", "no end recorded", "no end recorded"]
    assert [line["minutes"] for line in lines] == ["1", "2", "0.25", f"{1 + 20 / 2 / 60:.4g}"]
    killed = [{"from_step": 0, "to_step": 5, "seconds": 60.0}, {"from_step": 20, "to_step": 30, "seconds": 30.0}]
    metrics = [{"step": step, "steps_per_second": 2.0 if step <= 20 else 9.0} for step in range(5, 31, 5)]
    assert compare.training_seconds(metrics, killed) == 60 + 15 / 2 + 30
    assert compare.training_seconds(metrics, killed[1:]) == 20 / 2 + 30
    monkeypatch.setattr(compare, "is_training", lambda workdir: workdir.name == "0")
    (line,) = shown(group_runs(read_runs([tmp_path])))
    assert line["ended"] == "1 running, 1 sigterm, 2 no end recorded"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nothing", "no runs: give their workdirs"),
        ("nowhere", "nowhere: no run is there; it must be the workdir of a run, or a folder of workdirs"),
        ("empty", r"empty: the run has no rows yet; leave it out, or wait for config\.log_every=50 steps"),
        ("data", r"a has config\.data\.name=ring, b has mnist5k: must be the same"),
        ("twice", "a and b have the same config and seed 0: leave one out"),
        ("damaged", "a: must have the config and the rows of a run of this version .TypeError: "),
        ("rows", "a: must have the config and the rows of a run of this version .KeyError: 'seconds'"),
        ("link", r"config\.json: must be a regular file, not a link"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, case, message):
    write_run(tmp_path / "a")
    if case in ("data", "twice"):
        write_run(tmp_path / "b", module=mnist if case == "data" else ring)
    if case == "empty":
        write_run(tmp_path / "empty")
        for name in ("metrics", "eval"):
            (tmp_path / "empty" / f"{name}.jsonl").unlink()
    if case == "damaged":
        (tmp_path / "a" / "config.json").write_text('{"seed": []}')
    if case == "rows":
        write_rows(tmp_path / "a" / "runs.jsonl", [{"to_step": 30}])
    if case == "link":
        (tmp_path / "a" / "config.json").rename(tmp_path / "config")
        (tmp_path / "a" / "config.json").symlink_to(tmp_path / "config")
    paths = {"nothing": [], "nowhere": [tmp_path / "a", tmp_path / "nowhere"]}.get(case, [tmp_path])
    with pytest.raises(InputError, match=message) as error:
        group_runs(read_runs(paths))
    assert "\n" not in str(error.value)


def test_a_run_that_is_named_twice_counts_once(tmp_path):
    write_run(tmp_path / "a")
    (group,) = group_runs(read_runs([tmp_path, tmp_path / "a", tmp_path / "a" / ".." / "a"]))
    assert [run.name for run in group.runs] == ["a"]


def test_the_script_writes_markdown_csv_and_a_page(run_script, tmp_path):
    write_table(tmp_path / "runs")
    files = (f"--csv={tmp_path / 'table.csv'}", f"--html={tmp_path / 'page.html'}")
    done = run_script("compare.py", *files, *(str(path) for path in sorted((tmp_path / "runs").iterdir())))
    table = [line for line in done.stdout.splitlines() if line.startswith("| 0.001 | 2 | 0, 1 | 0.3 ± 0.1 |")]
    assert len(table) == 1
    assert r"<\|script>0" in done.stdout  # a name ends no cell
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["eval/js, best, mean"]) for row in rows] == pytest.approx([0.3, 0.7])
    assert len(data_of((tmp_path / "page.html").read_text(encoding="utf-8"))["runs"]) == 4


def test_the_script_refuses_in_one_line(run_script, tmp_path):
    done = run_script("compare.py", str(tmp_path), status=2)
    assert done.stderr == f"error: {tmp_path}: no run is there; it must be the workdir of a run, or a folder of workdirs\n"
    assert done.stdout == ""
