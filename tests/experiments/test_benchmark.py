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
from costs import count_flops
from gan_jax import GAN, OBJECTIVES, Batch, Players, create_state, example_keys, make_network, sample_latents, train_step
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import constant
from implementations import flops_of

RNG = jax.random.key(3)
compiled_step = jax.jit(train_step, static_argnums=0)


def make(
    network="dcgan", objective="non_saturating", *, size=16, channels=1, latent_dim=10, disc_steps=1, r1=0.0, r2=0.0, **options
):
    shape = (size, size, channels)
    penalties = tuple((PENALTIES[name], constant(weight)) for name, weight in (("r1", r1), ("r2", r2)) if weight)
    networks = Players(*(make_network(player, network, shape, **options) for player in Players._fields))
    adam = optax.adam(2e-4, b1=0.5)
    recipe = (networks, Players(adam, adam), OBJECTIVES[objective], shape)
    return GAN(*recipe, latent_dim=latent_dim, disc_steps=disc_steps, penalties=penalties)


def real_images(gan, batch_size=8):
    shape = (gan.batches_per_step, batch_size, *gan.sample_shape)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def dcgan_flops(size, channels, base_width, latent_dim, batch_size, disc_steps, *, border):
    """By hand: the convolutions and products of k updates of D and one of G, without gradients that nobody uses."""
    blocks = size.bit_length() - 3
    strided = []  # of each layer of D from the image on, forward; G's mirror them
    for block in range(blocks):
        out, inputs = size >> (block + 1), base_width << (block - 1) if block else channels
        taps = 4 * out if border else 4 * out - 2
        strided.append(2 * taps**2 * inputs * (base_width << block))
    logit = 2 * 16 * (base_width << (blocks - 1))
    stem = logit * latent_dim
    disc, gen = sum(strided) + logit, sum(strided) + stem
    # A backward pass costs a forward pass for the weights and another for the inputs, which the first layer's are spared.
    disc_update = gen + 2 * (disc + disc + disc - strided[0])
    gen_update = gen + disc + disc + gen + (gen - stem)
    return batch_size * (disc_steps * disc_update + gen_update)


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize(("sizes", "disc_steps"), [((16, 1, 4, 10), 2), ((32, 3, 8, 100), 1)])
def test_the_flops_of_a_dcgan_are_those_counted_by_hand(sizes, disc_steps, border):
    size, channels, base_width, latent_dim = sizes
    gan = make(size=size, channels=channels, base_width=base_width, latent_dim=latent_dim, disc_steps=disc_steps)
    assert flops_of(gan, 8, border=border) == dcgan_flops(*sizes, 8, disc_steps, border=border)


def test_flops_are_those_of_distinct_products_that_an_output_needs():
    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))

    def products(a, b):
        b.T @ b  # no output needs it
        return a @ b, jax.jit(jnp.matmul)(a, b) + 1.0, jax.jit(jnp.matmul)(a @ b, b.T)

    assert count_flops(products, a, b) == 2 * 3 * 5 * 7 * 2

    def chosen(a, b):
        branches = (lambda: (a @ b).sum(), lambda: a.sum())
        return jax.lax.cond(a[0, 0] > 0, *branches), jax.lax.cond(a[0, 0] > 0, *reversed(branches))

    for output in range(2):
        assert count_flops(lambda a, b, output=output: chosen(a, b)[output], a, b) == 2 * 3 * 5 * 7

    def alike(a):
        """Products of operands of the same shapes that differ in what is contracted, in a constant, or in a part of `a`."""
        transposed = jax.lax.dot_general(a, a, (((1,), (1,)), ((), ())))
        upper, lower = jax.lax.split(a, (2, 2))
        return a @ a, transposed, a @ np.ones((4, 4)), a @ np.zeros((4, 4)), upper @ a, lower @ a

    assert count_flops(alike, jnp.ones((4, 4))) == 2 * 4**3 * 5


@pytest.mark.parametrize("disc_steps", [1, 2])
def test_the_compiler_counts_the_flops_that_we_count(disc_steps):
    gan = make(base_width=4, disc_steps=disc_steps)
    state = jax.eval_shape(partial(create_state, gan), RNG)
    step = jax.jit(partial(train_step, with_plain_layers(gan)))
    compiler = step.lower(state, Batch(jnp.asarray(real_images(gan))), RNG).cost_analysis()["flops"]
    assert 1.0 < compiler / flops_of(gan, 8, border=False) < 1.25  # it counts what is elementwise too, most in small networks


def test_plain_flax_layers_compute_the_same_step():
    gan = make(base_width=4)
    batches = Batch(jnp.asarray(real_images(gan)))
    state = create_state(gan, RNG)
    (_, ours), (_, plain) = (compiled_step(recipe, state, batches, RNG) for recipe in (gan, with_plain_layers(gan)))
    for name, number in ours.items():
        np.testing.assert_allclose(number, plain[name], rtol=2e-4, err_msg=name)


DCGAN = {"network": "dcgan", "base_width": 4}
R3GAN = {"network": "r3gan", "widths": (8,), "blocks": 1, "group_size": 4}
RECIPES = [
    {**DCGAN, "objective": "minimax", "disc_steps": 2},
    {**DCGAN, "objective": "relativistic_average"},
    {**DCGAN, "objective": "relativistic", "norm": "none", "r1": 1.0, "r2": 0.5},
    {**DCGAN, "objective": "wasserstein", "norm": "none", "r2": 2.0},
    {"network": "resnet", "objective": "hinge", "width": 8, "disc_steps": 2},
    {"network": "sndcgan", "objective": "least_squares", "base_width": 4},
    {**R3GAN, "objective": "non_saturating", "r1": 1.0},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe['network']}-{recipe['objective']}")
def test_the_torch_baseline_does_the_same_work(recipe):
    """In each mode that is not compiled, the losses of a step from the same weights on the same images and latents."""
    torch = pytest.importorskip("torch", reason="the extra `bench`")
    from baselines import torch_step

    gan = make(**recipe)
    state, real = create_state(gan, RNG), real_images(gan)
    penalties = {penalty.__name__: float(weight(0)) for penalty, weight in gan.penalties}
    baseline = torch_step.Recipe(gan, recipe["objective"], "float32", [(2e-4, 0.5, 0.999)] * 2, penalties, real)
    step_rng = jax.random.fold_in(RNG, 0)
    keys = [jax.random.fold_in(step_rng, update) for update in range(gan.disc_steps + 1)]
    latents = [sample_latents(example_keys(key, "latents", 8), gan.latent_dim) for key in keys]
    _, metrics = compiled_step(gan, state, Batch(jnp.asarray(real)), RNG)
    penalty = sum(weight * metrics[f"penalty/{name}"] for name, weight in penalties.items())
    eager = [mode for mode in baseline.modes(state, False) if not mode.compiled]
    for mode in eager:
        trainer = torch_step.Trainer(baseline, mode, state)
        losses = [loss.item() for loss in trainer.step(*(torch.from_numpy(np.array(z)) for z in latents))]
        np.testing.assert_allclose(losses, [metrics["loss/disc"] + penalty, metrics["loss/gen"]], rtol=1e-4, err_msg=str(mode))
    if not penalties:
        assert torch_step.Trainer(baseline, eager[0], state).flops() == pytest.approx(flops_of(gan, 8), rel=0.03)


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
        assert row["model_flops"] == dcgan_flops(row["size"], 1, 4, 100, 8, 1, border=False)
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
    small = ("--config=gan_jax/configs/default.py", "--config.network.name=mlp", "--config.batch_size=8")
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
        ("--size=17", "image size 17 × 17 must be"),
        ("--baseline=tensorflow", "--baseline=tensorflow must be one of flax, torch"),
        ("--dtype=float8", "--dtype=float8 must be one of float32, bfloat16"),
        ("--config.network.name=resnet --baseline=flax", "--baseline=flax is a dcgan with Flax's own convolutions"),
        ("--config.packing=2 --baseline=torch", "--baseline=torch must have an unconditional network of square images"),
        ("--task=sample --steps_per_call=2", "--task=sample times G alone on one device"),
        ("--data=real --baseline=torch", "PyTorch has synthetic images alone"),
    ]:
        done = run_script("benchmark.py", config, *argument.split(), status=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
