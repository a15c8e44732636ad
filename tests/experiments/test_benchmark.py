"""The benchmark: what it counts, that its peers do the same work, and the rows that it writes."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import small_gan

from costs import Communication, Interconnect, communication, efficiency, model_flops
from gan_jax import GAN, NETWORKS, OBJECTIVES, Players, create_state, train_step
from gan_jax.steps import draw_latents
from peers.plain_flax import with_plain_layers

RNG = jax.random.key(3)
SHAPES = [(16, 1, 4, 10), (32, 3, 8, 100)]


def make(shape, objective="non_saturating"):
    size, channels, width, latent_dim = shape
    networks = NETWORKS["dcgan"]((size, size, channels), base_width=width)
    adam = optax.adam(2e-4, b1=0.5)
    return GAN(networks, Players(adam, adam), OBJECTIVES[objective], (size, size, channels), latent_dim=latent_dim)


def real_images(shape, disc_steps, batch_size):
    size, channels = shape[:2]
    return np.random.default_rng(0).uniform(-1, 1, (disc_steps, batch_size, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("disc_steps", [1, 2])
def test_the_compiler_counts_the_flops_that_we_count(shape, disc_steps):
    gan = make(shape)
    batch = {"images": jnp.asarray(real_images(shape, disc_steps, 8))}
    step = jax.jit(partial(train_step, with_plain_layers(gan)))
    compiler = step.lower(create_state(gan, RNG), batch, RNG).cost_analysis()["flops"]
    ours = model_flops(*shape, 8, disc_steps, border=False)
    assert 1.0 < compiler / ours < 1.25  # it counts what is elementwise too, which small networks have more of


def test_plain_flax_layers_compute_the_same_step():
    gan = make((16, 1, 4, 10))
    batch = {"images": jnp.asarray(real_images((16, 1, 4, 10), 1, 8))}
    state = create_state(gan, RNG)
    (_, ours), (_, plain) = (train_step(recipe, state, batch, RNG) for recipe in (gan, with_plain_layers(gan)))
    for name, number in ours.items():
        np.testing.assert_allclose(number, plain[name], rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_torch_peer_does_the_same_work(objective, channels_last):
    pytest.importorskip("torch", reason="the extra `bench`")
    import torch

    from peers import torch_dcgan

    shape, disc_steps, batch_size = (16, 1, 4, 10), 2, 8
    gan = make(shape, objective)
    state = create_state(gan, RNG)
    real = real_images(shape, 1, batch_size)[0]
    recipe = torch_dcgan.Recipe(shape, disc_steps, objective, "float32", [(2e-4, 0.5, 0.999)] * 2, real)
    peer = torch_dcgan.Trainer(recipe, torch_dcgan.Mode(channels_last), state.params)
    step_rng = jax.random.fold_in(RNG, 0)
    latents = [draw_latents(jax.random.fold_in(step_rng, update), batch_size, shape[-1]) for update in range(disc_steps + 1)]
    losses = [loss.item() for loss in peer.step(*(torch.from_numpy(np.array(z)) for z in latents))]
    _, metrics = train_step(gan, state, {"images": jnp.stack([jnp.asarray(real)] * disc_steps)}, RNG)
    np.testing.assert_allclose(losses, [metrics["loss/disc"], metrics["loss/gen"]], rtol=1e-4)
    assert peer.flops() == model_flops(*shape, batch_size, disc_steps)
    counts = [sum(leaf.numel() for leaf in network.parameters()) for network in (peer.gen, peer.disc)]
    assert counts == [sum(leaf.size for leaf in jax.tree.leaves(params)) for params in state.params]


def test_what_a_step_sends():
    gan = small_gan()
    gen, disc = (sum(leaf.size for leaf in jax.tree.leaves(params)) for params in create_state(gan, RNG).params)
    local = communication(gan, 3, synchronised=False)
    assert local == Communication(messages=4, bytes=4 * (3 * disc + gen))
    synchronised = communication(gan, 1, synchronised=True)
    layers = [len(jax.tree.leaves(stats)) // 2 for stats in create_state(gan, RNG).batch_stats]
    assert synchronised.messages == 2 + 3 * layers[0] + 6 * layers[1]
    assert synchronised.bytes > communication(gan, 1, synchronised=False).bytes


def test_scaling_formula():
    link = Interconnect("test", bandwidth=1e9, latency=1e-3)
    sent = Communication(messages=2, bytes=10**9)
    assert sent.seconds(1, link) == 0.0
    assert sent.seconds(2, link) == pytest.approx(1.0 + 2 * 2 * 1e-3)
    assert sent.seconds(8, link) == pytest.approx(2 * 7 / 8 + 2 * 6 * 1e-3)
    assert efficiency(1.0, sent, 1, link) == 1.0
    assert efficiency(sent.seconds(8, link), sent, 8, link) == pytest.approx(0.5)


def test_the_benchmark_writes_a_row_for_each_combination(run_script, tmp_path):
    out = tmp_path / "benchmark.jsonl"
    small = ("--config=gan_jax/configs/default.py", "--config.network.dcgan.base_width=4", "--config.batch_size=8")
    done = run_script("benchmark.py", *small, "--size=8,16", "--peer=flax", "--steps=1", "--repeats=2", f"--out={out}")
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
        floor = max(row["floor_seconds"].values())
        assert row["over_floor"] == pytest.approx(seconds["gan_jax"]["median"] / floor)
        assert row["facts"]["gan_jax"]["peak_bytes"] > row["facts"]["gan_jax"]["least_bytes"] / 2
        assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", row["commit"])
        assert row["versions"]["jax"]
        assert row["hardware"]
    picture = tmp_path / "benchmark.png"
    run_script("plot_benchmark.py", f"--rows={out}", f"--out={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_benchmark_splits_a_batch_over_devices(run_script, tmp_path):
    out = tmp_path / "devices.jsonl"
    small = ("--config=gan_jax/configs/default.py", "--config.network.dcgan.base_width=4", "--config.batch_size=8")
    done = run_script("benchmark.py", *small, "--size=8", "--devices=1,2", "--steps=1", "--repeats=1", f"--out={out}")
    assert done.stdout.count("synthetic, 2 devices") == 1
    one, two = (json.loads(line) for line in out.read_text().splitlines())
    assert (one["devices"], two["devices"]) == (1, 2)
    batch_bytes = 8 * 8 * 8 * 4
    assert one["facts"]["gan_jax"]["least_bytes"] - two["facts"]["gan_jax"]["least_bytes"] == batch_bytes // 2


def test_bad_flags_of_the_benchmark(run_script):
    config = "--config=gan_jax/configs/default.py"
    for argument, message in [
        ("--size=32,large", "--size=32,large: give whole numbers"),
        ("--size=20", "config.data.image_size=20"),
        ("--peer=tensorflow", "--peer=tensorflow: give flax, torch"),
        ("--dtype=float8", "--dtype=float8: give float32, bfloat16"),
        ("--config.network.name=mlp", "the benchmark is of dcgan"),
    ]:
        done = run_script("benchmark.py", config, argument, status=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
