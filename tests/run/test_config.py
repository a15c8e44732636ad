"""The border: every committed config builds, and every mistake is one line that names the key and the remedy."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict
from small import random_images, small_config

from gan_jax import NETWORKS, OBJECTIVES, create_state
from gan_jax.errors import InputError
from gan_jax.run.cli import load_config
from gan_jax.run.config import check_config, differences, make_configured_dataset, make_gan, resolve

CONFIGS = sorted((ROOT / "experiments" / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(path: Path, tmp_path, monkeypatch):
    """Sets that have to be at hand are stood in for by an array, in which every other entry of `data` is tried."""
    config = load_config(str(path))
    check_config(config)
    if ":" in config.data.name:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        np.save(tmp_path / "images.npy", random_images(config.batch_size, 28))
        config.data.name = f"numpy:{tmp_path / 'images.npy'}"
    gan = make_gan(config)
    state = jax.eval_shape(lambda: create_state(gan, jax.random.key(0)))
    assert (state.ema is not None) == (config.ema_decay > 0)
    assert make_configured_dataset(config).sample_shape == gan.sample_shape


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_says_what_it_asks_and_how_it_is_run(path: Path):
    header = path.read_text().split('"""')[1]
    assert f"--config=experiments/configs/{path.name}" in header


@pytest.mark.parametrize(
    ("key", "entry", "allowed"),
    [
        ("data.image_size", 24, "a power of two of at least 8"),
        ("data.image_size", 4, "a power of two of at least 8"),
        ("data.image_size", -8, "a power of two of at least 8"),
        ("batch_size", 0, "at least 1"),
        ("latent_dim", 0, "at least 1"),
        ("disc_steps", 0, "at least 1"),
        ("num_steps", 0, "at least 1"),
        ("log_every", 0, "at least 1"),
        ("data.channels", 0, "at least 1"),
        ("network.dcgan.base_width", 0, "at least 1"),
        ("network.mlp.hidden", (8, 0), "widths such as 128,128"),
        ("optimizer.gen.learning_rate", 0.0, "a rate above 0"),
        ("optimizer.disc.learning_rate", -1.0, "a rate above 0"),
        ("optimizer.disc.learning_rate", float("nan"), "a rate above 0"),
        ("optimizer.gen.b1", 1.0, r"a decay in \[0, 1\)"),
        ("ema_decay", 1.0, r"a decay in \[0, 1\)"),
        ("steps_per_call", "0", "auto or a whole number"),
        ("steps_per_call", "many", "auto or a whole number"),
        ("seed", -1, "a whole number from 0"),
        ("objective", "minmax", "one of minimax, non_saturating; did you mean minimax"),
        ("network.name", "dcgn", "one of dcgan, mlp; did you mean dcgan"),
        ("parallel", "pmpa", "one of auto, jit, pmap, shard_map; did you mean pmap"),
        ("network.dtype", "float16", "one of float32, bfloat16; did you mean bfloat16"),
        ("optimizer.gen.name", "adm", "one of adam, sgd; did you mean adam"),
        ("data.name", "mnist", "one of mnist5k, ring, grid, tfds:NAME, .*; did you mean mnist5k"),
        ("data.name", "tfds:", "one of mnist5k, ring, grid, tfds:NAME, folder:PATH, numpy:FILE"),
        ("data.name", "ring", "network.name=mlp"),
        ("data.resident_mib", -1, "a whole number of at least 0"),
        ("data.workers", -1, "a whole number of at least 0"),
    ],
)
def test_bad_values_are_named_before_any_work(key, entry, allowed):
    with pytest.raises(InputError, match=allowed) as error:
        check_config(small_config(**{key: entry}))
    assert f"config.{key}=" in str(error.value)
    assert "\n" not in str(error.value)


def test_every_entry_reaches_the_recipe():
    overrides = {"objective": "minimax", "latent_dim": 7, "ema_decay": 0.5, "network.name": "mlp", "network.mlp.hidden": (3, 5)}
    overrides |= {"optimizer.gen.name": "sgd", "optimizer.gen.learning_rate": 0.5, "optimizer.disc.learning_rate": 0.25}
    overrides |= {"network.dtype": "bfloat16", "disc_steps": 3, "batch_size": 6, "data.flip": True, "data.channels": 2}
    config = small_config(**overrides)
    gan, dataset = make_gan(config), make_configured_dataset(config)
    assert gan.objective is OBJECTIVES["minimax"]
    assert (gan.latent_dim, gan.ema_decay, gan.sample_shape) == (7, 0.5, (8, 8, 2))
    assert gan.networks == NETWORKS["mlp"]((8, 8, 2), hidden=(3, 5), dtype="bfloat16")
    gradient = jnp.array(2.0)
    updates = [optimizer.update(gradient, optimizer.init(gradient), gradient)[0] for optimizer in gan.optimizers]
    assert float(updates[0]) == pytest.approx(-0.5 * 2.0)  # plain descent
    assert float(updates[1]) == pytest.approx(-0.25, rel=1e-4)  # Adam's first step has the size of its rate
    draw = dataset.draw(0, 0)
    assert draw["index"].shape == draw["flip"].shape == (3, 6)


def test_a_config_that_lacks_an_entry_is_named():
    config = ConfigDict(small_config().to_dict())
    del config.objective
    with pytest.raises(InputError, match=r"config\.objective is missing"):
        check_config(config)


def test_a_variant_cannot_add_a_key_by_mistake():
    with pytest.raises(AttributeError, match="num_step"):
        small_config().num_step = 3


def test_differences_name_what_would_change_the_experiment():
    saved = resolve(small_config())
    assert differences(saved, resolve(small_config(num_steps=99, log_every=1, **{"data.resident_mib": 0}))) == []
    changed = resolve(small_config(objective="minimax", **{"network.dcgan.base_width": 3}))
    assert differences(saved, changed) == ["network.dcgan.base_width: 4 -> 3", "objective: non_saturating -> minimax"]


def test_options_of_a_network_that_is_not_used_make_no_difference():
    assert differences(resolve(small_config()), resolve(small_config(**{"network.mlp.hidden": (3,)}))) == []
