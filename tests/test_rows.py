"""Rows of JSON lines: one flipped bit costs one row and is named, and the rows of earlier releases stay readable."""

import json
import random

import pytest
from conftest import ROOT

from gan_jax.errors import InputError
from gan_jax.evaluation.results import append_row, name_rows_in_errors
from gan_jax.files import JsonlWriter, append_jsonl, read_jsonl
from gan_jax.run.pictures import save_run_plots
from gan_jax.run.watch import CollapseWatch

ROWS = [
    {"step": step, "value": -1.0 / step, "logits/real": 0.5, "logits/fake": -1e-3, "loss/disc": 1.0, "loss/gen": 2.0}
    for step in (5, 10, 15, 20, 25)
]


def write(path, rows=ROWS):
    for row in rows:
        append_jsonl(path, row)
    return path


def lines(rows):
    """As the first releases wrote them."""
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("of_steps", [True, False])
def test_no_flipped_bit_changes_a_number_and_each_costs_at_most_the_rows_of_its_line(tmp_path, capsys, of_steps):
    path = write(tmp_path / "metrics.jsonl")
    whole, chance = path.read_bytes(), random.Random(0)
    places = dict.fromkeys(chance.sample(range(len(whole)), 150), 8) | {whole.index(b"\n"): 8, len(whole) - 1: 8}
    for place, bits in places.items():
        for bit in range(bits):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            rows = read_jsonl(path, of_steps=of_steps)
            error = capsys.readouterr().err
            known = [{name: row.get(name) for name in ROWS[0]} for row in rows]  # a changed "crc" is one more field
            assert [row for row in known if row not in ROWS] == []
            assert known == [row for row in ROWS if row in known]
            assert len(known) >= 3
            assert (error == "") == (len(rows) == 5)
            assert error.count("\n") <= 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("[1, 2]", "not an object"),
        ("7", "not an object"),
        ("null", "not an object"),
        ("[" * 100_000, "not JSON"),
        ('{"stup": 7}', "it has no step"),
        ('{"step": "7"}', "step is not a number"),
        ('{"step": 7.5}', "it has no step"),
        ('{"step": true}', "step is not a number"),
        ('{"step": -7}', "it has no step"),
        ('{"step": 1' + "0" * 400 + "}", "step is not a number"),
        ('{"step": 12, "value": "x"}', "value is not a number"),
        ('{"step": 12, "value": null}', "value is not a number"),
        ('{"step": 12, "value": 1.0, "crc": "0"}', "its checksum is wrong"),
        ('{"step": 12, "value": 1.0, "crc": [0]}', "its checksum is wrong"),
        ('{"step": 10, "value": 1.0}', "its step is out of order"),
        ('{"step": 1000000, "value": 1.0}', "its step is out of order"),
        ('{"step": 2, "value": 1.0}', "its step is out of order"),
        ("\x1a", "not JSON"),
        ('{"step": 12, "val', "not JSON"),
    ],
)
def test_a_row_of_another_shape_is_dropped_and_named_and_a_resume_writes_it_no_more(tmp_path, capsys, bad, reason):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(ROWS[:2]) + bad + "\n" + lines(ROWS[2:]))
    rows = read_jsonl(path, of_steps=True)
    error = capsys.readouterr().err
    assert [row["step"] for row in rows] in ([5, 10, 15, 20, 25], [5, 12, 15, 20, 25])
    assert error in [f"{path}: dropped 1 damaged row: line {line} ({reason})\n" for line in (2, 3)]
    writer = JsonlWriter(path, start=20)
    writer.write(ROWS[4])
    writer.close()
    capsys.readouterr()
    assert [row["step"] for row in read_jsonl(path, of_steps=True)] == [row["step"] for row in rows]
    assert capsys.readouterr().err == ""


def test_a_row_that_is_dropped_takes_no_other_with_it(tmp_path):
    writer = JsonlWriter(tmp_path / "eval.jsonl", start=0)
    for row in ROWS[:3]:
        writer.write(row)
    writer.drop(ROWS[1]["step"])
    writer.write(ROWS[3])
    writer.close()
    assert read_jsonl(tmp_path / "eval.jsonl", of_steps=True) == [ROWS[0], ROWS[2], ROWS[3]]


def test_rows_without_a_checksum_are_read_and_sealed_when_the_run_is_resumed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(ROWS))
    assert read_jsonl(path, of_steps=True) == read_jsonl(path) == ROWS
    JsonlWriter(path, start=100).close()
    assert read_jsonl(path) == ROWS
    assert all(list(json.loads(line))[-1] == "crc" for line in path.read_text().splitlines())


@pytest.mark.parametrize("path", sorted((ROOT / "experiments" / "results").rglob("*.jsonl")), ids=lambda path: path.stem)
def test_the_committed_rows_are_whole(path, capsys):
    assert len(read_jsonl(path)) == path.read_text().count("\n")
    assert capsys.readouterr().err == ""


def test_a_row_that_is_read_and_written_again_has_one_checksum(tmp_path):
    append_row(tmp_path / "a.jsonl", {"mean": {"fid": 1e-300, "é": float("nan")}, "by_seed": [1, 2]})
    (row,) = read_jsonl(tmp_path / "a.jsonl")
    append_row(tmp_path / "b.jsonl", row)
    (again,) = read_jsonl(tmp_path / "b.jsonl")
    assert json.dumps(again) == json.dumps(row)


def test_many_damaged_rows_are_counted_in_one_line(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text("x\n" * 40 + lines(ROWS))
    assert read_jsonl(path) == ROWS
    assert capsys.readouterr().err.endswith("line 2 (not JSON), line 3 (not JSON) and 37 more\n")


def test_the_watch_and_the_curves_do_without_what_a_row_lacks(tmp_path):
    watch = CollapseWatch(steps=1, diversity=0.2)
    for name in ("value", "logits/real", "logits/fake"):
        assert watch.add_metrics(5, {key: entry for key, entry in ROWS[0].items() if key != name}) == []
    (tmp_path / "config.json").write_text('{"objective": "minimax"}')
    without = [{key: entry for key, entry in row.items() if key != name} for row, name in zip(ROWS, ROWS[0], strict=False)]
    for rows in (without, [{"step": 1, "x": 1.0}]):
        (tmp_path / "metrics.jsonl").write_text(lines(rows))
        pictures = save_run_plots(tmp_path)
        assert len(pictures) == (rows is without)


def test_a_row_without_what_a_page_reads_of_it_is_one_line_that_names_the_file():
    with (
        pytest.raises(InputError, match=r"^rows\.jsonl: a row has a missing or wrong field \(KeyError: 'seed'\); remove"),
        name_rows_in_errors("rows.jsonl"),
    ):
        {}["seed"]
