"""Runs beside one another: what is grouped and averaged, what a page shows and never executes, and what is refused."""

import csv
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from configs import mnist, ring
from gan_jax.errors import InputError
from gan_jax.run import compare, page
from gan_jax.run.compare import group_runs, read_runs
from gan_jax.run.config import resolve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "a<script>document.title='hostile'<|script>"  # a file name has no slash
HOSTILE_ENTRY = "</script><script>document.title='hostile'</script>"


def write_rows(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_run(folder, *, module=ring, seed=0, js=(0.5, 0.2, 0.4), ended="complete", results=(), **entries):
    """A run of 30 steps, evaluated at 10, 20 and 30, with a picture there, as train.py leaves it."""
    config = module.get_config()
    config.update_from_flattened_dict({"seed": seed, "num_steps": 30} | entries)
    (folder / "samples").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(resolve(config)))
    write_rows(folder / "metrics.jsonl", [{"step": step, "value": -step, "steps_per_second": 2.0} for step in range(5, 31, 5)])
    steps = (10, 20, 30)
    rows = [{"step": step, "samples/diversity": step / 30, "eval/js": each} for step, each in zip(steps, js, strict=True)]
    write_rows(folder / "eval.jsonl", [{"step": 0, "samples/diversity": 0.0}, *rows])
    write_rows(folder / "runs.jsonl", [{"to_step": 30, "seconds": 60.0 * (seed + 1), "ended": ended}] if ended else [])
    write_rows(folder / "results.jsonl", results)
    for step in steps:
        Image.fromarray(np.full((8, 8), seed + step, np.uint8)).save(folder / "samples" / f"{step:08d}.png")
    return folder


def write_table(folder):
    """Two learning rates × two seeds; one name is hostile, and an entry that all share."""
    for seed in (0, 1):
        shared = {"seed": seed, "augment": HOSTILE_ENTRY}
        js = (0.5, 0.2 + 0.2 * seed, 0.6)
        write_run(folder / f"{HOSTILE}{seed}", js=js, **shared, **{"optimizer.learning_rate": 1e-3})
        write_run(folder / f"b{seed}", js=(0.9, 0.8, 0.7), **shared)
    return folder


def shown(groups):
    return page.as_text(page.tabulate(groups))


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


def test_rows_of_evaluate_are_those_of_the_averaged_weights_at_the_run_s_best_and_final_step(tmp_path):
    def row(step, weights, js, num=500):
        fields = {"step": step, "which": "any", "weights": weights, "num": num, "num_real": 9, "real": "ring"}
        return fields | {"mean": {"js": js, "reverse_kl": float("nan"), "class_share/3": 0.5}}

    stale = row(10, "EMA", 9.0)
    results = [stale, row(30, "EMA", 2.0), row(20, "EMA", 8.0), row(20, "EMA", 1.0), row(30, "raw", 7.0), {"step": 30}]
    write_run(tmp_path / "a", results=results)
    write_run(tmp_path / "b", seed=1, results=[row(30, "raw", 4.0), row(20, "raw", 3.0, num=90)])
    (line,) = shown(group_runs(read_runs([tmp_path])))
    beside = {title: text for title, text in line.items() if "beside" in title}
    assert list(beside)[:2] == [f"js of 500 samples beside 9 of ring, {which}" for which in ("best", "final")]
    assert beside == {
        "js of 500 samples beside 9 of ring, best": "1 (1 of 2)",
        "js of 500 samples beside 9 of ring, final": "3 ± 1",
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


def data_of(text):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(data)


def test_the_page_carries_everything_and_a_name_is_data(tmp_path):
    write_table(tmp_path)
    text = page.make_page(group_runs(read_runs([tmp_path])))
    assert set(re.findall(r"\w+://[^\"]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "a<script" not in text
    assert HOSTILE_ENTRY not in text
    data = data_of(text)
    assert ["augment", HOSTILE_ENTRY] in [[text for text, _ in row["cells"]] for row in data["tables"]["shared"]["rows"]]
    assert data["runs"][0]["name"] == f"{HOSTILE}0"
    assert data["runs"][0]["curves"]["eval.jsonl"]["eval/js"] == [[10, 20, 30], [0.5, 0.2, 0.6]]
    assert [step for step, _ in data["runs"][0]["pictures"]] == [10, 20, 30]
    assert data["real"] == []
    (tmp_path / "b0" / "real.png").write_bytes((tmp_path / "b0" / "samples" / "00000010.png").read_bytes())
    ((name, uri),) = data_of(page.make_page(group_runs(read_runs([tmp_path]))))["real"]
    assert (name, uri) == ("b0", data["runs"][2]["pictures"][0][1])


def test_a_page_carries_no_file_that_a_link_leads_to(tmp_path):
    """The page is given to others, and the workdir may be a stranger's."""
    (tmp_path / "secret").write_text("mine")
    run = write_run(tmp_path / "runs" / "a")
    groups = group_runs(read_runs([run]))
    for name in ("samples/00000040.png", "real.png"):
        (run / name).symlink_to(tmp_path / "secret")
        with pytest.raises(InputError, match=f"{name}: must be a regular file, not a link"):
            page.make_page(groups)
        (run / name).unlink()
    (run / "samples").rename(tmp_path / "samples")
    (run / "samples").symlink_to(tmp_path / "samples")
    assert data_of(page.make_page(groups))["runs"][0]["pictures"] == []


def test_pictures_and_points_are_bounded_and_the_page_says_so(tmp_path, monkeypatch):
    write_table(tmp_path)
    groups = group_runs(read_runs([tmp_path]))
    size = (tmp_path / "b0" / "samples" / "00000030.png").stat().st_size
    for pictures, mib, kept in ((2, 1, [10, 30]), (20, 4 * size / 2**20, [30]), (20, 3 * size / 2**20, [])):
        monkeypatch.setattr(page, "MAX_PICTURES", pictures)
        monkeypatch.setattr(page, "MAX_MIB", mib)
        monkeypatch.setattr(page, "MAX_POINTS", 2)
        data = data_of(page.make_page(groups))
        assert {tuple(step for step, _ in run["pictures"]) for run in data["runs"]} == {tuple(kept)}
        expected = f"{4 * len(kept)} of 12 pictures: at most {pictures} of a run, evenly spaced, and {mib} MiB of all runs."
        assert data["bounds"]["pictures"] == expected
        assert data["runs"][0]["curves"]["metrics.jsonl"]["value"] == [[5, 30], [-5, -30]]


LOOK = """
const seen = {}, words = (selector) => [...document.querySelectorAll(selector)].map((each) => each.textContent);
const column = (name) => words("#runs th").indexOf(name) + 1;
const sort = (name) => { document.querySelector(`#runs th:nth-child(${column(name)}) button`).click();
  return words(`#runs td:nth-child(${column(name)})`); };
seen.table = [words("#settings th"), ...[...document.querySelectorAll("#settings tbody tr")].map((row) =>
  [...row.cells].map((cell) => cell.textContent))];
seen.ascending = sort("eval/js, best"); seen.descending = sort("eval/js, best");
seen.names = sort("run");
const image = (step) => { byId("step").value = step; byId("step").dispatchEvent(new Event("input"));
  return [byId("shown").textContent, document.querySelector("#pictures figure:last-child img").src, words("figcaption")]; };
seen.pictures = [image(0), image(2)];
drawChart();
seen.metric = byId("metric").selectedOptions[0].textContent;
seen.curves = document.querySelectorAll("#chart .curve").length;
const bounds = byId("chart").getBoundingClientRect();
readChart({ clientX: bounds.left + 60 });
seen.reading = byId("reading").textContent;
document.querySelector("#legend input").click();
seen.fewer = document.querySelectorAll("#chart .curve").length;
byId("metric").value = JSON.stringify(["metrics.jsonl", "value"]);
byId("metric").dispatchEvent(new Event("change"));
seen.others = document.querySelectorAll("#chart .curve").length;
byId("log").click();
seen.logarithmic = words("#chart text");
seen.title = document.title;
seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
seen.differences = words("#differences td");
document.body.append(make("pre", { id: "seen" }, JSON.stringify(seen)));
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, Debian's package of that name")
def test_the_page_sorts_slides_and_draws_in_a_browser(tmp_path):
    runs = write_table(tmp_path / "runs")
    shutil.copy(runs / "b0" / "samples" / "00000010.png", runs / "b0" / "real.png")
    text = page.make_page(group_runs(read_runs([runs])))
    (tmp_path / "page.html").write_text(text.replace("</body>", f"<script>{LOOK}</script></body>"), encoding="utf-8")
    options = ("--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile", "--window-size=400,800")
    command = [CHROMIUM, "--headless", *options, "--dump-dom", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    seen = json.loads(html.unescape(found[1]))
    header, first, _ = seen["table"]
    assert dict(zip(header, first, strict=True)) == shown(group_runs(read_runs([runs])))[0]
    assert (seen["ascending"], seen["descending"]) == (["0.2", "0.4", "0.7", "0.7"], ["0.7", "0.7", "0.4", "0.2"])
    assert seen["names"] == [f"{HOSTILE}0", f"{HOSTILE}1", "b0", "b1"]
    pictures = data_of(text)["runs"][-1]["pictures"]
    captions = [[f"{name}, step {step}" for name in seen["names"]] for step in (10, 30)]
    expected = [
        [str(step), pictures[index][1], ["real images", *each]]
        for step, index, each in zip((10, 30), (0, 2), captions, strict=True)
    ]
    assert seen["pictures"] == expected
    assert (seen["metric"], seen["curves"], seen["fewer"], seen["others"]) == ("eval/js", 4, 2, 2)
    assert seen["reading"] == f"step 10: {HOSTILE}0 0.5, {HOSTILE}1 0.5, b0 0.9, b1 0.9"
    assert seen["logarithmic"] == ["No positive values."]
    assert (seen["title"], seen["overflow"]) == ("Comparison of runs", 0)
    assert seen["differences"] == ["optimizer.learning_rate", "0.001", "0.0002"]


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
