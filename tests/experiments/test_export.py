"""An exported generator samples where the package is not, and its card says what it is."""

import hashlib
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from small import small_config

from gan_jax import create_state, run_keys
from gan_jax.files import append_jsonl
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import make_gan, resolve
from gan_jax.run.export import export_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A conditional run with an average, which differs from the weights, and a layer that goes by Winograd on a CPU."""
    folder = tmp_path_factory.mktemp("run")
    entries = {"num_classes": 3, "data.image_size": 16, "network.gen.dcgan.base_width": 64, "ema_decay": 0.9}
    config = small_config(**entries)
    gan = make_gan(config)
    state = create_state(gan, run_keys(1).init)
    state = state.replace(ema=create_state(gan, run_keys(2).init).ema)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(state, resolve(config), selection_metric=1.0)
    append_jsonl(folder / "eval.jsonl", {"step": 0, "eval/fid": 3.0})
    for weights, number in (("EMA", 1.0), ("EMA", 2.0), ("raw", 4.0)):
        row = {"step": 0, "weights": weights, "features": "pixels", "mean": {"kid": number}, "by_seed": [], "commit": "x"}
        append_jsonl(folder / "results.jsonl", row)
    return folder


def sample_without_the_package(folder, card):
    """Run the card's lines in a process that cannot import the package."""
    code = ["import sys", "sys.modules['gan_jax'] = sys.modules['flax'] = None", *card["usage"]]
    code += [
        "import numpy",
        "numpy.save('samples.npy', samples)",
        "print(generator.call(weights, latents[:5], jnp.arange(5) % 3).shape)",
    ]
    command = [sys.executable, "-c", "\n".join(code)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(5, 16, 16, 1)\n"
    return np.load(folder / "samples.npy")


def test_without_the_package_the_samples_are_those_of_sample_py_to_the_bit(workdir, run_script, tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")  # compiled as a user's
    done = run_script("export.py", f"--workdir={workdir}", f"--out={tmp_path}/exported")
    assert done.stdout.startswith("step 0 (final), EMA weights, for cpu, cuda, tpu: generator.jax, ")
    card = json.loads((tmp_path / "exported" / "card.json").read_text())
    assert card["metrics"]["during_training"] == {"step": 0, "eval/fid": 3.0}
    assert card["metrics"]["results"] == [{"features": "pixels", "mean": {"kid": 2.0}}]
    assert card["config"]["num_classes"] == 3
    for name, digest in card["sha256"].items():
        assert hashlib.sha256((tmp_path / "exported" / name).read_bytes()).hexdigest() == digest
    samples = sample_without_the_package(tmp_path / "exported", card)
    run_script("sample.py", f"--workdir={workdir}", "--num=192", f"--npz={tmp_path}/s", f"--out={tmp_path}/s.png")
    by_class = np.load(tmp_path / "s.npz")["samples"].reshape(
        3, 64, 16, 16, 1
    )  # a class in each row, a latent down each column
    np.testing.assert_array_equal(samples, by_class[np.arange(64) % 3, np.arange(64)])


def test_the_best_step_can_be_sampled(run_script, tmp_path):
    config = small_config()
    state = create_state(make_gan(config), run_keys(1).init)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step, metric in ((1, 2.0), (2, 3.0)):
            checkpoints.save(state.replace(step=jnp.int32(step)), resolve(config), selection_metric=metric)
    options = ("--which=best", "--num=1", f"--out={tmp_path}/grid.png")
    assert " of step 1, " in run_script("sample.py", f"--workdir={tmp_path}", *options, fast=True).stdout


def test_what_cannot_be_exported_is_one_line(workdir, run_script):
    done = run_script("export.py", f"--workdir={workdir}", status=2)
    assert done.stderr == "error: --out must be a folder for the files, such as --out=exported\n"


def test_metrics_of_other_weights_are_not_in_the_card(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(export.Exported, "serialize", lambda exported: exported.mlir_module_serialized)
    card = export_run(workdir, tmp_path, which="best", raw=True)
    assert (card["which"], card["weights"]) == ("best", "raw")
    assert card["metrics"] == {"during_training": {}, "results": [{"features": "pixels", "mean": {"kid": 4.0}}]}
