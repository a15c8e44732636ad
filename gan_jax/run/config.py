"""Config validation: here a ConfigDict is checked and turned into the recipe and the dataset. Nothing below sees one."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optax
from ml_collections import ConfigDict

from gan_jax.augment import diffaugment
from gan_jax.data import (
    Dataset,
    Images,
    Transform,
    has_splits,
    is_image_dataset,
    load_images,
    make_dataset,
    make_sample_shape,
)
from gan_jax.errors import InputError, shorten
from gan_jax.networks import make_network
from gan_jax.objectives import OBJECTIVES
from gan_jax.parallel import auto_steps_per_call, choose_devices, process_slice
from gan_jax.penalties import PENALTIES
from gan_jax.run.checks import check_entries
from gan_jax.run.optimizers import OPTIMIZERS
from gan_jax.run.sizes import check_sizes, check_state
from gan_jax.schedules import SHAPES, Schedule, constant, half_life_decay, warmed_up_decay
from gan_jax.state import GAN, Players, TrainState, abstract_state


def resolve(config: ConfigDict) -> dict[str, Any]:
    """Return the config as plain JSON: what is saved with a run, and compared with on resume."""
    resolved: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return resolved


def check_config(config: ConfigDict) -> None:
    """Raise `InputError` at entries that cannot be trained with: one line with the key and what is allowed."""
    gan, state = check_recipe(entries_of(config))
    devices = len(choose_devices(config.parallel, config.batch_size)[1])
    if config.batch_size % (config.packing * devices):
        each = f" × {devices} devices" if devices > 1 else ""
        raise InputError(f"config.batch_size={config.batch_size} must be a multiple of config.packing={config.packing}{each}")
    check_sizes(config, gan, state, devices)


def check_recipe(config: Any, sample_shape: tuple[int, ...] | None = None) -> tuple[GAN, TrainState]:
    """Return the recipe of a nested dict, whatever is in it, and shapes and dtypes of its state; see `make_gan`.

    Raises:
        InputError: it has none, on any machine, or one whose state is more than the memory of this one.
    """
    check_entries(config)
    with refusing_what_no_array_has():
        gan = make_gan(ConfigDict(config), sample_shape)
        state = abstract_state(gan)  # what a network, or the whole recipe, cannot be
    check_state(state)
    return gan, state


@contextmanager
def refusing_what_no_array_has() -> Iterator[None]:
    """Turn whatever is raised for a recipe that cannot be built into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of shapes that no array has
        raise InputError(f"config: this recipe cannot be built: {type(error).__name__}: {shorten(error)}") from error


def entries_of(config: ConfigDict) -> dict[str, Any]:
    """Return a config as a nested dict, or raise `InputError` where it has none."""
    try:
        entries: dict[str, Any] = config.to_dict()
    except Exception as error:  # a placeholder that was not filled in, a section that contains itself
        raise InputError(f"config: {type(error).__name__}: {shorten(error)}") from error
    return entries


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
    sample_shape = configured_shape(config) if sample_shape is None else sample_shape
    if config.augment and len(sample_shape) != 3:
        raise InputError(f'config.augment={config.augment} is for images, but the samples are {sample_shape}: set it to ""')
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
        networks=Players(*(make_configured_network(config, player, sample_shape) for player in Players._fields)),
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


def configured_shape(config: ConfigDict) -> tuple[int, ...]:
    """Return the shape of the samples that a config describes."""
    return make_sample_shape(config.data.name, config.data.image_size, config.data.channels)


def _augment_probability(config: ConfigDict, schedules: Mapping[str, Schedule]) -> Schedule | None:
    always = None if config.augment_probability == 1 else constant(config.augment_probability)
    return schedules.get("augment_probability", always)


def _make_ema(config: ConfigDict, half_life: Schedule | None) -> Schedule | None:
    if half_life:
        return half_life_decay(half_life, _images_per_step(config), ramp_up=config.ema_ramp_up or None)
    return warmed_up_decay(config.ema_decay) if config.ema_decay else None


def make_configured_network(config: ConfigDict, player: str, sample_shape: tuple[int, ...]) -> Any:
    """Make the network of a player, "gen" or "disc", that a config describes."""
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
    """Return `config.steps_per_call`, where "auto" is what suits the device and the intervals at which the state is needed.

    It is at most the shortest interval: a call that is longer would never fit between two of them.
    """
    if config.steps_per_call == "auto":
        interval = math.gcd(config.sample_every, config.checkpoint_every, config.eval_every)
        return auto_steps_per_call(gan, interval, config.batch_size)
    intervals = (config.num_steps, config.sample_every, config.checkpoint_every, config.eval_every or config.num_steps)
    return min(int(each) for each in (config.steps_per_call, *intervals))


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
