"""Config validation: here a ConfigDict is checked and turned into the recipe and the dataset. Nothing below sees one."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import optax
from ml_collections import ConfigDict

from gan_jax.augment import diffaugment
from gan_jax.configs import default
from gan_jax.data import (
    DATASETS,
    Dataset,
    Images,
    Transform,
    has_splits,
    is_image_dataset,
    load_images,
    make_dataset,
    make_sample_shape,
    may_have_labels,
)
from gan_jax.errors import InputError, nearest
from gan_jax.networks import DTYPES, make_network
from gan_jax.objectives import OBJECTIVES
from gan_jax.parallel import MODES, auto_steps_per_call, choose_devices, process_slice
from gan_jax.penalties import PENALTIES
from gan_jax.schedules import SHAPES, Schedule, constant, half_life_decay, warmed_up_decay
from gan_jax.state import GAN, Players, abstract_state


def _adam(rate: Any, b1: float, b2: Any) -> optax.GradientTransformation:
    # Only this wrapper lets b2 be a function of the count; it keeps the numbers in the state.
    return optax.inject_hyperparams(optax.adam)(rate, b1=b1, b2=b2) if callable(b2) else optax.adam(rate, b1=b1, b2=b2)


OPTIMIZERS: dict[str, Callable[[Any, float, Any], optax.GradientTransformation]] = {
    "adam": _adam,
    "sgd": lambda rate, b1, b2: optax.sgd(rate),
}
"""Name -> `make(learning rate, b1, b2)`; the rate and b2 are numbers, or functions of the optimiser's count."""

WATCH_ACTIONS = ("warn", "stop")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map {"data": {"name": ...}} to {"data.name": ...}."""
    flat: dict[str, Any] = {}
    for key, entry in config.items():
        flat |= flatten(entry, f"{prefix}{key}.") if isinstance(entry, Mapping) else {prefix + key: entry}
    return flat


def resolve(config: ConfigDict) -> dict[str, Any]:
    """Return the config as plain JSON: what is saved with a run, and compared with on resume."""
    resolved: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return resolved


def shared_entries(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return, flat, all entries but those that each host has for itself."""
    return {key: entry for key, entry in flatten(resolved).items() if key not in flatten(default.host())}


def _identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the experiment, without the options of networks that it does not use."""
    networks = {player: _used(resolved["network"][player]) for player in Players._fields}
    optimizers = {player: resolved["optimizer"][player] for player in Players._fields}
    flat = shared_entries({**resolved, "network": networks, "optimizer": optimizers})
    return {key: entry for key, entry in flat.items() if key not in flatten(default.loop())}


def _used(network: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in network.items() if key == network["name"] or not isinstance(entry, Mapping)}


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return 'key: old -> new' for each entry in which two resolved configs describe different experiments."""
    old, new = _identity(saved), _identity(current)
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in sorted(old | new) if old.get(key) != new.get(key)]


class _Entries(dict[str, Any]):
    """A flat config in which a missing entry is the user's mistake."""

    def __missing__(self, key: str) -> Any:
        raise InputError(f"config.{key} is missing: begin with gan_jax/configs/default.py, which has every entry")


def check_config(config: ConfigDict) -> None:
    """Raise `InputError` at the first entry that cannot be trained with: one line with the key and what is allowed."""
    flat = _Entries(flatten(config.to_dict()))

    def check(key: str, good: bool, allowed: str) -> None:
        if not good:
            raise InputError(f"config.{key}={flat[key]} must be {allowed}")

    def check_name(key: str, names: Iterable[str]) -> None:
        check(key, flat[key] in names, f"one of {', '.join(names)}{nearest(flat[key], names)}")

    for missing in flatten(default.get_config().to_dict()).keys() - flat.keys():
        flat[missing]
    check_name("objective", OBJECTIVES)
    check_name("parallel", MODES)
    check_name("watch.action", WATCH_ACTIONS)
    check_name("schedule.shape", SHAPES)
    check("watch.diversity", 0 <= flat["watch.diversity"] < 1, "a share in [0, 1)")
    check("sync_batch_norm", isinstance(flat["sync_batch_norm"], bool), "true or false")
    if not is_image_dataset(flat["data.name"]):
        check_name("data.name", DATASETS)
    for player in Players._fields:
        optimizer = f"optimizer.{player}"
        check_name(f"network.{player}.dtype", DTYPES)
        check_name(f"{optimizer}.name", OPTIMIZERS)
        check(f"{optimizer}.learning_rate", 0 < flat[f"{optimizer}.learning_rate"] < float("inf"), "a rate > 0")
        for moment in ("b1", "b2", "final_b2"):
            check(f"{optimizer}.{moment}", 0 <= (flat[f"{optimizer}.{moment}"] or 0) < 1, "a decay in [0, 1)")
    for key in (
        *("batch_size", "latent_dim", "disc_steps", "packing", "num_steps", "num_samples", "data.channels"),
        *("log_every", "sample_every", "checkpoint_every", "keep_checkpoints", "watch.steps", "penalty.every"),
    ):
        check(key, flat[key] >= 1, "an integer ≥ 1")
    for key in ("eval_every", "data.resident_mib", "data.workers", "num_classes", "schedule.images"):
        check(key, flat[key] >= 0, "an integer ≥ 0")
    for key, entry in flat.items():
        final = key.rpartition(".")[2].startswith("final_")
        if final or key.startswith(("penalty.", "ema_half_life", "ema_ramp_up")):
            check(key, entry is None or 0 <= entry < float("inf"), "a number ≥ 0")
        if final and entry is not None:
            check("schedule.images", flat["schedule.images"] >= 1, f"≥ 1 where config.{key} is set")
    for key in ("augment_probability", "final_augment_probability"):
        check(key, 0 <= (flat[key] or 0) <= 1, "a probability in [0, 1]")
    check("batch_size", flat["batch_size"] % flat["packing"] == 0, f"a multiple of config.packing={flat['packing']}")
    check("seed", 0 <= flat["seed"] < 2**32, "an integer from 0 to 2**32 - 1")
    check("ema_decay", 0 <= flat["ema_decay"] < 1, "a decay in [0, 1), where 0 keeps no average")
    half_life = flat["ema_half_life"] or flat["final_ema_half_life"]
    check("ema_decay", not (flat["ema_decay"] and half_life), "0 where config.ema_half_life is set: choose one of the two")
    calls = flat["steps_per_call"]
    check("steps_per_call", calls == "auto" or (calls.isdecimal() and int(calls) >= 1), "auto or an integer ≥ 1")
    check("eval_num", flat["eval_num"] >= 100, "an integer ≥ 100")
    check("num_classes", not flat["num_classes"] or may_have_labels(flat["data.name"]), "0: images in a folder have no labels")
    check("data.image_size", _is_image_size(flat["data.image_size"]), "an integer ≥ 6, or two, height and width, such as 32,64")
    choose_devices(flat["parallel"], flat["batch_size"])
    abstract_state(make_gan(config))  # what a network, or the whole recipe, cannot be


def _is_image_size(entry: Any) -> bool:
    sides = entry if isinstance(entry, list | tuple) else [entry] * 2
    return len(sides) == 2 and all(type(side) is int and side >= 6 for side in sides)


def make_schedules(config: ConfigDict) -> dict[str, Schedule]:
    """Make the schedules of the entries that have a final value, by the names under which they are logged."""
    numbers = {name: (config, name) for name in ("ema_half_life", "augment_probability")}
    numbers |= {f"penalty_weight/{name}": (config.penalty, name) for name in PENALTIES}
    for entry in ("learning_rate", "b2"):
        numbers |= {f"{entry}/{player}": (config.optimizer[player], entry) for player in Players._fields}
    make, num_steps = SHAPES[config.schedule.shape], config.schedule.images / _images_per_step(config)
    finals = {name: (section[entry], section[f"final_{entry}"]) for name, (section, entry) in numbers.items()}
    return {name: make(start, final, num_steps) for name, (start, final) in finals.items() if final is not None}


def make_gan(config: ConfigDict, sample_shape: tuple[int, ...] | None = None) -> GAN:
    """Make the static recipe that a config describes, for its data or for samples of another shape."""
    sample_shape = sample_shape or make_sample_shape(config.data.name, config.data.image_size, config.data.channels)
    schedules = make_schedules(config)

    def optimizer(player: str) -> optax.GradientTransformation:
        entries = config.optimizer[player]
        updates = config.disc_steps if player == "disc" else 1  # an optimiser counts its own updates, a schedule steps

        def number(entry: str) -> Any:
            schedule = schedules.get(f"{entry}/{player}")
            return entries[entry] if schedule is None else lambda count: schedule(count // updates)

        return OPTIMIZERS[entries.name](number("learning_rate"), entries.b1, number("b2"))

    def number(name: str, start: float) -> Schedule | None:
        return schedules.get(name) or (constant(start) if start else None)

    weights = {penalty: number(f"penalty_weight/{name}", config.penalty[name]) for name, penalty in PENALTIES.items()}
    return GAN(
        networks=Players(*(_make_network(config, player, sample_shape) for player in Players._fields)),
        optimizers=Players(*(optimizer(player) for player in Players._fields)),
        objective=OBJECTIVES[config.objective],
        sample_shape=sample_shape,
        latent_dim=config.latent_dim,
        num_classes=config.num_classes,
        disc_steps=config.disc_steps,
        packing=config.packing,
        penalties=tuple((penalty, weight) for penalty, weight in weights.items() if weight),
        penalty_every=config.penalty.every,
        augment=diffaugment(config.augment, _augment_probability(config, schedules)),
        ema=_make_ema(config, number("ema_half_life", config.ema_half_life)),
    )


def _augment_probability(config: ConfigDict, schedules: Mapping[str, Schedule]) -> Schedule | None:
    always = None if config.augment_probability == 1 else constant(config.augment_probability)
    return schedules.get("augment_probability", always)


def _make_ema(config: ConfigDict, half_life: Schedule | None) -> Schedule | None:
    if half_life:
        return half_life_decay(half_life, _images_per_step(config), ramp_up=config.ema_ramp_up or None)
    return warmed_up_decay(config.ema_decay) if config.ema_decay else None


def _make_network(config: ConfigDict, player: str, sample_shape: tuple[int, ...]) -> Any:
    entries = config.network[player].to_dict()
    options = entries.get(entries["name"], {})
    options = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in options.items()}
    common = {"packing": config.packing, "num_classes": config.num_classes, "dtype": entries["dtype"]}
    try:
        return make_network(player, entries["name"], sample_shape, **common, **options)
    except InputError as error:
        raise InputError(f"config.network.{player}: {error}") from error


@dataclass(frozen=True)
class Plan:
    """What a config means, worked out once.

    resolved: the config as plain JSON. schedules: the numbers that change, by the names under which they are logged.
    mode, devices: over which each batch is split. steps_per_call: steps in one dispatch where nothing is due between them.
    images_per_step: real images that D sees in a step, the unit of `images_seen` and of `config.schedule.images`.
    """

    config: ConfigDict
    resolved: dict[str, Any]
    gan: GAN
    schedules: dict[str, Schedule]
    mode: str
    devices: list[Any]
    steps_per_call: int
    images_per_step: int


def make_plan(config: ConfigDict) -> Plan:
    """Check a config, and work out what it means.

    Raises:
        InputError: an entry that cannot be trained with, see `check_config`.
    """
    check_config(config)
    gan, images = make_gan(config), _images_per_step(config)
    mode, devices = choose_devices(config.parallel, config.batch_size)
    return Plan(config, resolve(config), gan, make_schedules(config), mode, devices, _steps_per_call(config, gan), images)


def _steps_per_call(config: ConfigDict, gan: GAN) -> int:
    """Return `config.steps_per_call`, where "auto" is what suits the device and the intervals at which the state is needed."""
    if config.steps_per_call == "auto":
        interval = math.gcd(config.sample_every, config.checkpoint_every, config.eval_every)
        return auto_steps_per_call(gan, interval, config.batch_size)
    return int(config.steps_per_call)


def _images_per_step(config: ConfigDict) -> int:
    return int(config.batch_size * config.disc_steps)


def make_configured_dataset(config: ConfigDict) -> Dataset:
    """Make the dataset that a config describes; of several processes, each fetches its own part of a batch."""
    options = config.data.to_dict()
    part = process_slice(config.parallel, config.batch_size)
    return make_dataset(data_dir=options.pop("dir"), batch_size=config.batch_size, part=part, **options)


def load_configured_images(config: ConfigDict, split: str = "") -> Images:
    """Load uint8 images `[N, H, W, C]` and labels `[N]` or None of a split, by default the one that the config trains on.

    Raises:
        InputError: no such split, or the data are no images.
    """
    name = config.data.name
    if not is_image_dataset(name):
        raise InputError(f"config.data.name={name} has no images: choose an image dataset")
    if split and not has_splits(name) and split != config.data.split:
        raise InputError(f"split={split}: {name} has one split only; mnist and datasets of TFDS have others")
    transform = Transform(config.data.image_size, config.data.channels, config.data.resize, config.data.background)
    return load_images(name, transform, split=split or config.data.split, data_dir=config.data.dir)
