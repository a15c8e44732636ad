"""Scripts in their short forms, as a user runs them; exact resume in new processes; the README's example; the wheel."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from small import assert_trees_equal

from gan_jax.files import read_jsonl
from gan_jax.run.restore import restore_run
from gan_jax.sampling import generate, sample, truncate
from gan_jax.state import generator_variables
from gan_jax.steps import example_keys, sample_latents

SMALL = ("--config.data.image_size=16", "--config.network.dcgan.base_width=4", "--config.batch_size=8", "--config.log_every=10")
SPEEDS = ("steps_per_second", "images_per_second")


def read_pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture(scope="module")
def train_to(run_script):
    def train(workdir, num_steps, *options):
        config = "--config=experiments/configs/mnist.py"
        resumable = ("--config.checkpoint_every=20", "--config.sample_every=20", f"--config.num_steps={num_steps}")
        options = (*SMALL, *resumable, "--config.eval_every=0", *options)
        # `make reproduce` compares the bits of the usual flags.
        return run_script("train.py", config, f"--workdir={workdir}", *options, fast=True)

    return train


@pytest.fixture(scope="module")
def straight_run(train_to, tmp_path_factory):
    """40 steps of the default recipe, cut down, with every source of randomness on."""
    workdir = tmp_path_factory.mktemp("straight")
    train_to(workdir, 40, "--config.data.flip=true", "--config.disc_steps=2")
    return workdir


def test_forty_steps_are_twenty_and_a_new_process_and_twenty_more_to_the_bit(straight_run, train_to, tmp_path):
    for num_steps in (20, 40):
        train_to(tmp_path, num_steps, "--config.data.flip=true", "--config.disc_steps=2")
    straight, resumed = (restore_run(workdir)[2] for workdir in (straight_run, tmp_path))
    assert int(straight.step) == 40
    assert straight.ema is not None
    assert_trees_equal(straight, resumed)
    rows = [
        [{key: entry for key, entry in row.items() if key not in SPEEDS} for row in read_jsonl(workdir / "metrics.jsonl")]
        for workdir in (straight_run, tmp_path)
    ]
    assert [row["step"] for row in rows[0]] == [10, 20, 30, 40]
    assert rows[0] == rows[1]
    for name in ("00000000.png", "00000020.png", "00000040.png"):
        assert (straight_run / "samples" / name).read_bytes() == (tmp_path / "samples" / name).read_bytes()


def test_samples_on_demand(straight_run, run_script, tmp_path):
    def run(name, *options):
        files = (f"--out={tmp_path / name}.png", f"--npz={tmp_path / name}.1")
        done = run_script("sample.py", f"--workdir={straight_run}", *files, *options, fast=True)
        return done.stdout, np.load(tmp_path / f"{name}.1.npz")["samples"]

    line, few = run("few", "--num=3", "--seed=1")
    assert re.search(r"3 samples of step 40, EMA weights, seed 1: .*few\.png", line)
    assert (few.shape, few.dtype) == ((3, 16, 16, 1), np.uint8)
    assert read_pixels(tmp_path / "few.png").shape == (134, 134)
    _, gan, state = restore_run(straight_run)
    np.testing.assert_array_equal(few, sample(gan, state, jax.random.key(1), 70)[:3])
    line, path = run("path", "--num=16", "--interpolate", "--raw")
    assert "raw weights" in line
    assert path.shape == (16, 16, 16, 1)
    steps = np.abs(np.diff(path.astype(float).reshape(2, 8, -1), axis=1)).mean(axis=-1)
    assert np.all(steps < np.abs(path[0].astype(float) - path[8]).mean() + 1)


def test_a_sample_of_each_seed_and_an_animation_on_demand(straight_run, run_script, tmp_path):
    options = ("--seeds=1,3-4", "--truncation=0.5", f"--out={tmp_path / 'seeds'}")
    line = run_script("sample.py", f"--workdir={straight_run}", *options, fast=True).stdout
    assert f"3 samples of step 40, EMA weights, seeds 1,3-4: {tmp_path / 'seeds'}" in line
    _, gan, state = restore_run(straight_run)
    assert {path.name for path in (tmp_path / "seeds").iterdir()} == {f"seed000{seed}.png" for seed in (1, 3, 4)}
    for seed in (1, 3, 4):
        latents = sample_latents(example_keys(jax.random.key(seed), "latents", 1), gan.latent_dim)
        (expected,) = generate(gan, generator_variables(state), truncate(latents, 0.5))
        np.testing.assert_array_equal(read_pixels(tmp_path / "seeds" / f"seed000{seed}.png"), expected[..., 0])
    run_script(
        "sample.py", f"--workdir={straight_run}", "--num=2", "--interpolate", f"--out={tmp_path / 'walk.gif'}", fast=True
    )
    with Image.open(tmp_path / "walk.gif") as gif:
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("L"), float))
    assert (len(frames), frames[0].shape) == (60, (68, 134))
    changes = [np.abs(one - other).mean() for one, other in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert min(changes) > 0
    assert max(changes) < np.abs(frames[0] - frames[30]).mean()  # no jump, also not from the last to the first


def test_bad_input_is_one_line_and_status_2(straight_run, run_script, tmp_path):
    config = "--config=experiments/configs/mnist.py"
    for script, arguments, message in [
        ("train.py", (config, f"--workdir={tmp_path}/new", "--config.num_stepz=3"), "did you mean num_steps?"),
        (
            "train.py",
            (config, f"--workdir={tmp_path}/new", "--config.data.name=folder:nowhere"),
            "nowhere: No such file or dir",
        ),
        ("train.py", (config, "--workdr=x"), "--workdr: no such flag; did you mean workdir?"),
        ("sample.py", (f"--workdir={tmp_path}/none",), "no run is there"),
        ("sample.py", (f"--workdir={straight_run}", "--out=grid.jpg"), "--out=grid.jpg must end in .png"),
        ("sample.py", (f"--workdir={straight_run}", "--seeds=7-0"), "--seeds=7-0 must be at most 10000 seeds below 2**32"),
        ("sample.py", (f"--workdir={straight_run}", "--labels=1"), "labels: this generator is unconditional"),
        ("sample.py", (f"--workdir={straight_run}", "--labels=one"), "--labels=one must be integers ≥ 0"),
        ("train.py", (config, f"--workdir={straight_run}/config.json"), "config.json"),
    ]:
        done = run_script(script, *arguments, status=2)
        assert message in done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "new").exists()


def readme_example():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return example.replace("num_steps=1000", "num_steps=3").replace('base_width": 32', 'base_width": 4')


def test_the_wheel_holds_the_package_and_runs_the_readmes_example(tmp_path):
    source = tmp_path / "source"  # building leaves its products behind
    shutil.copytree(ROOT / "gan_jax", source / "gan_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"gan_jax"}
    assert {"gan_jax/py.typed", "gan_jax/networks/dcgan.py", "gan_jax/configs/default.py"} <= set(names)
    assert {"gan_jax/run/page.html", "gan_jax/run/page.js"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (tmp_path / "example.py").write_text(readme_example() + "\nprint(gan_jax.__file__)\n")
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(site / "gan_jax" / "__init__.py")
    assert read_pixels(tmp_path / "grid.png").shape == (8 * 66 + 2, 8 * 66 + 2, 3)


def test_make_help_lists_every_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(targets) - {"help"} <= set(re.findall(r"make ([a-z-]+)", listed))
