"""Two processes of two CPU devices are one process of four: same data, same step, one writer, one end."""

import time

import jax
import numpy as np
import pytest
from processes import ends, free_port, started

from gan_jax.files import read_jsonl
from gan_jax.run.cli import load_config
from gan_jax.run.loop import train
from gan_jax.run.restore import restore_run

SMALL = {"batch_size": 8, "latent_dim": 4, "num_samples": 4, "data.image_size": 8, "network.name": "mlp", "eval_every": 0}
SMALL |= {"log_every": 5, "sample_every": 10, "checkpoint_every": 10, "data.resident_mib": 0, "data.workers": 0}
for player in ("gen", "disc"):  # Adam would make much of rounding
    SMALL |= {f"optimizer.{player}.name": "sgd", f"optimizer.{player}.learning_rate": 0.05}
FOREVER = 1_000_000
CONFIG = "experiments/configs/mnist.py"


def relative(expected, actual):
    """The largest difference in a leaf, over the largest entry of that leaf."""

    def of_leaf(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))

    return max(jax.tree.leaves(jax.tree.map(of_leaf, expected, actual)))


def run(workdir, num_steps):
    """`experiments/train.py` in two processes of two devices."""
    entries = [f"--config.{key}={entry}" for key, entry in (SMALL | {"num_steps": num_steps}).items()]
    command = ["experiments/train.py", f"--config={CONFIG}", f"--workdir={workdir}", *entries]
    command += ["--distributed", f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    return started([[*command, f"--process_id={index}"] for index in range(2)], 2)


def newest(workdir):
    """The newest step that is on disk."""
    return max((int(path.parent.name) for path in workdir.glob("checkpoints/*/commit_success.txt")), default=0)


def wait_until(holds, running, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in running), [process.communicate() for process in running]
        time.sleep(0.05)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What `on_processes.py` saved in process 0, in process 1, and in one process alone."""
    folder, address = tmp_path_factory.mktemp("results"), f"127.0.0.1:{free_port()}"
    command = ["-W", "error", "tests/run/on_processes.py"]
    pair = [[*command, f"{folder}/{index}.npz", "2", address, "2", str(index)] for index in range(2)]
    for commands in (pair, [[*command, f"{folder}/alone.npz", "4"]]):
        with started(commands, 4 // len(commands)) as running:
            ended = ends(running)
        assert all(status == 0 for status, _, _ in ended), ended
    return [dict(np.load(folder / f"{name}.npz")) for name in ("0", "1", "alone")]


def test_each_process_fetches_its_own_part_of_a_batch(results):
    """Indices, streamed images, and the keys of points: side by side they are the batch, to the bit."""
    names = [name for name in results[2] if name.startswith("fetched ")]
    assert len(names) == 6
    for name in names:
        first, second, whole = (saved[name] for saved in results)
        assert first.shape[1] == second.shape[1] == whole.shape[1] // 2
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)


def test_gradients_statistics_and_metrics_are_those_of_one_process(results):
    """Under pmap and shard_map; a DCGAN with batch norm over all devices, and points in a loop."""
    names = [name for name in results[2] if name.startswith("state ")]
    assert {tuple(name.split()[1:3]) for name in names} == {("resident", "pmap"), ("points", "shard_map")}
    for name in names:
        first, second, alone = (saved[name] for saved in results)
        np.testing.assert_array_equal(first, second)
        assert relative(alone, first) < 1e-5, name


def test_the_primary_arrays_reach_all_processes_to_the_bit(results):
    for name in ("broadcast float", "broadcast int", "broadcast key"):
        assert results[0][name].tobytes() == results[1][name].tobytes() == results[2][name].tobytes()
    assert np.signbit(results[1]["broadcast float"][0])
    assert [int(saved["max"]) for saved in results] == [4, 4, 3]


@pytest.fixture(scope="module")
def survivor(tmp_path_factory):
    """A run whose two processes are killed, and resumed, and one of them asked to stop; and one process to the same step."""
    folder = tmp_path_factory.mktemp("distributed")
    with run(folder / "run", FOREVER) as running:
        wait_until(lambda: newest(folder / "run") >= 20, running)
        for process in running:
            process.kill()
    killed_at = newest(folder / "run")
    with run(folder / "run", FOREVER) as running:
        wait_until(lambda: newest(folder / "run") > killed_at, running)
        running[1].terminate()
        stopped = ends(running)
    stopped_at = newest(folder / "run")
    config = load_config(CONFIG)
    config.update_from_flattened_dict(SMALL | {"num_steps": stopped_at})
    alone = train(config, folder / "alone")
    return {"folder": folder, "killed_at": killed_at, "stopped": stopped, "stopped_at": stopped_at, "alone": alone}


def test_a_signal_to_one_process_stops_all_at_one_step_which_is_saved(survivor):
    at = survivor["stopped_at"]
    assert [status for status, _, _ in survivor["stopped"]] == [143, 143]
    assert f"SIGTERM: saved step {at} of {FOREVER}" in survivor["stopped"][0][2]
    (row,) = read_jsonl(survivor["folder"] / "run" / "runs.jsonl")
    assert (row["from_step"], row["to_step"], row["ended"]) == (survivor["killed_at"], at, "sigterm")
    assert (row["processes"], row["devices"]) == (2, 4)


def test_killed_and_resumed_on_two_processes_is_straight_on_one(survivor):
    _, _, state = restore_run(survivor["folder"] / "run")
    assert int(state.step) == int(survivor["alone"].step) == survivor["stopped_at"]
    assert relative(survivor["alone"], state) < 1e-5


def test_the_primary_process_alone_prints_and_writes(survivor):
    (_, first, _), (_, second, _) = survivor["stopped"]
    assert f"resuming at step {survivor['killed_at']}" in first
    assert second == ""
    rows = read_jsonl(survivor["folder"] / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(5, survivor["stopped_at"] + 1, 5))
    assert len(list((survivor["folder"] / "run").glob("events.out.tfevents.*"))) == 2  # a file for each time process 0 began
