"""What TensorBoard and Weights & Biases get of a run: scalars, pictures, the config, and whether it is complete."""

import json
import warnings

import pytest
from PIL import Image
from small import small_config
from tensorboardX.proto import event_pb2, plugin_hparams_pb2

from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run import wandb_run
from gan_jax.run.events import TensorBoard
from gan_jax.run.loop import train

CONFIG = {"data.name": "ring", "network.name": "mlp", "ema_decay": 0.9, "eval_every": 10, "eval_num": 100, "log_every": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 20 steps that was stopped after 10, with an average of its generator."""
    workdir = tmp_path_factory.mktemp("runs") / "ring"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_jax.run.loop.save_run_plots", lambda workdir: [])
        for num_steps in (10, 20):
            train(small_config(**CONFIG, num_steps=num_steps), workdir)
    return workdir


def values_of(path):
    """All values in a file of events: records of length (8 bytes), its checksum (4), the event, its checksum (4)."""
    data, values = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        values += [(event.step, value) for value in event.summary.value]
        data = data[16 + length :]
    return values


def files_of(workdir):
    return sorted(workdir.glob("events.out.tfevents.*"), key=lambda path: int(path.suffix[1:]))


def test_events_hold_the_rows_the_pictures_and_the_config(run):
    files = files_of(run)
    assert [path.suffix for path in files] == [".0", ".10"]  # a file for each process that trained
    values = [value for path in files for value in values_of(path)]
    scalars = {(value.tag, step): value.simple_value for step, value in values if value.HasField("simple_value")}
    rows = [*read_jsonl(run / "metrics.jsonl"), *read_jsonl(run / "eval.jsonl")]
    expected = {(name, row["step"]): entry for row in rows for name, entry in row.items() if name != "step"}
    assert {key: scalars[key] for key in expected} == pytest.approx(expected, rel=1e-6)
    assert {name for name, _ in scalars} >= {"learning_rate/gen", "b2/disc", "ema_decay", "accuracy/disc", "eval/js"}
    pictures = {(value.tag, step): value.image for step, value in values if value.HasField("image")}
    assert set(pictures) == {("samples/real", 0), *(("samples/ema", step) for step in (0, 10, 20))}
    for (name, step), picture in pictures.items():
        path = run / "real.png" if name == "samples/real" else run / "samples" / f"{step:08d}.png"
        assert picture.encoded_image_string == path.read_bytes()
        with Image.open(path) as image:
            assert (picture.width, picture.height) == image.size
    (text, _) = [value.tensor.string_val[0].decode() for _, value in values if value.tag == "config/text_summary"]
    assert json.loads(text) == {**json.loads((run / "config.json").read_text()), "num_steps": 10}


def test_entries_are_hyperparameters_and_a_run_is_done_where_it_reaches_its_last_step(run):
    first, second = (dict_of_hparams(path) for path in files_of(run))
    assert set(first) == set(second) == {"session_start_info", "session_end_info"}
    entries = first["session_start_info"].session_start_info.hparams
    assert entries["latent_dim"].number_value == 4
    assert entries["objective"].string_value == "non_saturating"
    assert entries["data.flip"].HasField("bool_value")
    assert "network.gen.mlp.hidden" in entries
    assert "network.gen.dcgan.base_width" not in entries  # of a network that the run has not


def dict_of_hparams(path):
    values = [value for _, value in values_of(path) if value.metadata.plugin_data.plugin_name == "hparams"]
    data = plugin_hparams_pb2.HParamsPluginData
    return {value.tag.removeprefix("_hparams_/"): data.FromString(value.metadata.plugin_data.content) for value in values}


def test_a_run_that_stops_before_is_not_done(tmp_path):
    board = TensorBoard(tmp_path, start=0)
    board.add_config({"seed": 0}, {"seed": 0, "data.name": "folder:caf\udce9"})
    board.close(complete=False)
    assert set(dict_of_hparams(*files_of(tmp_path))) == {"session_start_info"}


def test_tensorboards_own_reader_sees_a_run_by_its_name_and_not_what_a_resume_repeats(run):
    reader = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_multiplexer", reason="needs tensorboard")
    (run.parent / "resumed").mkdir()
    for start, steps in ((0, (5, 10, 15)), (10, (15, 20))):
        board = TensorBoard(run.parent / "resumed", start=start)
        for step in steps:
            board.add_scalars(step, {"loss/gen": float(start)})
        board.close(complete=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reader's own
        runs = reader.EventMultiplexer().AddRunsFromDirectory(str(run.parent)).Reload()
    assert set(runs.Runs()) == {"ring", "resumed"}
    read = [(event.step, float(event.tensor_proto.float_val[0])) for event in runs.Tensors("resumed", "loss/gen")]
    assert read == [(5, 0.0), (10, 0.0), (15, 10.0), (20, 10.0)]
    rows = [(row["step"], pytest.approx(row["loss/gen"], rel=1e-6)) for row in read_jsonl(run / "metrics.jsonl")]
    assert [(event.step, float(event.tensor_proto.float_val[0])) for event in runs.Tensors("ring", "loss/gen")] == rows
    assert {"samples/ema", "samples/real", "config/text_summary"} <= set(runs.GetAccumulator("ring").Tags()["tensors"])


def test_a_project_without_the_package_is_one_line_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_run, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"config\.wandb=gans needs the package wandb: pip install wandb"):
        train(small_config(wandb="gans"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_curves")
def test_weights_and_biases_get_the_run_offline_and_a_resumed_one_goes_on_in_it(tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = CONFIG | {"wandb": "gans"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        for num_steps in (10, 20):
            train(small_config(**config, num_steps=num_steps), tmp_path)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert {path.name.rpartition("-")[2] for path in runs} == {(tmp_path / "wandb" / "run_id").read_text()}
    assert len(runs) == 2
    rows = [row for path in runs for row in logged(next(path.glob("*.wandb")))]
    losses = [(row["step"], row["loss/gen"]) for row in rows if "loss/gen" in row]
    assert losses == [(row["step"], row["loss/gen"]) for row in read_jsonl(tmp_path / "metrics.jsonl")]
    of_pictures = [row["step"] for row in rows if any(name.startswith("samples/ema/") for name in row)]
    assert of_pictures == [0, 10, 20]
    pictures = {path.read_bytes() for run in runs for path in run.rglob("ema_*.png")}
    assert pictures == {path.read_bytes() for path in (tmp_path / "samples").iterdir()}
    assert "continues without" not in capsys.readouterr().err


def logged(path):
    """The rows of an offline run: 7 bytes, then LevelDB's log, 32 KiB blocks of fragments of crc (4), length (2), kind (1)."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole, rows = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if -place % 2**15 < 7:  # no room for another header
            place += -place % 2**15
        if kind in (1, 4):  # full, last
            record, whole = wandb_internal_pb2.Record.FromString(whole), b""
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def test_a_service_that_fails_costs_a_line_and_not_the_run(monkeypatch, capsys, tmp_path):
    class Broken:
        def log(self, row):
            raise ConnectionError("no\nservice")

    tracker = object.__new__(wandb_run.WeightsAndBiases)
    tracker._run = Broken()
    tracker.add_scalars(1, {"loss/gen": 0.5})
    tracker.add_scalars(2, {"loss/gen": 0.5})
    tracker.close(complete=True)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "continues without it: ConnectionError" in error
