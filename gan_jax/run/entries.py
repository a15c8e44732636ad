"""The entries of configs that were saved with runs: completed, compared, and the history of a run beside them."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flax.traverse_util import unflatten_dict

from gan_jax.configs import default
from gan_jax.errors import InputError, shorten
from gan_jax.run.checks import flatten
from gan_jax.state import Players

HISTORY = "history"
"""The key of a saved config that is no entry: a list of what happened to the run, by step.

{"step": 0, "init_from": {"workdir": …, "step": …}} or {"step": …, "changes": {key: [old, new]}}.
"""


def _defaults() -> dict[str, Any]:
    return flatten(json.loads(json.dumps(default.get_config().to_dict())))


def flatten_saved(saved: Any) -> dict[str, Any]:
    """Return, flat, the entries of a saved config, whatever is in it, without the history.

    Raises:
        InputError: it is no config, or has sections that no config has.
    """
    try:
        return flatten({key: entry for key, entry in saved.items() if key != HISTORY})
    except (AttributeError, RecursionError):
        raise InputError("config must be sections of entries, as in gan_jax/configs/default.py") from None


def as_config(saved: Any, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return a saved config with exactly today's entries: with the defaults of those that it lacks.

    keys: of the entries that are read, where a key that ends in a dot is a whole section; all others have their defaults.

    Raises:
        InputError: see `flatten_saved`.
    """
    flat, known = flatten_saved(saved), _defaults()
    if keys is not None:
        sections = tuple(key for key in keys if key.endswith("."))
        flat = {key: entry for key, entry in flat.items() if key in keys or key.startswith(sections)}
    config: dict[str, Any] = unflatten_dict({key: flat.get(key, entry) for key, entry in known.items()}, sep=".")
    return config


def shared_entries(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return, flat, all entries but those that each host has for itself."""
    return {key: entry for key, entry in flatten(resolved).items() if key not in flatten(default.host())}


def used_entries(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return, flat, the entries that a run uses: each player's own, its network's options alone, and none of the host's."""
    flat = _defaults() | flatten_saved(saved)
    return {key: entry for key, entry in flat.items() if key not in flatten(default.host()) and _is_used(key, flat)}


def _is_used(key: str, flat: Mapping[str, Any]) -> bool:
    section, *rest = key.split(".")
    if section not in ("network", "optimizer"):
        return True
    if not rest or rest[0] not in Players._fields:  # what both have alike, each has
        return False
    return section == "optimizer" or len(rest) == 2 or rest[1] == flat[f"network.{rest[0]}.name"]


def changes(saved: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return [old, new] by key for the entries in which two saved configs describe different experiments."""
    loop = flatten(default.loop())
    old, new = ({key: entry for key, entry in used_entries(each).items() if key not in loop} for each in (saved, current))
    return {key: [old.get(key), new.get(key)] for key in sorted(old | new) if old.get(key) != new.get(key)}


def describe(changes: Mapping[str, Sequence[Any]]) -> str:
    """Return 'key: old -> new, …'."""
    return ", ".join(f"{key}: {shorten(old)} -> {shorten(new)}" for key, (old, new) in changes.items())


def history_of(saved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what has happened to a run, from its saved config, which may be a stranger's."""
    history = saved.get(HISTORY, [])
    return [event for event in history if _is_event(event)] if isinstance(history, list) else []


def _is_event(event: Any) -> bool:
    if not (isinstance(event, dict) and isinstance(event.get("step"), int)):
        return False
    changed = event.get("changes", {})
    if not (isinstance(changed, dict) and all(isinstance(pair, list) and len(pair) == 2 for pair in changed.values())):
        return False
    return all(type(changed[key][0]) is int for key in ("batch_size", "disc_steps") if key in changed)


def images_before(resolved: Mapping[str, Any]) -> int:
    """Return how many more images D has seen than the steps so far times those of a step today, by the history of a run."""
    size, disc_steps, more = resolved["batch_size"], resolved["disc_steps"], 0
    for event in reversed(history_of(resolved)):
        changed, now = event.get("changes", {}), size * disc_steps
        size, disc_steps = (changed.get(key, [old])[0] for key, old in (("batch_size", size), ("disc_steps", disc_steps)))
        more += event["step"] * (size * disc_steps - now)
    return more
