"""The border: here a ConfigDict is checked and turned into the static recipe and the data set. Nothing below sees one."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optax
from ml_collections import ConfigDict

from gan_jax.data import (
    DATASETS,
    KINDS,
    Dataset,
    Images,
    Transform,
    is_image_set,
    load_images,
    make_dataset,
    make_sample_shape,
)
from gan_jax.errors import InputError, nearest
from gan_jax.networks import NETWORKS
from gan_jax.objectives import OBJECTIVES
from gan_jax.parallel import MODES, auto_steps_per_call, choose_devices, own_rows
from gan_jax.state import GAN, Players

OPTIMIZERS: dict[str, Callable[[ConfigDict], optax.GradientTransformation]] = {
    "adam": lambda config: optax.adam(config.learning_rate, b1=config.b1, b2=config.b2),
    "sgd": lambda config: optax.sgd(config.learning_rate),
}
DTYPES = ("float32", "bfloat16")
WATCH_ACTIONS = ("warn", "stop")

# On which devices, how long, how often, how much is kept, where data is, when to stop: a resumed run may change these.
# Anything else would make another experiment of it.
_FREE_ON_RESUME = (
    *("parallel", "steps_per_call", "num_steps", "log_every", "sample_every", "eval_every", "checkpoint_every"),
    *("keep_checkpoints", "data.dir", "data.resident_mib", "data.workers", "watch.action", "watch.steps", "watch.diversity"),
)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"data": {"name": …}} -> {"data.name": …}."""
    flat: dict[str, Any] = {}
    for key, entry in config.items():
        flat |= flatten(entry, f"{prefix}{key}.") if isinstance(entry, Mapping) else {prefix + key: entry}
    return flat


def resolve(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON: what is saved with a run, and compared with on resume."""
    resolved: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return resolved


def _identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that make an experiment what it is; the options of a network that it does not use are none of them."""
    chosen = resolved["network"]["name"]
    network = {key: entry for key, entry in resolved["network"].items() if key == chosen or not isinstance(entry, Mapping)}
    flat = flatten({**resolved, "network": network})
    return {key: entry for key, entry in flat.items() if key not in _FREE_ON_RESUME}


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """'key: old -> new' for each entry in which two resolved configs describe different experiments."""
    old, new = _identity(saved), _identity(current)
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in sorted(old | new) if old.get(key) != new.get(key)]


def steps_per_call(config: ConfigDict, gan: GAN) -> int:
    """`config.steps_per_call`, where "auto" is what suits the device and the intervals at which the loop needs the state."""
    if config.steps_per_call == "auto":
        interval = math.gcd(config.sample_every, config.checkpoint_every, config.eval_every)
        return auto_steps_per_call(gan, interval, config.batch_size * config.disc_steps)
    return int(config.steps_per_call)


class _Entries(dict[str, Any]):
    """A flat config in which a missing entry is the user's mistake."""

    def __missing__(self, key: str) -> Any:
        raise InputError(f"config.{key} is missing: begin with gan_jax/configs/default.py, which has every entry")


def check_config(config: ConfigDict) -> None:
    """Raise `InputError` at the first entry that cannot be trained with: one line with the key and what is allowed."""
    flat = _Entries(flatten(config.to_dict()))

    def check(key: str, good: bool, allowed: str) -> None:
        if not good:
            raise InputError(f"config.{key}={flat[key]}: give {allowed}")

    def check_name(key: str, names: Iterable[str]) -> None:
        check(key, flat[key] in names, f"one of {', '.join(names)}{nearest(flat[key], names)}")

    check_name("objective", OBJECTIVES)
    check_name("network.name", NETWORKS)
    check_name("network.dtype", DTYPES)
    check_name("parallel", MODES)
    check_name("watch.action", WATCH_ACTIONS)
    check("watch.diversity", 0 <= flat["watch.diversity"] < 1, "a share in [0, 1)")
    check("sync_batch_norm", isinstance(flat["sync_batch_norm"], bool), "true or false")
    if not is_image_set(flat["data.name"]):
        check_name("data.name", (*DATASETS, *(f"{kind}:{what}" for kind, what in KINDS.items())))
    for player in Players._fields:
        optimizer = f"optimizer.{player}"
        check_name(f"{optimizer}.name", OPTIMIZERS)
        check(f"{optimizer}.learning_rate", 0 < flat[f"{optimizer}.learning_rate"] < float("inf"), "a rate above 0")
        for moment in ("b1", "b2"):
            check(f"{optimizer}.{moment}", 0 <= flat[f"{optimizer}.{moment}"] < 1, "a decay in [0, 1)")
    for key in (
        *("batch_size", "latent_dim", "disc_steps", "num_steps", "num_samples"),
        *("log_every", "sample_every", "checkpoint_every", "keep_checkpoints"),
        *("data.channels", "network.dcgan.base_width", "watch.steps"),
    ):
        check(key, flat[key] >= 1, "a whole number of at least 1")
    widths = flat["network.mlp.hidden"]
    check("network.mlp.hidden", all(isinstance(width, int) and width >= 1 for width in widths), "widths such as 128,128")
    check("seed", 0 <= flat["seed"] < 2**32, "a whole number from 0 to 2**32 - 1")
    check("ema_decay", 0 <= flat["ema_decay"] < 1, "a decay in [0, 1), where 0 keeps no average")
    calls = flat["steps_per_call"]
    check("steps_per_call", calls == "auto" or (calls.isdecimal() and int(calls) >= 1), "auto or a whole number of at least 1")
    check("eval_num", flat["eval_num"] >= 100, "a whole number of at least 100")
    for key in ("eval_every", "data.resident_mib", "data.workers"):
        check(key, flat[key] >= 0, "a whole number of at least 0")
    size = flat["data.image_size"]
    check("data.image_size", size >= 8 and size & (size - 1) == 0, "a power of two of at least 8")
    if flat["network.name"] == "dcgan":
        allowed = "a set of images to config.network.name=dcgan, or take config.network.name=mlp"
        check("data.name", is_image_set(flat["data.name"]), allowed)
    choose_devices(flat["parallel"], flat["batch_size"])


def make_gan(config: ConfigDict) -> GAN:
    """The static recipe that a config describes."""
    sample_shape = make_sample_shape(config.data.name, config.data.image_size, config.data.channels)
    options = config.network[config.network.name].to_dict()
    options = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in options.items()}
    return GAN(
        networks=NETWORKS[config.network.name](sample_shape, dtype=config.network.dtype, **options),
        optimizers=Players(
            gen=OPTIMIZERS[config.optimizer.gen.name](config.optimizer.gen),
            disc=OPTIMIZERS[config.optimizer.disc.name](config.optimizer.disc),
        ),
        objective=OBJECTIVES[config.objective],
        sample_shape=sample_shape,
        latent_dim=config.latent_dim,
        ema_decay=config.ema_decay,
    )


def make_configured_dataset(config: ConfigDict) -> Dataset:
    """The data set that a config describes; of several processes, each draws its own rows."""
    options = config.data.to_dict()
    data_dir = options.pop("dir")
    options |= {"batch_size": config.batch_size, "disc_steps": config.disc_steps}
    return make_dataset(data_dir=data_dir, rows=own_rows(config.parallel, config.batch_size), **options)


def load_configured_images(config: ConfigDict, split: str = "") -> Images:
    """uint8 images `[N, S, S, C]` and labels `[N]` or None of a split, by default the one that the config trains on.

    Raises:
        InputError: no such split, or the data are no images.
    """
    name = config.data.name
    if not is_image_set(name):
        raise InputError(f"config.data.name={name}: no images; give a set of images")
    if split and not name.startswith("tfds:") and split != config.data.split:
        raise InputError(f"split={split}: {name} has one part only; sets of TFDS have others")
    transform = Transform(config.data.image_size, config.data.channels, config.data.resize, config.data.background)
    return load_images(name, transform, split=split or config.data.split, data_dir=config.data.dir)
