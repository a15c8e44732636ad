"""The border: every committed config builds, and every mistake is one line that names the key and the remedy."""

from pathlib import Path

import jax
import pytest
from conftest import ROOT
from small import small_config

from gan_jax import create_state
from gan_jax.cli import check_overrides, load_config
from gan_jax.config import check_config, differences, make_configured_dataset, make_gan, resolve
from gan_jax.errors import InputError

CONFIGS = sorted((ROOT / "experiments" / "configs").glob("*.py"))
MNIST = str(ROOT / "experiments" / "configs" / "mnist.py")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(path: Path):
    config = load_config(str(path))
    check_config(config)
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
        ("network.dtype", "float16", "one of float32, bfloat16; did you mean bfloat16"),
        ("optimizer.gen.name", "adm", "one of adam, sgd; did you mean adam"),
        ("data.name", "mnist", "one of mnist5k, ring, grid; did you mean mnist5k"),
        ("data.name", "ring", "network.name=mlp"),
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
        ("--config.data=mnist5k", "its entries are data.channels"),
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


def test_missing_config_files_are_named_with_what_there_is():
    with pytest.raises(InputError, match=r"give a config file"):
        check_overrides(["train.py"])
    with pytest.raises(InputError, match=r"mnst\.py: no such file; there is .*mnist\.py"):
        check_overrides(["train.py", f"--config={MNIST.replace('mnist', 'mnst')}"])


def test_a_variant_cannot_add_a_key_by_mistake():
    with pytest.raises(AttributeError, match="num_step"):
        small_config().num_step = 3


def test_differences_name_what_would_change_the_experiment():
    saved = resolve(small_config())
    assert differences(saved, resolve(small_config(num_steps=99, log_every=1))) == []
    changed = resolve(small_config(objective="minimax", **{"network.mlp.hidden": (3,)}))
    assert differences(saved, changed) == ["network.mlp.hidden: [128, 128] -> [3]", "objective: non_saturating -> minimax"]
