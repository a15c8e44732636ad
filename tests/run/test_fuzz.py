"""Any text, any JSON, any bytes: a result, a skip, or one line; in bounded time, and without training."""

import copy
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from small import small_config

from gan_jax.configs import default
from gan_jax.data import Transform, is_known, load_images
from gan_jax.errors import InputError, one_line, shorten
from gan_jax.files import read_jsonl
from gan_jax.run import config as config_module
from gan_jax.run.checks import check_entries, flatten
from gan_jax.run.cli import check_overrides, load_config
from gan_jax.run.records import check_record

CONFIG = small_config().to_dict()
KEYS = sorted(flatten(CONFIG))
LEAF = {"dtype": "float32", "shape": [2, 3], "sha256": "0"}
RECORD = {"config": CONFIG, "selection_metric": 0.5, "leaves": {"step": LEAF}}
KINDS = {float: int | float, tuple: tuple | list, type(None): int | float | None}  # by that of the default

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([2**70, 10**4200, "9" * 99])
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8
)
quick = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def refusal(check, *arguments):
    """What a check says where it refuses its input, which is one printable line; any other error is a failure."""
    try:
        check(*arguments)
    except (InputError, ValueError) as error:
        if not isinstance(error, InputError) and check is not check_record:
            raise
        line = one_line(str(error))
        assert line
        assert len(line) < 2000
        return line
    return ""


@quick
@given(st.dictionaries(st.sampled_from(KEYS), anything, min_size=1, max_size=3))
@example({})  # is accepted, as few others are
def test_any_entry_of_a_config_is_accepted_or_one_line(entries):
    """By entries alone; what is accepted has the types of the default config."""
    config = copy.deepcopy(CONFIG)
    for key, entry in entries.items():
        section = config
        *sections, name = key.split(".")
        for each in sections:
            section = section[each]
        section[name] = entry
    if not refusal(check_entries, config):
        for key, expected in flatten(default.get_config().to_dict()).items():
            entry = flatten(config)[key]
            is_size = key == "data.image_size" and isinstance(entry, list)
            assert is_size or isinstance(entry, KINDS.get(type(expected), type(expected)))


@quick
@given(anything)
def test_any_json_is_no_config(content):
    assert refusal(check_entries, content)


@settings(quick, max_examples=15)
@given(
    st.sampled_from(["latent_dim", "batch_size", "disc_steps", "num_classes", "data.image_size", "data.channels", "packing"]),
    st.integers(-(2**70), 2**70) | st.integers(0, 64),
)
def test_any_size_is_a_recipe_or_one_line(key, number):
    config = small_config(**{"network.name": "mlp", "network.mlp.hidden": (4,)}).to_dict()
    section, _, name = key.rpartition(".")
    (config[section] if section else config)[name] = number
    refusal(config_module.check_config, ConfigDict(config))


@quick
@given(anything)
def test_any_json_is_no_record(content):
    assert refusal(check_record, content)


@quick
@given(st.sampled_from(["config", "selection_metric", "leaves"]), anything, st.sampled_from(sorted(LEAF)), anything)
@example("selection_metric", 10**4200, "shape", [2**62] * 32)
def test_any_record_is_accepted_or_one_line(field, entry, of_leaf, leaf):
    refusal(check_record, RECORD | {field: entry})
    refusal(check_record, RECORD | {"leaves": {"step": LEAF | {of_leaf: leaf}}})


@quick
@given(st.lists(st.binary(max_size=60) | anything.map(lambda content: json.dumps(content).encode()), max_size=4))
def test_any_bytes_are_rows_or_skipped(tmp_path, lines):
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join([*lines, b'{"step": 1}']))
    rows = read_jsonl(tmp_path / "rows.jsonl")
    assert rows[-1] == {"step": 1}
    assert all(isinstance(row, dict) for row in rows)


@quick
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"PK\x05\x06"]))
def test_any_bytes_are_no_images(tmp_path, content, magic):
    (tmp_path / "images.npz").write_bytes(magic + content)
    assert refusal(load_images, f"numpy:{tmp_path / 'images.npz'}", Transform(8, 1))


@quick
@given(st.text(max_size=40), st.sampled_from(["", "--config.", "--noconfig.", "--config=", "-"]))
def test_any_flag_is_accepted_or_one_line(text, begin):
    refusal(check_overrides, ["train.py", f"--config={default.__file__}", begin + text])
    refusal(load_config, text)


@quick
@given(st.text(max_size=40).map(lambda text: text.replace(":", "")))
def test_any_text_is_shown_in_one_line(text):
    assert one_line(text).isprintable()
    assert shorten(text * 100).isprintable()
    assert not is_known(f"folder:{text}")


@pytest.mark.parametrize("entry", [10**5000, {"a": object()}, float("nan"), "\x1b[31m\n" * 1000], ids=type)
def test_anything_is_shown_in_one_short_line(entry):
    assert shorten(entry).isprintable()
    assert len(shorten(entry)) < 200
