"""The page of a comparison carries all that it shows, sorts and draws it in a browser, and executes and leaks nothing."""

import html
import json
import re
import shutil
import subprocess

import pytest
from written_runs import HOSTILE, HOSTILE_ENTRY, data_of, shown, write_run, write_table

from gan_jax.errors import InputError
from gan_jax.run import page
from gan_jax.run.compare import group_runs, read_runs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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


def test_entries_that_the_first_run_has_not_are_among_the_differences(tmp_path):
    for name, network in (("a", "mlp"), ("b", "r3gan")):
        write_run(tmp_path / name, **{"network.gen.name": network})
    groups = group_runs(read_runs([tmp_path]))
    keys = list(dict.fromkeys(key for group in groups for key in group.settings))
    assert "network.gen.r3gan.widths" in keys
    rows = data_of(page.make_page(groups))["tables"]["differences"]["rows"]
    assert [row["cells"][0][0] for row in rows] == keys


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
    (tmp_path / "b0" / "real.png").write_bytes(bytes(2**20 + 1))
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
