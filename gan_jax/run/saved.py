"""A config that was saved as JSON, such as a run's config.json, as a config file: `saved.py:PATH`."""

import json
import os

from ml_collections import ConfigDict

from gan_jax.configs import default
from gan_jax.errors import InputError
from gan_jax.files import open_regular
from gan_jax.run.checks import check_entries, flatten
from gan_jax.run.config import OPTIMIZERS
from gan_jax.state import Players

_MAX_BYTES = 2**20


def get_config(path: str) -> ConfigDict:
    """Return the default config with the entries of a JSON file, which has them all.

    What is the same for both players stays one entry, which an override sets for both.

    Raises:
        InputError: no such file, or no config in it.
    """
    try:
        with os.fdopen(open_regular(path, at_most=_MAX_BYTES), encoding="utf-8") as file:
            saved = json.load(file)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{path}: must be a config as JSON: {error}") from error
    check_entries(saved, OPTIMIZERS)
    entries = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in flatten(saved).items()}
    config = default.get_config()
    for of_one_player in (False, True):  # in this order: a player's entries follow those of both until they are set
        current = flatten(config.to_dict())
        config.update_from_flattened_dict(
            {key: entry for key, entry in entries.items() if entry != current[key] and _is_of_one_player(key) == of_one_player}
        )
    return config


def _is_of_one_player(key: str) -> bool:
    parts = key.split(".")
    return parts[0] in ("network", "optimizer") and parts[1] in Players._fields
