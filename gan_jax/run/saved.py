"""A config that was saved as JSON, such as a run's config.json, as a config file: `saved.py:PATH`."""

import json
import os
from pathlib import Path

from ml_collections import ConfigDict

from gan_jax.configs import default
from gan_jax.errors import InputError, nearest_key, shorten
from gan_jax.files import open_regular
from gan_jax.run.checks import check_entries, flatten
from gan_jax.run.entries import as_config, flatten_saved
from gan_jax.state import Players

_MAX_BYTES = 2**20


def get_config(path: str) -> ConfigDict:
    """Return the default config with the entries of a JSON file.

    What is the same for both players stays one entry, which an override sets for both. Entries of a run's own config.json that
    there are no more, as it is of an older version, are left out: a resume compares them with the run's record.

    Raises:
        InputError: no such file, or no config in it.
    """
    try:
        with os.fdopen(open_regular(path, at_most=_MAX_BYTES), encoding="utf-8") as file:
            saved = json.load(file)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{path}: must be a config as JSON: {error}") from error
    flat, config = flatten_saved(saved), default.get_config()
    known = flatten(config.to_dict())
    if unknown := [key for key in flat if key not in known and not _is_of_run(Path(path))]:
        raise InputError(f"config.{shorten(unknown[0])}: no such entry{nearest_key(str(unknown[0]), known)}")
    check_entries(as_config(saved))
    entries = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in flat.items() if key in known}
    for of_one_player in (False, True):  # in this order: a player's entries follow those of both until they are set
        current = flatten(config.to_dict())
        config.update_from_flattened_dict(
            {key: entry for key, entry in entries.items() if entry != current[key] and _is_of_one_player(key) == of_one_player}
        )
    return config


def _is_of_run(path: Path) -> bool:
    return path.name == "config.json" and (path.parent / "checkpoints").is_dir()


def _is_of_one_player(key: str) -> bool:
    parts = key.split(".")
    return parts[0] in ("network", "optimizer") and parts[1] in Players._fields
