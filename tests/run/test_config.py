"""A config's way into a run: every committed config builds, and every entry reaches the recipe and the dataset."""

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

from gan_jax import OBJECTIVES, make_network
from gan_jax.configs import default
from gan_jax.data import ImageDataset, StreamedDataset
from gan_jax.run.cli import load_config
from gan_jax.run.config import check_config, load_configured_images, make_configured_dataset, make_gan, resolve
from gan_jax.run.entries import changes

CONFIGS = sorted((ROOT / "experiments" / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(path: Path, tmp_path, monkeypatch):
    """An array stands in for datasets that have to be at hand; every other entry of `data` is tried."""
    config = load_config(str(path))
    check_config(config)
    if ":" in config.data.name:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        np.save(tmp_path / "images.npy", random_images(config.batch_size, 28))
        config.data.name = f"numpy:{tmp_path / 'images.npy'}"
    gan = make_gan(config)
    assert (gan.ema is not None) == bool(config.ema_decay or config.final_ema_half_life)
    assert make_configured_dataset(config).sample_shape == gan.sample_shape


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_says_what_it_asks_and_how_it_is_run(path: Path):
    header = path.read_text().split('"""')[1]
    assert f"--config=experiments/configs/{path.name}" in header


def test_every_entry_reaches_the_recipe():
    overrides = {"objective": "hinge", "latent_dim": 7, "ema_decay": 0.5, "network.name": "mlp", "network.mlp.hidden": (3, 5)}
    overrides |= {"optimizer.gen.name": "sgd", "optimizer.gen.learning_rate": 0.5, "optimizer.disc.learning_rate": 0.25}
    overrides |= {"network.dtype": "bfloat16", "disc_steps": 3, "batch_size": 6, "data.flip": True, "data.channels": 2}
    overrides |= {"packing": 2, "penalty.r1": 0.5, "penalty.every": 4, "augment": "cutout", "network.disc.mlp.hidden": (4,)}
    config = small_config(**overrides)
    gan = make_gan(config)
    assert gan.objective is OBJECTIVES["hinge"]
    assert (gan.latent_dim, gan.sample_shape, gan.disc_steps, gan.packing, gan.penalty_every) == (7, (8, 8, 2), 3, 2, 4)
    assert float(gan.ema(jnp.int32(1000))) == 0.5
    assert gan.networks.gen == make_network("gen", "mlp", (8, 8, 2), hidden=(3, 5), dtype="bfloat16")
    assert gan.networks.disc == make_network("disc", "mlp", (8, 8, 4), hidden=(4,), dtype="bfloat16")
    ((penalty, weight),) = gan.penalties
    assert (penalty.__name__, float(weight(jnp.int32(9)))) == ("r1", 0.5)
    assert float(jnp.min(jnp.abs(gan.augment(jnp.ones((1, 8, 8, 2)), jax.random.split(jax.random.key(0), 1), 0)))) == 0
    gradient = jnp.array(2.0)
    updates = [optimizer.update(gradient, optimizer.init(gradient), gradient)[0] for optimizer in gan.optimizers]
    assert float(updates[0]) == pytest.approx(-0.5 * 2.0)  # plain descent
    assert float(updates[1]) == pytest.approx(-0.25, rel=1e-4)  # Adam's first step has the size of its rate
    fetched = make_configured_dataset(config).fetch(0, 0, gan.batches_per_step)
    assert fetched["index"].shape == fetched["flip"].shape == (3, 6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dcgan", {"base_width": 6, "norm": "none"}),
        ("sndcgan", {"base_width": 6, "norm": "none"}),
        ("resnet", {"width": 6, "norm": "layer"}),
        ("r3gan", {"widths": (4, 6, 8), "blocks": 3, "group_size": 4}),
    ],
)
def test_the_options_of_a_network_reach_both_players(name, options):
    entries = {f"network.{name}.{option}": entry for option, entry in options.items()}
    gan = make_gan(small_config(**{"network.name": name, "data.image_size": 16, "num_classes": 10, **entries}))
    for player, network in gan.networks._asdict().items():
        assert network == make_network(player, name, (16, 16, 1), num_classes=10, **options)
        assert network != make_network(player, name, (16, 16, 1), num_classes=10)


def test_labels_reach_the_recipe():
    gan = make_gan(small_config(**{"data.name": "ring", "network.name": "mlp", "num_classes": 8}))
    assert (gan.num_classes, gan.networks.gen.num_classes, gan.networks.disc.num_classes) == (8, 8, 8)


def test_a_players_own_entries_are_those_of_both_until_they_are_set():
    config = default.get_config()
    config.optimizer.disc.b1 = 0.1
    config.optimizer.b1, config.network.name, config.network.gen.name = 0.3, "mlp", "dcgan"
    assert (config.optimizer.gen.b1, config.optimizer.disc.b1) == (0.3, 0.1)
    assert (config.network.gen.name, config.network.disc.name) == ("dcgan", "mlp")


def test_an_average_by_half_life_and_an_augmentation_by_chance_reach_the_recipe():
    """100 images of 8 a step, at most 0.05 of those seen; no augmentation at first, always at the end."""
    changing = {"augment": "cutout", "augment_probability": 0.0, "final_augment_probability": 1.0, "schedule.images": 80}
    gan = make_gan(small_config(ema_half_life=100.0, **changing))
    for step in (10, 1000):
        expected = 0.5 ** (8 / min(100, 0.05 * 8 * step))
        assert float(gan.ema(jnp.int32(step))) == pytest.approx(expected, rel=1e-5)
    images, keys = jnp.ones((4, 8, 8, 1)), jax.random.split(jax.random.key(0), 4)
    assert [bool(jnp.all(gan.augment(images, keys, jnp.int32(step)) == 1)) for step in (0, 10)] == [True, False]
    never = make_gan(small_config(augment="cutout", augment_probability=0.0))
    assert bool(jnp.all(never.augment(images, keys, jnp.int32(10)) == 1))


def test_how_images_are_made_reaches_the_dataset(tmp_path, monkeypatch):
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
    fetched = dataset.fetch(0, 0, 1)
    assert 0 < fetched["flip"].sum() < 8
    expected = np.where(
        fetched["flip"][0][:, None, None, None], images[fetched["index"][0], :, ::-1], images[fetched["index"][0]]
    )
    np.testing.assert_allclose(dataset.batches(0, 0).images[0], expected / 127.5 - 1, atol=1e-6)


def test_split_and_folder_of_tfds_reach_the_dataset(tmp_path, monkeypatch):
    """Another dataset of that name is where TFDS looks by default."""
    for variable, name in (("XDG_CACHE_HOME", "cache"), ("TFDS_DATA_DIR", "default")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    write_idx_set(tmp_path / "default", test=16)
    images, labels = write_idx_set(tmp_path / "data", test=12)["t10k"]
    entries = {"name": "tfds:mnist", "split": "test", "dir": str(tmp_path / "data"), "image_size": 32, "resize": False}
    config = small_config(**{f"data.{key}": entry for key, entry in entries.items()})
    dataset = make_configured_dataset(config)
    for loaded in (dataset.images, load_configured_images(config)[0]):
        assert pairs(np.asarray(loaded)[:, 2:-2, 2:-2, 0], dataset.labels) == pairs(images, labels)


def test_memory_and_workers_reach_the_dataset(tmp_path):
    """65 images of 16 KiB are more than 1 MiB, which is streamed, and less than 2."""
    np.save(tmp_path / "images.npy", random_images(65, 128))
    entries = {"data.name": f"numpy:{tmp_path / 'images.npy'}", "data.image_size": 128, "data.workers": 1}
    assert type(make_configured_dataset(small_config(**entries, **{"data.resident_mib": 2}))) is ImageDataset
    with closing(make_configured_dataset(small_config(**entries, **{"data.resident_mib": 1}))) as dataset:
        assert type(dataset) is StreamedDataset
        before = children()
        dataset.fetch(0, 0, 1)
        assert len(set(children()) - set(before)) == 1


def test_an_image_size_is_an_integer_or_a_pair_also_after_it_was_saved():
    for size, shape in ((8, (8, 8, 1)), ((8, 16), (8, 16, 1))):
        config = small_config(**{"data.image_size": size})
        saved = resolve(config)
        assert saved["data"]["image_size"] == (size if size == 8 else [8, 16])
        for each in (config, ConfigDict(saved)):
            check_config(each)
            assert make_gan(each).sample_shape == make_configured_dataset(each).sample_shape == shape
        assert changes(saved, resolve(config)) == {}
