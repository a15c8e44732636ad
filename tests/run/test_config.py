"""Config validation: every committed config builds, and every mistake is one line that names the key and the remedy."""

import functools
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

from gan_jax import OBJECTIVES, create_state, make_network
from gan_jax.configs import default
from gan_jax.data import ImageDataset, StreamedDataset
from gan_jax.errors import InputError
from gan_jax.run.checks import flatten
from gan_jax.run.cli import load_config
from gan_jax.run.config import (
    check_config,
    load_configured_images,
    make_configured_dataset,
    make_gan,
    make_schedules,
    resolve,
)
from gan_jax.run.entries import changes, describe
from gan_jax.schedules import cosine

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
    state = jax.eval_shape(lambda: create_state(gan, jax.random.key(0)))
    assert (state.ema is not None) == bool(config.ema_decay or config.final_ema_half_life)
    assert make_configured_dataset(config).sample_shape == gan.sample_shape


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_says_what_it_asks_and_how_it_is_run(path: Path):
    header = path.read_text().split('"""')[1]
    assert f"--config=experiments/configs/{path.name}" in header


@pytest.mark.parametrize(
    ("key", "entry", "allowed"),
    [
        ("data.image_size", 4, "an integer ≥ 6, or two, height and width"),
        ("data.image_size", (32, 4), "an integer ≥ 6, or two"),
        ("data.image_size", (32, 32, 32), "an integer, or two, height and width, such as 32,64, not tuple"),
        ("data.image_size", "32x64", "an integer, or two, height and width, such as 32,64, not str"),
        ("batch_size", 0, "an integer ≥ 1"),
        ("latent_dim", 0, "an integer ≥ 1"),
        ("disc_steps", 0, "an integer ≥ 1"),
        ("packing", 0, "an integer ≥ 1"),
        ("num_steps", 0, "an integer ≥ 1"),
        ("log_every", 0, "an integer ≥ 1"),
        ("data.channels", 0, "an integer ≥ 1"),
        ("num_classes", -1, "an integer ≥ 0"),
        ("penalty.r1", -1.0, "a number ≥ 0"),
        ("penalty.final_r2", -1.0, "a number ≥ 0"),
        ("penalty.every", 0, "an integer ≥ 1"),
        ("ema_half_life", -1.0, "a number ≥ 0"),
        ("augment_probability", 1.5, "a probability in"),
        ("optimizer.gen.final_b2", 1.0, "a decay in"),
        ("optimizer.gen.learning_rate", 0.0, "a rate > 0"),
        ("optimizer.disc.learning_rate", -1.0, "a rate > 0"),
        ("optimizer.disc.learning_rate", float("nan"), "a rate > 0"),
        ("optimizer.gen.b1", 1.0, r"a decay in \[0, 1\)"),
        ("ema_decay", 1.0, r"a decay in \[0, 1\)"),
        ("steps_per_call", "0", "auto or an integer"),
        ("steps_per_call", "many", "auto or an integer"),
        ("seed", -1, "an integer from 0"),
        ("objective", "minmax", "one of minimax, non_saturating, .*; did you mean minimax"),
        ("schedule.shape", "cosin", "one of cosine.*; did you mean cosine"),
        ("parallel", "pmpa", "one of auto, jit, pmap, shard_map; did you mean pmap"),
        ("network.gen.dtype", "float16", "one of float32, bfloat16; did you mean bfloat16"),
        ("optimizer.gen.name", "adm", "one of adam, sgd; did you mean adam"),
        ("data.name", "mnist6k", "one of mnist5k, mnist, crossfire, emoji, ring, grid, tfds:NAME, .*; did you mean mnist5k"),
        ("data.name", "tfds:", "one of mnist5k, mnist, crossfire, emoji, ring, grid, tfds:NAME, folder:PATH, numpy:FILE"),
        ("data.resident_mib", -1, "an integer ≥ 0"),
        ("data.workers", -1, "an integer ≥ 0"),
    ],
)
def test_bad_values_are_named_before_any_work(key, entry, allowed):
    with pytest.raises(InputError, match=allowed) as error:
        check_config(small_config(**{key: entry}))
    assert f"config.{key}=" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.name": "ring"}, r"config\.network\.gen: network dcgan makes images.*choose mlp, or an image dataset"),
        (
            {"data.image_size": 30},
            r"config\.network\.gen: network dcgan: image size 30 × 30 must be .*; nearest: 28 × 28 and 32 × 32; set config",
        ),
        ({"network.name": "dcgn"}, r"config\.network\.gen: network dcgn must be one of dcgan, mlp.*; did you mean dcgan"),
        ({"network.disc.dcgan.base_width": 0}, r"config\.network\.disc: network dcgan: base_width=0 must be an integer ≥ 1"),
        (
            {"network.disc.dcgan.norm": "btch"},
            r"config\.network\.disc: .*norm=btch must be one of batch, none, layer, spectral; did you mean batch",
        ),
        (
            {"network.name": "mlp", "network.mlp.hidden": (8, 0)},
            r"config\.network\.gen: .*must be integers ≥ 1, such as 128,128",
        ),
        (
            {"network.dcgan.norm": "spectral"},
            r"config\.network\.gen: .*norm=spectral is for the discriminator only.*config\.network\.disc\.dcgan\.norm",
        ),
        (
            {"penalty.r1": 1.0, "data.image_size": 16},
            r"config\.network\.disc\.dcgan\.norm=none \(or layer, spectral\), or the weights in config\.penalty to 0",
        ),
        (
            {"network.name": "sndcgan"},
            r"config\.network\.gen: network sndcgan: image size 8 × 8 must be .*; nearest: 16 × 16; ",
        ),
        ({"network.name": "resnet", "network.disc.resnet.width": 0}, r"config\.network\.disc: network resnet: width=0 must be"),
        (
            {"network.name": "r3gan", "network.r3gan.group_size": 7},
            r"config\.network\.gen: network r3gan: group_size=7 must divide 2 × 96, for widths=\(96,\)",
        ),
        ({"num_classes": 10, "packing": 2, "network.name": "mlp"}, "num_classes > 0 and packing > 1"),
        ({"packing": 3}, r"config\.batch_size=8 must be a multiple of config\.packing=3"),
        ({"penalty.final_r1": 0.1}, r"config\.schedule\.images=0 must be ≥ 1 where config\.penalty\.final_r1 is set"),
        ({"ema_decay": 0.9, "ema_half_life": 100.0}, r"config\.ema_decay=0\.9 must be 0 where config\.ema_half_life is set"),
        (
            {"data.name": "ring", "network.name": "mlp", "augment": "cutout"},
            r'config\.augment=cutout is for images, but the samples are \(2,\): set it to ""',
        ),
        ({"augment": "colour"}, "augment=colour: colour must be one of color, translation, cutout; did you mean color"),
    ],
)
def test_entries_that_exclude_one_another_are_one_line(overrides, message):
    with pytest.raises(InputError, match=message) as error:
        check_config(small_config(**overrides))
    assert "\n" not in str(error.value)


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


def test_schedules_count_steps_for_both_players_and_end_at_their_images():
    """Over 2,400 images of 8 × 3 a step: 100 steps; D's optimiser counts three updates for each."""
    overrides = {"disc_steps": 3, "schedule.images": 2400, "penalty.r1": 1.0, "penalty.final_r1": 0.1}
    overrides |= {"optimizer.name": "sgd", "optimizer.learning_rate": 1.0, "optimizer.final_learning_rate": 0.5}
    config = small_config(**overrides, **{"network.disc.dcgan.norm": "none"})
    schedules, gan = make_schedules(config), make_gan(config)
    assert set(schedules) == {"penalty_weight/r1", "learning_rate/gen", "learning_rate/disc"}
    for step in (0, 30, 100, 400):
        assert float(gan.penalties[0][1](jnp.int32(step))) == pytest.approx(float(cosine(1.0, 0.1, 100)(jnp.int32(step))))
        for player, updates in (("gen", 1), ("disc", 3)):
            optimizer = getattr(gan.optimizers, player)
            state = jax.tree.map(lambda leaf: jnp.int32(step * updates + updates - 1), optimizer.init(jnp.zeros(())))  # noqa: B023
            update, _ = optimizer.update(jnp.array(1.0), state)
            assert float(update) == pytest.approx(-float(cosine(1.0, 0.5, 100)(jnp.int32(step)))), (player, step)


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


def test_a_scheduled_b2_is_adams_at_each_count():
    """Adam with b2 from 0.9 to 0.99 over two steps: moments decay, and are corrected, by the b2 of the count."""
    scheduled = {"optimizer.b2": 0.9, "optimizer.final_b2": 0.99, "schedule.images": 16, "optimizer.b1": 0.0}
    config = small_config(**scheduled, **{"schedule.shape": "linear"})
    optimizer, second = make_gan(config).optimizers.gen, 0.0
    state = optimizer.init(jnp.zeros(()))
    assert set(make_schedules(config)) == {"b2/gen", "b2/disc"}
    for count, (gradient, b2) in enumerate(((1.0, 0.9), (-2.0, 0.945), (0.5, 0.99)), start=1):
        update, state = optimizer.update(jnp.array(gradient), state)
        second = b2 * second + (1 - b2) * gradient**2
        assert float(update) == pytest.approx(-2e-4 * gradient / np.sqrt(second / (1 - b2**count)), rel=1e-4)


def test_a_state_goes_on_under_the_constants_of_a_changed_config_where_b2_is_scheduled():
    """A gradient of 0 moves by the first moment alone, -rate · b1 · m̂ / √v̂: the rate and b1 are those of the new config."""
    old, new = (
        make_gan(
            small_config(
                **{"optimizer.learning_rate": rate, "optimizer.b1": b1, "optimizer.final_b2": 0.9, "schedule.images": 16}
            )
        ).optimizers.gen
        for rate, b1 in ((0.5, 0.25), (0.125, 0.75))
    )
    _, state = old.update(jnp.array(2.0), old.init(jnp.zeros(())))
    update, continued = new.update(jnp.array(0.0), state)
    b2 = continued.hyperparams["b2"]
    first, second = 0.75 * 0.75 * 2.0, b2 * (1 - 0.999) * 4.0
    expected = -0.125 * (first / (1 - 0.75**2)) / np.sqrt(second / (1 - b2**2))
    assert float(update) == pytest.approx(float(expected), rel=1e-3)
    assert jax.tree.structure(continued) == jax.tree.structure(state)


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


def test_a_config_that_lacks_an_entry_is_named():
    config = ConfigDict(small_config().to_dict())
    del config.objective
    with pytest.raises(InputError, match=r"config\.objective is missing"):
        check_config(config)


def test_an_image_size_is_an_integer_or_a_pair_also_after_it_was_saved():
    for size, shape in ((8, (8, 8, 1)), ((8, 16), (8, 16, 1))):
        config = small_config(**{"data.image_size": size})
        saved = resolve(config)
        assert saved["data"]["image_size"] == (size if size == 8 else [8, 16])
        for each in (config, ConfigDict(saved)):
            check_config(each)
            assert make_gan(each).sample_shape == make_configured_dataset(each).sample_shape == shape
        assert changes(saved, resolve(config)) == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"batch_size": "64"}, "config.batch_size=64 must be an integer below 2**63, not str"),
        ({"batch_size": True}, "config.batch_size=True must be an integer below 2**63, not bool"),
        ({"batch_size": 2**20000}, "config.batch_size=an integer of 20001 bits must be an integer below"),
        ({"latent_dim": 4.0}, "config.latent_dim=4.0 must be an integer below 2**63, not float"),
        ({"data.name": ["mnist5k"]}, "config.data.name=['mnist5k'] must be text that a path can have, not list"),
        ({"data.dir": "a\0b"}, "must be text that a path can have"),
        ({"data.dir": "\ud800"}, "must be text that a path can have"),
        ({"objective": print}, "must be text that a path can have, not builtin_function_or_method"),
        ({"ema_decay": np.float32(0.5)}, "config.ema_decay=0.5 must be a number, not float32"),
        ({"ema_decay": None}, "config.ema_decay=None must be a number, not NoneType"),
        ({"penalty.final_r1": "1"}, "config.penalty.final_r1=1 must be a number or None, not str"),
        ({"sync_batch_norm": 1}, "config.sync_batch_norm=1 must be true or false, not int"),
        ({"network.gen.mlp.hidden": [8, "8"]}, "must be at most 256 integers, such as 128,128, not list"),
        ({"network.gen.mlp.hidden": (8,) * 1000}, "must be at most 256 integers, such as 128,128, not tuple"),
        ({"network.gen.r3gan.blocks": 10**6}, "config.network.gen.r3gan.blocks=1000000 must be an integer from 1 to 256"),
        ({"seed": {"a": 1}}, "config.seed is missing"),
        ({"data": 3}, "config.data.background is missing and 9 more"),
        ({"data.nam": 3}, "config.data.nam: no such entry; did you mean data.name?"),
        ({"seed": "a", "batch_size": "b"}, "config.batch_size=b must be an integer below 2**63, not str; config.seed=a must"),
        ({"steps_per_call": "9" * 10000}, "config.steps_per_call=9999"),
    ],
)
def test_entries_of_another_type_are_named_all_at_once(entries, message):
    """Whatever is in a config; it is checked before any of it is used."""
    config = small_config().to_dict()
    for key, entry in entries.items():
        section, _, name = key.rpartition(".")
        (functools.reduce(dict.get, section.split("."), config) if section else config)[name] = entry
    with pytest.raises(InputError) as error:
        check_config(ConfigDict(config, convert_dict=True))
    assert message in str(error.value)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def test_a_section_that_contains_itself_is_one_line():
    config = ConfigDict(small_config().to_dict())
    with config.unlocked():
        config.data.data = config
    with pytest.raises(InputError, match="config"):
        check_config(config)


def test_a_variant_cannot_add_a_key_by_mistake():
    with pytest.raises(AttributeError, match="num_step"):
        small_config().num_step = 3


def test_differences_name_what_would_change_the_experiment():
    saved = resolve(small_config())
    changed = resolve(small_config(objective="minimax", **{"network.disc.dcgan.base_width": 3}))
    named = "network.disc.dcgan.base_width: 4 -> 3, objective: non_saturating -> minimax"
    assert describe(changes(saved, changed)) == named


@pytest.mark.parametrize("key", [*flatten(default.loop()), *flatten(default.host())])
def test_how_a_run_is_run_is_free_on_resume(key):
    saved = resolve(small_config())
    assert changes(saved, {**saved, **_with(saved, key, "another")}) == {}


def test_every_entry_of_the_experiment_makes_a_difference():
    """Those of both players through the players' own, and a network's options where it is used."""
    saved = resolve(small_config(**{"network.disc.name": "mlp"}))
    for key in flatten(resolve(ConfigDict(default.experiment()))):
        section, _, rest = key.partition(".")
        unused = (
            section == "network" and key.count(".") == 3 and not key.startswith(("network.gen.dcgan.", "network.disc.mlp."))
        )
        for_both = section in ("network", "optimizer") and not rest.startswith(("gen", "disc"))
        changed = changes(saved, {**saved, **_with(saved, key, "another")})
        assert bool(changed) != (for_both or unused), (key, changed)
        assert all(each.startswith((key, f"{key.removesuffix('.name')}.")) for each in changed), (key, changed)


def _with(nested, key, entry):
    """The section of a nested config in which this key has another entry."""
    first, _, rest = key.partition(".")
    return {first: {**nested[first], **_with(nested[first], rest, entry)}} if rest else {first: entry}


def test_options_of_a_network_that_is_not_used_make_no_difference():
    assert changes(resolve(small_config()), resolve(small_config(**{"network.mlp.hidden": (3,)}))) == {}
