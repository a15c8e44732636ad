"""Checks of a config's entries, before any of them is used: their names, their types, and what each may be."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gan_jax.configs import default
from gan_jax.data import DATASETS, height_and_width, is_image_dataset, may_have_labels
from gan_jax.errors import InputError, nearest, nearest_key, shorten
from gan_jax.networks import DTYPES
from gan_jax.objectives import OBJECTIVES
from gan_jax.parallel import MODES
from gan_jax.run.optimizers import OPTIMIZERS
from gan_jax.schedules import SHAPES
from gan_jax.state import Players

WATCH_ACTIONS = ("warn", "stop")

_INT_BITS = 63  # of any integer in a config
_MAX_LAYERS = 256  # in a tuple of widths, and blocks at a resolution: more would be traced for hours
_MAX_WORKERS = 1024
_SHOWN = 3  # mistakes in one line


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Map {"data": {"name": ...}} to {"data.name": ...}."""
    flat: dict[str, Any] = {}
    for key, entry in config.items():
        flat |= flatten(entry, f"{prefix}{key}.") if isinstance(entry, Mapping) else {f"{prefix}{key}": entry}
    return flat


def check_entries(config: Any) -> None:
    """Raise `InputError` at entries that no run can have: one line with the keys and what is allowed.

    config: a nested dict, whatever is in it.
    """
    _check_values(_check_types(config))


def _check_types(config: Any) -> dict[str, Any]:
    """Return the flat config, whose names and types are those of the default config."""
    expected = flatten(default.get_config().to_dict())
    try:
        flat = flatten(config)
    except (AttributeError, RecursionError):
        raise InputError("config must be sections of entries, as in gan_jax/configs/default.py") from None
    if missing := [key for key in expected if key not in flat]:
        rest = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise InputError(f"config.{missing[0]} is missing{rest}: start from gan_jax/configs/default.py, which has every entry")
    if unknown := [key for key in flat if key not in expected]:
        raise InputError(f"config.{shorten(unknown[0])}: no such entry{nearest_key(str(unknown[0]), expected)}")
    wrong = [
        f"config.{key}={shorten(flat[key])} must be {kind}, not {type(flat[key]).__name__}"
        for key, (kind, holds) in ((key, _KINDS.get(key) or _kind_of(entry)) for key, entry in expected.items())
        if not holds(flat[key])
    ]
    if wrong:
        more = [f"{len(wrong) - _SHOWN} more entries"] if len(wrong) > _SHOWN else []
        raise InputError("; ".join(wrong[:_SHOWN] + more))
    return flat


def _kind_of(entry: Any) -> tuple[str, Callable[[Any], bool]]:
    """Return, in words and as a function, what an entry must be by its default."""
    if isinstance(entry, bool):
        return "true or false", lambda given: type(given) is bool
    if isinstance(entry, int):
        return f"an integer below 2**{_INT_BITS}", _is_int
    if isinstance(entry, str):
        return "text that a path can have", _is_text
    if isinstance(entry, tuple):
        return f"at most {_MAX_LAYERS} integers, such as 128,128", _are_ints
    if entry is None:
        return "a number or None", lambda given: given is None or _is_number(given)
    return "a number", _is_number


def _is_int(given: Any) -> bool:
    return type(given) is int and given.bit_length() <= _INT_BITS


def _is_number(given: Any) -> bool:
    return type(given) is float or _is_int(given)


def _are_ints(given: Any) -> bool:
    return isinstance(given, tuple | list) and len(given) <= _MAX_LAYERS and all(_is_int(each) for each in given)


def _is_text(given: Any) -> bool:
    try:
        return isinstance(given, str) and b"\0" not in os.fsencode(given)
    except UnicodeEncodeError:
        return False


def _is_image_size(given: Any) -> bool:
    return _is_int(given) or (_are_ints(given) and len(given) == 2)


_KINDS = {"data.image_size": ("an integer, or two, height and width, such as 32,64", _is_image_size)}
"""What entries must be whose default does not say it."""


def _check_values(flat: Mapping[str, Any]) -> None:
    def check(key: str, good: bool, allowed: str) -> None:
        if not good:
            raise InputError(f"config.{key}={shorten(flat[key])} must be {allowed}")

    def check_name(key: str, names: Iterable[str]) -> None:
        check(key, flat[key] in names, f"one of {', '.join(names)}{nearest(flat[key], names)}")

    check_name("objective", OBJECTIVES)
    check_name("parallel", MODES)
    check_name("watch.action", WATCH_ACTIONS)
    check_name("schedule.shape", SHAPES)
    check("watch.diversity", 0 <= flat["watch.diversity"] < 1, "a share in [0, 1)")
    if not is_image_dataset(flat["data.name"]):
        check_name("data.name", DATASETS)
    for player in Players._fields:
        optimizer = f"optimizer.{player}"
        check_name(f"network.{player}.dtype", DTYPES)
        check_name(f"{optimizer}.name", OPTIMIZERS)
        check(f"{optimizer}.learning_rate", 0 < flat[f"{optimizer}.learning_rate"] < float("inf"), "a rate > 0")
        for moment in ("b1", "b2", "final_b2"):
            check(f"{optimizer}.{moment}", 0 <= (flat[f"{optimizer}.{moment}"] or 0) < 1, "a decay in [0, 1)")
        final_b2 = f"{optimizer}.final_b2"
        check(final_b2, flat[final_b2] is None or flat[f"{optimizer}.name"] != "sgd", "None for sgd, which has no b2")
        blocks = f"network.{player}.r3gan.blocks"
        check(blocks, 1 <= flat[blocks] <= _MAX_LAYERS, f"an integer from 1 to {_MAX_LAYERS}")
    for key in (
        *("batch_size", "latent_dim", "disc_steps", "packing", "num_steps", "num_samples", "data.channels"),
        *("log_every", "sample_every", "checkpoint_every", "keep_checkpoints", "watch.steps", "penalty.every"),
    ):
        check(key, flat[key] >= 1, "an integer ≥ 1")
        check(key, flat[key] < 2**31, "an integer below 2**31")
    check("data.workers", flat["data.workers"] <= _MAX_WORKERS, f"an integer ≤ {_MAX_WORKERS}")
    for key in ("eval_every", "data.resident_mib", "data.workers", "num_classes", "schedule.images"):
        check(key, flat[key] >= 0, "an integer ≥ 0")
    for key, entry in flat.items():
        final = key.rpartition(".")[2].startswith("final_")
        if final or key.startswith(("penalty.", "ema_half_life", "ema_ramp_up")):
            check(key, entry is None or 0 <= entry < float("inf"), "a number ≥ 0")
        if final and entry is not None:
            check("schedule.images", flat["schedule.images"] >= 1, f"≥ 1 where config.{key} is set")
    augments = flat["augment"] or flat["final_augment_probability"] is None
    check("augment", bool(augments), "set where config.final_augment_probability is")
    for key in ("augment_probability", "final_augment_probability"):
        check(key, 0 <= (flat[key] or 0) <= 1, "a probability in [0, 1]")
    check("seed", 0 <= flat["seed"] < 2**32, "an integer from 0 to 2**32 - 1")
    check("ema_decay", 0 <= flat["ema_decay"] < 1, "a decay in [0, 1), where 0 keeps no average")
    half_life = flat["ema_half_life"] or flat["final_ema_half_life"] is not None
    check("ema_decay", not (flat["ema_decay"] and half_life), "0 where config.ema_half_life is set: choose one of the two")
    calls = flat["steps_per_call"]
    check("steps_per_call", calls == "auto" or _is_count(calls), "auto or an integer ≥ 1")
    check("eval_num", flat["eval_num"] >= 100, "an integer ≥ 100")
    labels = may_have_labels(flat["data.name"])
    check("num_classes", not flat["num_classes"] or labels, f"0: images of {shorten(flat['data.name'])} have no labels")
    sides = height_and_width(flat["data.image_size"])
    check("data.image_size", min(sides) >= 6, "an integer ≥ 6, or two, height and width, such as 32,64")


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10 and int(text) >= 1
