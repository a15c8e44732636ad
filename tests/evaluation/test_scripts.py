"""The scripts of evaluation, run as a user runs them."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from stripes import striped
from test_tfds import write_idx_set

from configs import ring
from gan_jax import create_state
from gan_jax.files import read_jsonl
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import make_gan, resolve

pytestmark = pytest.mark.usefixtures("own_cache")

FLAGS = ("--features=pixels", "--num=60", "--seeds=2", "--metrics=frechet,kid,prdc,diversity")


@pytest.fixture(scope="module")
def run(run_script, tmp_path_factory):
    """Twenty steps on stripes in a file."""
    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "stripes.npy", striped(300)[0])
    small = ("--config.data.image_size=8", "--config.network.dcgan.base_width=4", "--config.batch_size=8")
    data = (f"--config.data.name=numpy:{folder / 'stripes.npy'}", "--config.num_steps=20", "--config.eval_num=100", *small)
    run_script("train.py", "--config=experiments/configs/mnist.py", f"--workdir={folder / 'run'}", *data, fast=True)
    return folder


def test_evaluate_a_run_other_images_and_the_real_baseline(run, run_script, tmp_path):
    workdir = f"--workdir={run / 'run'}"
    data = f"--data=numpy:{run / 'stripes.npy'}"
    done = run_script("evaluate.py", workdir, data, *FLAGS, "--neighbours", fast=True)
    rows = read_jsonl(run / "run" / "results.jsonl")
    assert [(row["weights"], row["which"]) for row in rows] == [("EMA", "best and final"), ("raw", "best and final")]
    assert [rows[0][key] for key in ("step", "num", "num_real", "seeds")] == [20, 60, 300, 2]
    assert rows[0]["neighbours"]["median"] > rows[0]["neighbours"]["real_median"] > 0
    assert "neighbours" not in rows[1]
    assert (run / "run" / "neighbours.png").stat().st_size > 500
    lines = done.stdout.splitlines()
    assert lines[0].startswith("features=pixels: 540 images at ")
    (start,) = (
        number for number, line in enumerate(lines) if line.startswith("step 20 (best and final), raw weights, 2 × 60 im")
    )
    assert lines[start + 1].split("  ")[0] == "metric"
    assert "mean ± standard error over 2 seeds of samples" in lines[start + 1]
    assert lines[start + 2].startswith("pixels_frechet ")
    assert " ± " in lines[start + 2]
    assert "warning: fake: 60 samples of 64 dimensions" in done.stdout
    others = striped(90, seed=1)[0]
    np.save(tmp_path / "other.npy", others)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(others):
        Image.fromarray(image[..., 0]).save(tmp_path / "folder" / f"{number:02}.png")
    for images in (f"--npz={tmp_path}/other.npy", "--real", f"--folder={tmp_path}/folder"):
        flags = (f"--out={tmp_path}/rows.jsonl", "--features=pixels", "--num_real=200")
        run_script("evaluate.py", workdir, data, images, *flags, fast=True)
    done = run_script("evaluate.py", workdir, data, "--config.data.split=test", status=2, fast=True)
    assert done.stderr == "error: --config: must be left out with --workdir, whose run has its own\n"
    other, baseline, folder = read_jsonl(tmp_path / "rows.jsonl")
    assert (other["num"], baseline["num"], folder["num"]) == (90, 120, 90)  # not more than there are
    assert [row["num_real"] for row in (other, baseline, folder)] == [200, 180, 200]  # of 300, of which 120 are held out
    assert baseline["samples"].endswith("120 held-out images of 300")
    assert folder["mean"] == other["mean"]  # the same images
    assert other["mean"].keys() == rows[0]["mean"].keys()
    assert max(row["mean"]["pixels_frechet"] for row in (other, baseline)) < rows[0]["mean"]["pixels_frechet"] / 2


def test_evaluate_stacked_digits(run_script, tmp_path):
    images, labels = striped(300)
    np.savez(tmp_path / "stripes.npz", images=images, labels=labels)
    small = ("--config.num_steps=2", "--config.batch_size=8", "--config.network.dcgan.base_width=4", "--config.eval_every=0")
    data = (
        f"--config.data.name=stacked:numpy:{tmp_path}/stripes.npz",
        "--config.data.channels=3",
        "--config.data.image_size=8",
    )
    run, rows = f"--workdir={tmp_path / 'run'}", tmp_path / "rows.jsonl"
    trusted = f"--data=stacked:numpy:{tmp_path}/stripes.npz"
    run_script("train.py", "--config=experiments/configs/mnist.py", run, *small, *data, fast=True)
    for flags in (("--num=70", "--seeds=2"), ("--real", "--num=500", "--seeds=3")):
        done = run_script("evaluate.py", run, trusted, f"--out={rows}", *flags, fast=True, brief=True)
        assert "the classifier is right on 100.00% of 120 held-out digits" in done.stdout
        assert "perfect sampler" in done.stdout
        assert "one sample makes a mode count; " in done.stdout
    ema, raw, real = read_jsonl(rows)
    assert [(row["step"], row["weights"]) for row in (ema, raw)] == [(2, "EMA"), (2, "raw")]
    assert [(row["num"], row["seeds"]) for row in (ema, raw, real)] == [(70, 2), (70, 2), (500, 3)]
    assert ema["mean"].keys() == real["mean"].keys() == {"modes", "kl", "modes_twice", "modes_confident", "confident"}
    assert real["mean"]["kl"] == pytest.approx(real["perfect_sampler"]["mean"]["kl"], abs=0.03) != ema["mean"]["kl"]
    done = run_script("evaluate.py", run, trusted, "--features=inception", status=2, fast=True)
    assert "--features: must be left out for stacked:numpy:" in done.stderr
    assert done.stderr.count("\n") == 1
    done = run_script("evaluate.py", run, trusted, f"--npz={tmp_path}/none.npy", "--seeds=2", status=2, fast=True)
    assert done.stderr.startswith("error: --seeds: must be left out")


def test_evaluate_points(run_script, tmp_path):
    config = ring.get_config()
    config.network.mlp.hidden = (8,)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(create_state(make_gan(config), jax.random.key(0)), resolve(config))
    run_script("evaluate.py", f"--workdir={tmp_path}", "--num=70", "--seeds=2", fast=True)
    rows = read_jsonl(tmp_path / "results.jsonl")
    assert {(row["step"], row["num"], row["seeds"], row["real"]) for row in rows} == {(0, 70, 2, "ring")}
    assert rows[0]["mean"].keys() == {"modes", "high_quality", "reverse_kl", "js"}
    done = run_script("evaluate.py", f"--workdir={tmp_path}", "--neighbours", status=2, fast=True)
    assert done.stderr == "error: --neighbours: must be left out for ring, of which modes are counted\n"


def test_bad_input_is_one_line_and_status_2(run, run_script, tmp_path):
    np.save(tmp_path / "floats.npy", np.zeros((9, 8, 8, 1), np.float32))
    np.save(tmp_path / "ones.npy", np.ones((9, 8, 8, 1), np.uint8))
    workdir, data = f"--workdir={run / 'run'}", f"--data=numpy:{run / 'stripes.npy'}"
    pixels = (workdir, data, "--features=pixels")
    for arguments, message in [
        ((workdir, "--real"), f"a path from a saved config is opened only if you repeat it: add {data}"),
        (
            (*pixels, f"--npz={tmp_path}/ones.npy"),
            "grey levels must be from 0 to 255, not from 1 to 1",
        ),
        ((*pixels, f"--npz={tmp_path}/floats.npy"), "float32 [9, 8, 8, 1]"),
        ((*pixels, "--metrics=kids"), "metrics=kids: must be one of classes, diversity"),
        (("--real",), "--out: must be a file for the rows"),
        ((*pixels, "--real", "--seeds=2"), "--seeds: must be left out with --npz, --folder and --real"),
    ]:
        done = run_script("evaluate.py", *arguments, status=2, fast=True)
        assert message in done.stderr
        assert (done.stderr.startswith("error: "), done.stderr.count("\n")) == (True, 1)


def test_a_table_of_fashion_mnist_in_small(run_script, tmp_path, monkeypatch):
    """Runs that have their row are not run again, and the page is drawn from the rows alone."""
    write_idx_set(tmp_path / "data", train=70, test=40)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    small = ("--images=128", "--num=40", "--width=4", "--features=pixels", f"--results={tmp_path}")
    for _ in range(2):
        run_script("fashion_mnist.py", *small, "--recipes=minimax", f"--runs={tmp_path}/runs", fast=True, brief=True)
        rows = read_jsonl(tmp_path / "fashion_losses.jsonl")
        assert [(row["recipe"], row.get("seed")) for row in rows] == [("training images", None), ("minimax", 1), ("minimax", 2)]
    assert rows[1]["ended"] == "complete"
    assert rows[1]["entries"]["num_steps"] == 2
    assert rows[1]["best"].keys() == rows[1]["mean"].keys()
    page = (tmp_path / "fashion_losses.md").read_text()
    assert ", best step |" in page
    (tmp_path / "fashion_losses.md").unlink()
    older = rows[1] | {"entries": {}, "mean": {name: 10 * metric for name, metric in rows[1]["mean"].items()}}
    lines = [json.dumps(row) + "\n" for row in (older, *rows)]  # the newest row of a seed is the one that counts
    (tmp_path / "fashion_losses.jsonl").write_text("".join(lines))
    assert "| minimax | " in run_script("fashion_mnist.py", *small, "--redraw", fast=True).stdout
    assert (tmp_path / "fashion_losses.md").read_text() == page
    assert (tmp_path / "fashion_losses.png").stat().st_size > 1_000
    clothes = ("--config=experiments/configs/fashion_mnist.py", "--real", "--features=pixels", f"--out={tmp_path}/rows.jsonl")
    run_script("evaluate.py", *clothes, "--split=train[:50%]", fast=True)
    (row,) = read_jsonl(tmp_path / "rows.jsonl")
    assert (row["real"], row["num_real"]) == ("tfds:fashion_mnist train[:50%]", 35)
    done = run_script("fashion_mnist.py", *small, "--recipes=nothing", status=2, fast=True)
    assert done.stderr.startswith("error: --recipes=nothing: must be in the name of one of: minimax; ")


def test_parzen_in_small(run_script, tmp_path):
    small = ("--steps=2", "--num=20", "--width=4", f"--runs={tmp_path}/runs", f"--results={tmp_path}")
    run_script("mnist_parzen.py", *small, fast=True)
    path = tmp_path / "mnist_parzen.jsonl"
    by_name = {row["samples"]: row["log_likelihood"] for row in read_jsonl(path)}
    assert by_name["training digits"] > by_name["DCGAN, seed 0"]
    path.write_text("".join(json.dumps(row | {"bandwidth": 0.5}) + "\n" for row in read_jsonl(path)))
    run_script("mnist_parzen.py", *small, fast=True)
    assert len(read_jsonl(path)) == 2  # rows that exist are not made again
    assert "| DCGAN, seed 0 | 20 | 0.5 |" in (tmp_path / "mnist_parzen.md").read_text()


def test_bad_flags_are_one_line_before_any_work(run_script, tmp_path):
    config = "--config=gan_jax/configs/default.py"
    for script, arguments, message in [
        ("sample.py", (f"--workdir={tmp_path}", "--npz=."), "--npz=. must be a file"),
        ("sample.py", (f"--workdir={tmp_path}", f"--labels={'1' * 5000}"), "must be integers"),
        ("reproduce.py", (config, "--devices=x"), "--devices=x must be integers from 1 to 256"),
        ("evaluate.py", ("--npz=.", f"--out={tmp_path}/rows"), "numpy:.: FILE must be a regular"),
    ]:
        done = run_script(script, *arguments, status=2, fast=True)
        assert message in done.stderr
        assert (done.stderr.startswith("error: "), done.stderr.count("\n"), done.stdout) == (True, 1, "")


def test_images_that_cannot_be_compared_are_refused_before_a_classifier_is_trained(run_script, tmp_path):
    images, labels = striped(300)
    np.savez(tmp_path / "real.npz", images=images, labels=labels)
    np.save(tmp_path / "other.npy", np.repeat(images, 2, axis=1))
    config = ("--config=experiments/configs/mnist.py", f"--config.data.name=numpy:{tmp_path}/real.npz")
    arguments = (*config, "--config.data.image_size=8", f"--npz={tmp_path}/other.npy", f"--out={tmp_path}/rows", "--num=100")
    done = run_script("evaluate.py", *arguments, status=2, fast=True)
    assert "must be 8 × 8 like the real images, not 16 × 8" in done.stderr
    assert done.stdout == ""
