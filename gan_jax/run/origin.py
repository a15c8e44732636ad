"""A new run from another run's networks: their parameters and statistics, and the average of the generator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax.errors import InputError
from gan_jax.run.checkpoints import Checkpoint, kind_of, leaves_by_path
from gan_jax.run.entries import changes, describe
from gan_jax.run.restore import find_checkpoint
from gan_jax.state import GAN, Players, TrainState, abstract_state

_NETWORKS = ("params/", "stats/", "ema/")
_SHAPING = ("latent_dim", "num_classes", "packing", "data.image_size", "data.channels", "network.")


class Origin(NamedTuple):
    """What a run begins from: where it was read, its step, and the arrays by their path in the new state."""

    workdir: str
    step: int
    arrays: dict[str, np.ndarray]

    def start(self, state: TrainState) -> TrainState:
        """Return a new state with these networks; its optimisers and its step are its own."""
        leaves = [self.arrays.get(path, leaf) for path, leaf in leaves_by_path(state).items()]
        started: TrainState = jax.device_put(jax.tree.unflatten(jax.tree.structure(state), leaves))
        return started


def read_origin(
    gan: GAN, workdir: str | Path, resolved: Mapping[str, Any] | None = None, *, flag: str = "--init_from"
) -> Origin:
    """Read the networks of the newest checkpoint of a run, which may be a stranger's, for a recipe.

    The average of the generator is taken where both have one, and begins at the generator where the other run has none. A decay
    that warms up (`ema_decay`) or ramps up (`ema_ramp_up` > 0) forgets it within a few steps: it counts those of the new run.
    resolved: the config that the recipe is of. flag: by which the user has named the run.

    Raises:
        InputError: no run is there, or its networks have other leaves; the line names the first, and entries that make it so.
    """
    checkpoint = find_checkpoint(workdir, flag=flag)
    wanted = {path: leaf for path, leaf in leaves_by_path(abstract_state(gan)).items() if path.startswith(_NETWORKS)}
    sources = {path: path if path in checkpoint.arrays else _of_generator(path) for path in wanted}
    others = [path for path in checkpoint.arrays if path.startswith(_NETWORKS[:2]) and path not in wanted]
    for path in (*wanted, *others):
        here = kind_of(wanted[path]) if path in wanted else "absent"
        there = checkpoint.arrays.get(sources.get(path, path))
        if there is None or kind_of(there) != here:
            kinds = f"{path} is {'absent' if there is None else kind_of(there)} there, but {here} by the config"
            raise InputError(f"{flag}={workdir}: {kinds}{_name_entries(path, checkpoint, resolved, workdir)}")
    return Origin(str(workdir), checkpoint.step, {path: checkpoint.arrays[source] for path, source in sources.items()})


def _of_generator(path: str) -> str:
    """Map the path of a leaf of the average to that of the generator's own."""
    return path.replace("ema/params/", "params/gen/").replace("ema/batch_stats/", "stats/gen/")


def _name_entries(path: str, checkpoint: Checkpoint, resolved: Mapping[str, Any] | None, workdir: str | Path) -> str:
    """Name the entries of the config to look at: those that shape this player, and are others there."""
    if resolved is None:
        return f"; {workdir}/config.json has the entries of its recipe"
    player = path.split("/")[1]
    others = tuple(f"network.{other}." for other in Players._fields if other != player)
    changed = changes(checkpoint.config, resolved)
    shaping = {key: pair for key, pair in changed.items() if key.startswith(_SHAPING) and not key.startswith(others)}
    shaping = shaping or {key: pair for key, pair in changed.items() if key == "data.name"}
    if not shaping:
        return "; no entry differs, so that run must be of another version"
    return f"; see config.{describe(shaping)}, or take all of its entries with --config={workdir}/config.json"
