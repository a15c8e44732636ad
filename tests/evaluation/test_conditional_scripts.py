"""The scripts of evaluation and sampling, on runs and datasets with labels."""

import jax
import numpy as np
import pytest
from stripes import BY_LABEL, striped
from test_tfds import write_idx_set

from gan_jax import sample, sample_grid
from gan_jax.files import read_jsonl
from gan_jax.run.plots import save_samples
from gan_jax.run.restore import restore_run

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_conditional_run_is_evaluated_and_sampled_by_its_classes(run_script, tmp_path):
    images, labels = striped(300)
    np.savez(tmp_path / "stripes.npz", images=images, labels=labels)
    workdir, data = f"--workdir={tmp_path / 'run'}", f"--config.data.name=numpy:{tmp_path / 'stripes.npz'}"
    small = (data, "--config.data.image_size=8", "--config.batch_size=8", "--config.num_steps=4", "--config.eval_every=0")
    conditional = ("--config.network.name=mlp", "--config.num_classes=2")
    run_script("train.py", "--config=experiments/configs/mnist.py", workdir, *small, *conditional, fast=True)
    (tmp_path / "run" / "results.jsonl").mkdir()  # so that it stops at its first row: by then it has kept its features
    flags = (data.replace("config.data.name", "data"), "--num=150")
    run_script("evaluate.py", workdir, *flags, "--seeds=2", status=2, fast=True, brief=True)
    (tmp_path / "run" / "results.jsonl").rmdir()
    kept = tmp_path / "cache" / "gan_jax" / "features"
    assert len(list(kept.glob("*/*"))) == 3  # of real images, and of each seed
    for images in ("--seeds=2", "--real"):
        run_script("evaluate.py", workdir, *flags, images, fast=True, brief=True)
        assert not list(kept.iterdir())
    *generated, real = read_jsonl(tmp_path / "run" / "results.jsonl")
    names = BY_LABEL | {f"{name}/{label}" for name in BY_LABEL - {"accuracy"} for label in (0, 1)}
    assert all(names <= row["mean"].keys() for row in (*generated, real))
    assert real["mean"]["accuracy"] == 1
    assert real["mean"]["classifier_class_frechet"] < min(row["mean"]["classifier_class_frechet"] for row in generated) / 2
    refused = run_script("sample.py", workdir, "--labels=0,2", status=2, fast=True)
    assert refused.stderr == "error: label 2: labels must be 0 to 1\n"
    done = run_script("sample.py", workdir, "--num=2501", "--labels=1,0", f"--npz={tmp_path}/grid", fast=True)
    assert done.stdout.startswith("2500 samples of step 4")
    config, gan, state = restore_run(tmp_path / "run")
    zeros = sample(gan, state, jax.random.key(0), 1250, labels=[0] * 1250)
    with np.load(tmp_path / "grid.npz") as arrays:
        np.testing.assert_array_equal(arrays["samples"][1250:], zeros)
        np.testing.assert_array_equal(arrays["labels"], np.repeat([1, 0], 1250))
    samples, labels, columns = sample_grid(gan, state, jax.random.key(0), 1024, labels=[1, 0])
    save_samples(gan, state, samples, tmp_path / "shown.png", dataset_name=config.data.name, labels=labels, columns=columns)
    assert (tmp_path / "run" / "grid.png").read_bytes() == (tmp_path / "shown.png").read_bytes()


def test_metrics_by_label_are_refused_for_an_unconditional_run(run_script, tmp_path):
    done = run_script("evaluate.py", "--real", f"--out={tmp_path}/rows.jsonl", "--metrics=accuracy", status=2, fast=True)
    assert "metrics=accuracy: needs the labels of a conditional run: config.num_classes > 0" in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")


def test_images_of_another_split_keep_their_labels(run_script, tmp_path, monkeypatch):
    """Both splits have the same images here: labels that went astray would set their classes apart."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    write_idx_set(tmp_path / "data", train=60, test=60)
    conditional = ("--config.network.name=mlp", "--config.num_classes=10")
    options = ("--config=experiments/configs/fashion_mnist.py", "--config.data.image_size=8", "--config.data.resize=true")
    flags = ("--real", "--features=pixels", "--metrics=class_frechet,class_coverage", f"--out={tmp_path}/rows.jsonl")
    run_script("evaluate.py", *options, *conditional, *flags, fast=True)
    (row,) = read_jsonl(tmp_path / "rows.jsonl")
    assert (row["mean"]["pixels_class_frechet"], row["mean"]["class_coverage"]) == (pytest.approx(0, abs=1e-9), 1)


def test_the_dataset_must_have_the_classes_of_the_config(run_script, tmp_path):
    np.save(tmp_path / "stripes.npy", striped(40)[0])
    data = ("--config.network.name=mlp", "--config.data.image_size=8", f"--config.data.name=numpy:{tmp_path}/stripes.npy")
    options = (*data, "--config.num_classes=2", "--real", f"--out={tmp_path}/rows.jsonl", "--features=pixels")
    done = run_script("evaluate.py", *options, status=2, fast=True)
    assert "config.num_classes=2 must be 0: images of numpy:" in done.stderr
    assert done.stderr.endswith("stripes.npy have no labels\n")
