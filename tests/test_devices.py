"""Many devices compute what one device computes: latents to the bit, gradients to rounding, one state throughout."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import forked
import jax
import pytest
from conftest import ROOT
from small import random_images, small_config, small_gan

from gan_jax import Players, from_arrays, make_step
from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.parallel import MODES, choose_devices, process_slice
from gan_jax.run import loop
from gan_jax.run.config import check_config

MODES_OF_MANY = ("pmap", "shard_map")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("devices") / "run"


@pytest.fixture(scope="module")
def seen(workdir):
    """What `on_devices.py` saw on 8 CPU devices; one process for all tests, and warnings are errors there too."""
    command = ["-W", "error", "tests/on_devices.py", str(workdir)]
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("", "experiments", "tests"))
    done = forked.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_latents_and_augmentation_have_the_keys_of_one_device_to_the_bit(seen):
    assert seen["keys"] == [True] * 4


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_gradients_and_statistics_are_those_of_one_device(seen, dtype, tolerance):
    """Batch norm; R1 and augmentation with k = 2; labels and an objective of pairs that averages over the whole batch.

    Gradients, not loss curves: Adam hides a constant factor.
    """
    for row in seen[dtype]:
        worst = max(row[name] for name in ("gradients", "params", "stats", "metrics"))
        assert worst < tolerance, row


def test_all_device_counts_are_tried_under_every_mode(seen):
    rows = [row for dtype in ("float32", "float64") for row in seen[dtype]]
    assert {(row["mode"], row["devices"]) for row in rows} == {
        (mode, count) for mode in MODES_OF_MANY for count in (1, 2, 4, 8)
    }
    under_both = {row["recipe"] for row in rows if row["mode"] == "pmap"} & {
        row["recipe"] for row in rows if row["mode"] == "shard_map"
    }
    assert {row["recipe"] for row in rows} - under_both == {"R1, augmentation, k = 2"}


def test_batch_norm_of_each_devices_part_is_another_model(seen):
    assert seen["local"]["gradients"] > 1e-2
    assert seen["local"]["stats"] > 1e-3


@pytest.mark.parametrize("mode", MODES_OF_MANY)
def test_many_steps_in_one_call(seen, mode):
    loop = seen["loops"][MODES_OF_MANY.index(mode)]
    assert (loop["step"], loop["rows"]) == (6, 3)
    assert loop["params"] < 1e-4


def test_jit_runs_on_the_first_of_the_devices_that_it_is_given(seen):
    assert seen["chosen"] == [[3], [3]]


def test_stacks_are_the_same_on_two_devices(seen):
    assert max(seen["stacks"]) < 1e-5


@pytest.mark.parametrize("mode", MODES_OF_MANY)
def test_the_state_stays_one_plain_state_on_all_devices_and_is_donated(seen, mode):
    assert seen["placement"][mode] == {
        "compiled_once": True,
        "donated": True,
        "replicated": True,
        "devices": 8,
        "shapes": True,
        "lowered": True,
    }


@pytest.mark.usefixtures("no_curves")
def test_a_run_on_many_devices_says_so_and_resumes_on_one(seen, workdir, capsys, monkeypatch):
    """15 steps in two calls on eight, five more on one."""
    options = []
    monkeypatch.setattr(loop, "make_step", lambda *args, **given: options.append(given) or make_step(*args, **given))
    assert seen["runs"].count("pmap over 8 devices, batch norm over the device's part of it") == 2
    assert "resuming at step 10" in seen["runs"]
    config = small_config(num_steps=20, sync_batch_norm=False, parallel="jit", **{"network.name": "mlp"})
    assert int(loop.train(config, workdir).step) == 20
    assert options == [{"parallel": "jit", "sync_batch_norm": False}]
    assert "resuming at step 15" in capsys.readouterr().out
    assert [row["step"] for row in read_jsonl(workdir / "metrics.jsonl")] == [5, 10, 15, 20]
    rows = read_jsonl(workdir / "runs.jsonl")
    assert [(row["parallel"], row["devices"]) for row in rows] == [("pmap", 8), ("pmap", 8), ("jit", 1)]
    assert [row["config"]["sync_batch_norm"] for row in rows] == [False] * 3


def test_auto_is_jit_on_one_device_and_pmap_on_several():
    one, four = jax.devices()[:1], jax.devices()[:1] * 4
    assert choose_devices("auto", 8, one) == ("jit", one)
    assert choose_devices("auto", 8, four) == ("pmap", four)
    assert choose_devices("jit", 7, four) == ("jit", one)
    for mode in MODES_OF_MANY:
        assert choose_devices(mode, 8, one) == (mode, one)
        assert choose_devices(mode, 8, four) == (mode, four)


def test_devices_of_a_process_are_neighbours_and_jit_is_for_one_process(monkeypatch):
    devices = [SimpleNamespace(process_index=index) for index in (1, 0, 1, 0)]
    assert [device.process_index for device in choose_devices("auto", 8, devices)[1]] == [0, 0, 1, 1]
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert process_slice("pmap", 8, devices) == slice(4, 8)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match="parallel=jit is for one process, not for 2: set auto, pmap or shard_map"):
        choose_devices("jit", 8, devices)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "jit"])
def test_a_batch_that_cannot_be_split_is_refused_in_a_line(monkeypatch, mode):
    four = jax.devices()[:1] * 4
    monkeypatch.setattr(jax, "devices", lambda: four)
    with pytest.raises(InputError, match=r"batch_size=6 cannot be split over 4 devices: set a multiple of 4, or") as error:
        check_config(small_config(batch_size=6, parallel=mode))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="batch_size=6 cannot be split"):
        make_step(small_gan(), from_arrays(random_images(50), batch_size=6), 0, parallel=mode)
    with pytest.raises(InputError, match=r"config\.batch_size=8 must be a multiple of config\.packing=4 × 4 devices"):
        check_config(small_config(batch_size=8, packing=4, parallel=mode))


def test_a_network_whose_batch_norm_knows_no_axis_is_refused():
    class Closed:
        """A network without the field."""

        def __init__(self, network):
            self.init, self.apply = network.init, network.apply

    gan = small_gan()
    closed = replace(gan, networks=Players(gan.networks.gen, Closed(gan.networks.disc)))
    dataset = from_arrays(random_images(50), batch_size=8)
    with pytest.raises(InputError, match="Closed has batch norm and no field axis_name: add it, or set sync_batch_norm=False"):
        make_step(closed, dataset, 0, parallel="pmap")
    make_step(closed, dataset, 0, parallel="pmap", sync_batch_norm=False)
