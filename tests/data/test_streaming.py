"""Streamed images are the resident ones, batch for batch; workers that die are named, and none outlives its parent."""

import gc
import operator
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import forked
import jax
import numpy as np
import pytest
from conftest import ROOT
from small import assert_trees_equal, random_images, small_config

from gan_jax.data import ImageDataset, StreamedDataset, from_arrays
from gan_jax.data.streaming import Stream
from gan_jax.errors import WorkerError
from gan_jax.run.loop import train


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """50 images in a `.npy`; image i begins with the value i."""
    images = random_images(50, 8, 3)
    images[:, 0, 0, 0] = np.arange(50)
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, images)
    return path


def streamed(file, workers=0, **options):
    options = {"batch_size": 4, "flip": True} | options
    return from_arrays(np.load(file, mmap_mode="r"), np.arange(50), resident_mib=0, workers=workers, **options)


def resident(file, **options):
    return from_arrays(np.load(file), np.arange(50), **{"batch_size": 4, "flip": True} | options)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_streamed_batch_is_the_resident_one(file, workers):
    """In order, after a jump as on resume, and for another seed."""
    left, right = streamed(file, workers), resident(file)
    positions = [(0, 0), (0, 1), (0, 2), (3, 9), (3, 10)] if workers else [(0, 0), (0, 1), (0, 40), (0, 3), (3, 3), (3, 4)]
    load = jax.jit(left.load)
    for seed, step in positions:
        expected = jax.device_get(right.batches(seed, step, 2))
        assert_trees_equal(jax.device_get(left.batches(seed, step, 2)), expected)
        assert_trees_equal(jax.device_get(load({}, left.fetch(seed, step, 2))), expected)  # read ahead, as training does
    seed, step = positions[-1]
    assert {type(leaf) for leaf in left.fetch(seed, step + 1, 2).values()} == {np.ndarray}  # not grain's, in shared memory
    left.close()
    assert children() == []


def test_two_streamed_epochs_are_two_permutations(file):
    dataset = streamed(file, batch_size=5)
    fetched = [dataset.fetch(0, step, 2) for step in range(10)]
    seen = np.concatenate([each["images"][..., 0, 0, 0].ravel() for each in fetched]).reshape(2, 50)
    labels = np.concatenate([each["labels"].ravel() for each in fetched]).reshape(2, 50)
    np.testing.assert_array_equal(seen, labels)
    assert np.any(seen[0] != seen[1])
    for epoch in seen:
        assert sorted(epoch) == list(range(50))


def test_what_is_fetched_is_uint8(file):
    dataset = streamed(file)
    fetched = dataset.fetch(0, 0, 2)
    dataset.close()
    assert {name: (leaf.dtype.name, leaf.shape) for name, leaf in fetched.items()} == {
        "images": ("uint8", (2, 4, 8, 8, 3)),
        "labels": ("int32", (2, 4)),
        "flip": ("bool", (2, 4)),
    }
    assert dataset.arrays == {}


def test_a_dataset_that_nobody_closes_is_freed_with_its_stream(file):
    dataset = streamed(file)
    dataset.fetch(0, 0, 2)
    dataset.fetch(0, 7, 2)  # reading ahead starts again
    stream, seen = weakref.ref(dataset._stream), weakref.ref(dataset)
    del dataset
    gc.collect()
    assert (seen(), stream()) == (None, None)


def test_the_budget_decides_where_images_live():
    images = random_images(1024, 32)  # 1 MiB
    assert type(from_arrays(images, batch_size=8, resident_mib=1)) is ImageDataset
    assert type(from_arrays(np.concatenate([images, images[:1]]), batch_size=8, resident_mib=1)) is StreamedDataset


def test_workers_open_a_mapped_file_by_name_and_take_anything_else_along(file):
    """A part of a file, or what was changed in memory alone, must not become the whole of it."""
    mapped, changed = (np.load(file, mmap_mode=mode) for mode in ("r", "c"))
    changed[:] = 7
    raw = np.memmap(file, np.uint8, "r", 3, (file.stat().st_size - 3, 1, 1, 1))  # of any file, and from any byte on
    for number, images in enumerate((mapped, raw, mapped[:30], mapped[::2], np.array(mapped), changed)):
        dataset = from_arrays(images, batch_size=4, resident_mib=0)
        state = dataset.__getstate__()
        assert isinstance(state["images"], tuple) == (number < 2)
        copy = StreamedDataset.__new__(StreamedDataset)
        copy.__setstate__(state)
        np.testing.assert_array_equal(copy.images, images)
        assert isinstance(copy.images, np.memmap) == isinstance(images, np.memmap)


def test_the_devices_copy_is_not_the_callers_array_nor_a_file(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((64, 64, 64, 1), np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r+")
    dataset = from_arrays(mapped, batch_size=4)
    mapped[:] = 255
    assert int(dataset.images.max()) == 0


@pytest.mark.usefixtures("no_curves")
def test_a_run_that_streams_and_resumes_in_mid_epoch_is_the_resident_run_to_the_bit(tmp_path):
    """5,000 images, 8 a step: no epoch ends here. Where images live is free on resume."""
    streamed = {"data.resident_mib": 0, "data.workers": 0}
    straight = train(small_config(**{"network.name": "mlp"}), tmp_path / "straight")
    train(small_config(num_steps=10, **{"network.name": "mlp"} | streamed), tmp_path / "resumed")
    resumed = train(small_config(**{"network.name": "mlp"} | streamed), tmp_path / "resumed")
    assert_trees_equal(jax.device_get(straight), jax.device_get(resumed))


def test_what_fails_in_reading_is_named():
    with pytest.raises(WorkerError, match="step 0: the data stopped: ZeroDivisionError: "):
        Stream(operator.floordiv, 1).read(7, 0)
    assert children() == []


def children():
    """Processes of workers whose parent is this one."""
    return [child for child in descendants(os.getpid()) if "spawn_main" in command(child)]


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")


@needs_proc
def test_a_killed_worker_ends_the_run_with_its_reason_and_the_checkpoint_stays(tmp_path, file):
    images = tmp_path / "images.npy"
    np.save(images, random_images(64, 16))
    arguments = ["--config=experiments/configs/mnist.py", f"--workdir={tmp_path / 'run'}", f"--config.data.name=numpy:{images}"]
    small = {"batch_size": 8, "num_steps": 1_000_000, "checkpoint_every": 20, "sample_every": 1_000_000}
    small |= {"data.image_size": 16, "data.resident_mib": 0, "data.workers": 1, "network.name": "mlp"}
    arguments += [f"--config.{key}={entry}" for key, entry in small.items()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with forked.Process(["experiments/train.py", *arguments], cwd=ROOT, env=environment) as run:
        committed = lambda: any((tmp_path / "run" / "checkpoints").glob("*/commit_success.txt"))  # noqa: E731
        wait_until(committed)
        workers = [pid for pid in descendants(run.pid) if "spawn_main" in command(pid)]
        assert len(workers) == 1
        os.kill(workers[0], signal.SIGKILL)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    line, *others = said.splitlines()
    assert all("resource_tracker" in other or "warnings.warn" in other for other in others), said  # frees what SIGKILL left
    assert "the data stopped: a worker process was ended by SIGKILL, as the system does when memory runs out" in line
    assert line.startswith("error: step ")
    wait_until(lambda: not any(command(pid) for pid in workers))
    assert committed()


@needs_proc
def test_workers_end_with_a_parent_that_is_killed_and_leave_quietly_with_one_that_ends(tmp_path, file):
    script = tmp_path / "fetch.py"
    script.write_text(
        "import sys, time\nimport numpy as np\nfrom gan_jax.data.datasets import from_arrays\n"
        "if __name__ == '__main__':\n"
        f"    dataset = from_arrays(np.load({str(file)!r}, mmap_mode='r'), batch_size=4, resident_mib=0, workers=1)\n"
        "    dataset.fetch(0, 0, 1)\n    print('fetched', flush=True)\n    time.sleep(float(sys.argv[1]))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, "0"], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("fetched\n", "")
    with forked.Process([str(script), "60"], cwd=ROOT, env=environment) as parent:
        parent.wait_for(("fetched\n", ""))
        workers = [pid for pid in descendants(parent.pid) if "spawn_main" in command(pid)]
        assert len(workers) == 1
        parent.kill()
    wait_until(lambda: not any(command(pid) for pid in workers))


def wait_until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
