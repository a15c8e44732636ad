"""Every mistake in a config is one line that names the key and the remedy, before any work."""

import functools

import numpy as np
import pytest
from ml_collections import ConfigDict
from small import small_config

from gan_jax.errors import InputError
from gan_jax.run.config import check_config


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
        ("sample_every", 0, "an integer ≥ 1"),
        ("checkpoint_every", 0, "an integer ≥ 1"),
        ("keep_checkpoints", 0, "an integer ≥ 1"),
        ("num_samples", 0, "an integer ≥ 1"),
        ("watch.steps", 0, "an integer ≥ 1"),
        ("watch.action", "stopp", "one of warn, stop; did you mean stop"),
        ("watch.diversity", 1.0, r"a share in \[0, 1\)"),
        ("eval_every", -1, "an integer ≥ 0"),
        ("eval_num", 99, "an integer ≥ 100"),
        ("schedule.images", -1, "an integer ≥ 0"),
        ("ema_ramp_up", -1.0, "a number ≥ 0"),
        ("optimizer.disc.b2", 1.0, r"a decay in \[0, 1\)"),
        ("seed", 2**32, "an integer from 0"),
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
        (
            {"augment_probability": 0.0, "final_augment_probability": 0.5, "schedule.images": 9},
            r"config\.augment= must be set where config\.final_augment_probability is",
        ),
        (
            {"optimizer.gen.name": "sgd", "optimizer.gen.final_b2": 0.5, "schedule.images": 9},
            r"config\.optimizer\.gen\.final_b2=0\.5 must be None for sgd, which has no b2",
        ),
        ({"penalty.final_r1": 0.1}, r"config\.schedule\.images=0 must be ≥ 1 where config\.penalty\.final_r1 is set"),
        (
            {"ema_decay": 0.9, "final_ema_half_life": 0.0, "schedule.images": 9},
            r"config\.ema_decay=0\.9 must be 0 where config\.ema_half_life is set",
        ),
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


def test_a_config_that_lacks_an_entry_is_named():
    config = ConfigDict(small_config().to_dict())
    del config.objective
    with pytest.raises(InputError, match=r"config\.objective is missing"):
        check_config(config)


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
