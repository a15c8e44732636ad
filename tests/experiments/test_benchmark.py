"""The benchmark: what it counts, that its baselines do the same work, and the rows that it writes."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from baselines.plain_flax import with_plain_layers
from costs import model_flops
from gan_jax import GAN, OBJECTIVES, Batch, Players, create_state, example_keys, make_networks, sample_latents, train_step

RNG = jax.random.key(3)
compiled_step = jax.jit(train_step, static_argnums=0)
SHAPES = [(16, 1, 4, 10), (32, 3, 8, 100)]


def make(shape, objective="non_saturating", disc_steps=1):
    size, channels, width, latent_dim = shape
    networks = make_networks("dcgan", (size, size, channels), base_width=width)
    adam = optax.adam(2e-4, b1=0.5)
    recipe = (networks, Players(adam, adam), OBJECTIVES[objective], (size, size, channels))
    return GAN(*recipe, latent_dim=latent_dim, disc_steps=disc_steps)


def real_images(shape, disc_steps, batch_size):
    size, channels = shape[:2]
    return np.random.default_rng(0).uniform(-1, 1, (disc_steps, batch_size, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("disc_steps", [1, 2])
def test_the_compiler_counts_the_flops_that_we_count(shape, disc_steps):
    gan = make(shape, disc_steps=disc_steps)
    batches = Batch(jnp.asarray(real_images(shape, disc_steps, 8)))
    state = jax.eval_shape(partial(create_state, gan), RNG)
    step = jax.jit(partial(train_step, with_plain_layers(gan)))
    compiler = step.lower(state, batches, RNG).cost_analysis()["flops"]
    ours = model_flops(*shape, 8, disc_steps, border=False)
    assert 1.0 < compiler / ours < 1.25  # it counts what is elementwise too, which small networks have more of


def test_plain_flax_layers_compute_the_same_step():
    gan = make((16, 1, 4, 10))
    batches = Batch(jnp.asarray(real_images((16, 1, 4, 10), 1, 8)))
    state = create_state(gan, RNG)
    (_, ours), (_, plain) = (compiled_step(recipe, state, batches, RNG) for recipe in (gan, with_plain_layers(gan)))
    for name, number in ours.items():
        np.testing.assert_allclose(number, plain[name], rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("objective", ["minimax", "non_saturating"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_torch_baseline_does_the_same_work(objective, channels_last):
    pytest.importorskip("torch", reason="the extra `bench`")
    import torch

    from baselines import torch_dcgan

    shape, disc_steps, batch_size = (16, 1, 4, 10), 2, 8
    gan = make(shape, objective, disc_steps)
    state = create_state(gan, RNG)
    real = real_images(shape, 1, batch_size)[0]
    recipe = torch_dcgan.Recipe(shape, disc_steps, objective, "float32", [(2e-4, 0.5, 0.999)] * 2, real)
    baseline = torch_dcgan.Trainer(recipe, torch_dcgan.Mode(channels_last), state.params)
    step_rng = jax.random.fold_in(RNG, 0)
    keys = [jax.random.fold_in(step_rng, update) for update in range(disc_steps + 1)]
    latents = [sample_latents(example_keys(key, "latents", batch_size), shape[-1]) for key in keys]
    losses = [loss.item() for loss in baseline.step(*(torch.from_numpy(np.array(z)) for z in latents))]
    _, metrics = compiled_step(gan, state, Batch(jnp.stack([jnp.asarray(real)] * disc_steps)), RNG)
    np.testing.assert_allclose(losses, [metrics["loss/disc"], metrics["loss/gen"]], rtol=1e-4)
    assert baseline.flops() == model_flops(*shape, batch_size, disc_steps)
    counts = [sum(leaf.numel() for leaf in network.parameters()) for network in (baseline.gen, baseline.disc)]
    assert counts == [sum(leaf.size for leaf in jax.tree.leaves(params)) for params in state.params]


def test_the_benchmark_writes_a_row_for_each_combination(run_script, tmp_path):
    out = tmp_path / "benchmark.jsonl"
    small = ("--config=gan_jax/configs/default.py", "--config.network.dcgan.base_width=4", "--config.batch_size=8")
    done = run_script(
        "benchmark.py", *small, "--size=8,16", "--baseline=flax", "--steps=1", "--repeats=2", f"--out={out}", fast=True
    )
    assert done.stdout.count("gan_jax over flax, pair by pair") == 2
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["size"] for row in rows] == [8, 16]
    for row in rows:
        assert row["config"]["data"]["image_size"] == row["size"]
        seconds = row["seconds_per_step"]
        assert set(seconds) == {"gan_jax", "flax"}
        assert row["ratio"]["flax"]["all"] == pytest.approx(
            [flax / ours for ours, flax in zip(seconds["gan_jax"]["all"], seconds["flax"]["all"], strict=True)]
        )
        assert row["images_per_second"]["gan_jax"] == pytest.approx(8 / seconds["gan_jax"]["median"])
        assert row["model_flops"] == model_flops(row["size"], 1, 4, 100, 8, border=False)
        bound = max(row["bound_seconds"].values())
        assert row["over_bound"] == pytest.approx(seconds["gan_jax"]["median"] / bound)
        assert row["facts"]["gan_jax"]["peak_bytes"] > row["facts"]["gan_jax"]["least_bytes"] / 2
        assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", row["commit"])
        assert row["versions"]["jax"]
        assert row["hardware"]
    run_script("benchmark.py", f"--plot={out}", fast=True)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_benchmark_splits_a_batch_over_devices(run_script, tmp_path):
    out = tmp_path / "devices.jsonl"
    small = ("--config=gan_jax/configs/default.py", "--config.network.dcgan.base_width=4", "--config.batch_size=8")
    done = run_script(
        "benchmark.py", *small, "--size=8", "--devices=1,2", "--steps=1", "--repeats=1", f"--out={out}", fast=True
    )
    assert done.stdout.count("synthetic, 2 devices") == 1
    one, two = (json.loads(line) for line in out.read_text().splitlines())
    assert (one["devices"], two["devices"]) == (1, 2)
    batch_bytes = 8 * 8 * 8 * 4
    assert one["facts"]["gan_jax"]["least_bytes"] - two["facts"]["gan_jax"]["least_bytes"] == batch_bytes // 2


def test_rows_of_layers_are_not_overwritten_by_their_table(run_script, tmp_path):
    done = run_script("benchmark_layers.py", f"--out={tmp_path}/layers.md", status=2)
    assert done.stderr.endswith("layers.md must end in .jsonl: the table is written beside it, as .md\n")
    assert (done.stderr.count("\n"), done.stdout) == (1, "")


def test_bad_flags_of_the_benchmark(run_script):
    config = "--config=gan_jax/configs/default.py"
    for argument, message in [
        ("--size=32,large", "--size=32,large must be integers ≥ 1"),
        ("--size=20", "--size=20: must be powers of two"),
        ("--baseline=tensorflow", "--baseline=tensorflow must be one of flax, torch"),
        ("--dtype=float8", "--dtype=float8 must be one of float32, bfloat16"),
        ("--config.network.name=mlp", "must be dcgan for the benchmark"),
    ]:
        done = run_script("benchmark.py", config, argument, status=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
