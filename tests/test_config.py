"""The border: every committed config builds, and every mistake is one line that names the key and the remedy."""

from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict
from PIL import Image
from small import random_images, small_config
from test_streaming import children
from test_tfds import pairs, write_idx_set

from gan_jax import NETWORKS, OBJECTIVES, create_state
from gan_jax.cli import check_overrides, load_config
from gan_jax.config import check_config, differences, load_configured_images, make_configured_dataset, make_gan, resolve
from gan_jax.data import ImageDataset, StreamedDataset
from gan_jax.errors import InputError

CONFIGS = sorted((ROOT / "experiments" / "configs").glob("*.py"))
DEFAULT = "from configs import default\ndef get_config():\n  config = default.get_config()\n"
MNIST = str(ROOT / "experiments" / "configs" / "mnist.py")


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


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.num_stepz=3", "--config.num_stepz: no such entry; did you mean num_steps"),
        ("--config.network.bas_width=3", "no such entry"),
        ("--config.data=mnist5k", "its entries are data.background, data.channels"),
        ("--config.num_steps=abc", "--config.num_steps=abc: give a whole number"),
        ("--config.num_steps=1.5", "give a whole number"),
        ("--config.num_steps", "give a whole number"),
        ("--config.ema_decay=much", "give a number"),
        ("--config.data.flip=maybe", "give true or false"),
        ("--config.network.mlp.hidden=8,x", "give whole numbers such as 128,128"),
        ("--config.objective=", "give a name"),
    ],
)
def test_bad_overrides_are_named(argument, message):
    with pytest.raises(InputError, match=message):
        check_overrides(["train.py", f"--config={MNIST}", argument])


@pytest.mark.parametrize(
    "argument",
    [
        "--config.num_steps=3",
        "--config.ema_decay=1",
        "--config.data.flip",
        "--noconfig.data.flip",
        "--config.network.mlp.hidden=8,8",
    ],
)
def test_good_overrides_pass(argument):
    check_overrides(["train.py", f"--config={MNIST}", argument])
    check_overrides(["train.py", "--config", MNIST, *argument.split("=")])


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


def test_b1_and_b2_of_each_player_reach_adam():
    """Three updates on given gradients are those of Adam as Kingma and Ba wrote it down."""
    decays = {"gen": (0.3, 0.8), "disc": (0.6, 0.95)}
    overrides = {f"optimizer.{player}.b{i + 1}": pair[i] for player, pair in decays.items() for i in range(2)}
    optimizers = make_gan(small_config(**overrides)).optimizers._asdict()
    for player, (b1, b2) in decays.items():
        state, first, second = optimizers[player].init(jnp.zeros(())), 0.0, 0.0
        for count, gradient in enumerate((1.0, -2.0, 0.5), start=1):
            update, state = optimizers[player].update(jnp.array(gradient), state)
            first, second = b1 * first + (1 - b1) * gradient, b2 * second + (1 - b2) * gradient**2
            expected = -2e-4 * first / (1 - b1**count) / np.sqrt(second / (1 - b2**count))
            assert float(update) == pytest.approx(expected, rel=1e-4), (player, count)


def test_how_images_are_made_reaches_the_data_set(tmp_path, monkeypatch):
    """Twelve by ten, half of it transparent, in the middle of 16 × 16 on orange; some are mirrored."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    orange, pixels = (255, 136, 0), random_images(8, 12, 4)[:, 1:-1]
    pixels[..., 3] = np.where(np.arange(12) < 6, 255, 0)
    (tmp_path / "images").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{index}.png")
    made = {"name": f"folder:{tmp_path / 'images'}", "image_size": 16, "channels": 3}
    made |= {"resize": False, "background": "#ff8800", "flip": True}
    config = small_config(**{f"data.{key}": entry for key, entry in made.items()})
    images = np.full((8, 16, 16, 3), orange, np.uint8)
    images[:, 3:13, 2:8] = pixels[:, :, :6, :3]
    np.testing.assert_array_equal(load_configured_images(config)[0], images)
    dataset = make_configured_dataset(config)
    draw = dataset.draw(0, 0)
    assert 0 < draw["flip"].sum() < 8
    expected = np.where(draw["flip"][0][:, None, None, None], images[draw["index"][0], :, ::-1], images[draw["index"][0]])
    np.testing.assert_allclose(dataset.batches(0, 0)["images"][0], expected / 127.5 - 1, atol=1e-6)


def test_split_and_folder_of_tfds_reach_the_data_set(tmp_path, monkeypatch):
    """Another set of that name is where TFDS looks by default."""
    for variable, name in (("XDG_CACHE_HOME", "cache"), ("TFDS_DATA_DIR", "default")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    write_idx_set(tmp_path / "default", test=16)
    images, labels = write_idx_set(tmp_path / "data", test=12)["t10k"]
    entries = {"name": "tfds:mnist", "split": "test", "dir": str(tmp_path / "data"), "image_size": 32, "resize": False}
    config = small_config(**{f"data.{key}": entry for key, entry in entries.items()})
    dataset = make_configured_dataset(config)
    for found in (dataset.images, load_configured_images(config)[0]):
        assert pairs(np.asarray(found)[:, 2:-2, 2:-2, 0], dataset.labels) == pairs(images, labels)


def test_memory_and_workers_reach_the_data_set(tmp_path):
    """65 images of 16 KiB are more than 1 MiB, which is streamed, and less than 2."""
    np.save(tmp_path / "images.npy", random_images(65, 128))
    entries = {"data.name": f"numpy:{tmp_path / 'images.npy'}", "data.image_size": 128, "data.workers": 1}
    assert type(make_configured_dataset(small_config(**entries, **{"data.resident_mib": 2}))) is ImageDataset
    with closing(make_configured_dataset(small_config(**entries, **{"data.resident_mib": 1}))) as dataset:
        assert type(dataset) is StreamedDataset
        before = children()
        dataset.draw(0, 0)
        assert len(set(children()) - set(before)) == 1


def test_a_config_that_lacks_an_entry_is_named():
    config = ConfigDict(small_config().to_dict())
    del config.objective
    with pytest.raises(InputError, match=r"config\.objective is missing"):
        check_config(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1", "KeyError: 'get_config'"),
        ("def get_config(): return None", "gives no ConfigDict"),
        (
            "from configs import default\ndef get_config():\n  c = default.get_config()\n  c.num_step = 3\n  return c",
            "num_step",
        ),
        (
            "from configs import default\ndef get_config():\n  c = default.get_config()\n  c.num_steps = 'x'\n  return c",
            "TypeError",
        ),
    ],
)
def test_broken_config_files_are_named_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_config(str(tmp_path / "broken.py"))
    assert "broken.py" in str(error.value)


def test_missing_config_files_are_named_with_what_there_is():
    with pytest.raises(InputError, match=r"give a config file"):
        check_overrides(["train.py"])
    with pytest.raises(InputError, match=r"configs: no such file; there is .*mnist\.py"):
        check_overrides(["train.py", f"-config={MNIST.rpartition('/')[0]}"])
    with pytest.raises(InputError, match=r"mnst\.py: no such file; there is .*mnist\.py"):
        check_overrides(["train.py", f"--config={MNIST.replace('mnist', 'mnst')}"])


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
