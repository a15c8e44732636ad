"""Finished or interrupted runs, read for sampling and evaluation."""

from pathlib import Path

from ml_collections import ConfigDict

from gan_jax.data import is_known, reads_folder
from gan_jax.errors import InputError, shorten
from gan_jax.run.checkpoints import Checkpoint, Checkpoints
from gan_jax.run.config import check_recipe
from gan_jax.run.entries import as_config
from gan_jax.run.generators import check_data, check_generator
from gan_jax.run.orbax import check_path
from gan_jax.run.records import check_folder
from gan_jax.state import GAN, TrainState, abstract_state


def find_checkpoint(workdir: str | Path, which: str = "final", *, flag: str = "--workdir") -> Checkpoint:
    """Read the newest checkpoint of a run ("final"), or its best one ("best"). flag: by which the user has named the run.

    The run may be a stranger's: it is checked before it is used.

    Raises:
        InputError: no run is there, or it has no such checkpoint.
    """
    directory = Path(workdir) / "checkpoints"
    check_path(directory)
    if not directory.is_dir():
        raise InputError(f"{flag}={workdir}: no run is there; train one with experiments/train.py --workdir={workdir}")
    check_folder(directory)  # before another library opens what is there
    with Checkpoints(directory, read_only=True) as checkpoints:
        checkpoint = checkpoints.find(which)
    if checkpoint is None:
        raise InputError(f"{flag}={workdir}: the run there has no checkpoint yet; train it to config.checkpoint_every")
    return checkpoint


def restore_run(workdir: str | Path, which: str = "final") -> tuple[ConfigDict, GAN, TrainState]:
    """Return config, recipe and state of the newest checkpoint of a run ("final"), or of its best one ("best").

    Nothing that the config names is opened. It is complete: what the run has saved, and today's default of each entry that
    was not there then. Where the whole recipe cannot be built, as its objective is one of the run's own config file, or the
    state is of another version, a line says so, and the generator alone is restored, which is enough for samples: see `GAN`.

    Raises:
        InputError: no run is there, or its generator cannot be restored.
    """
    checkpoint = find_checkpoint(workdir, which)
    try:
        config = as_config(checkpoint.config)
        try:
            gan = check_recipe(config)
            state = checkpoint.restore(abstract_state(gan))
        except InputError as error:
            gan, generator = check_generator(config, ema=checkpoint.has_ema)
            state = checkpoint.restore(generator, partial=True)
            print(f"{workdir}: its generator alone is restored: {error}", flush=True)
    except InputError as error:
        raise InputError(f"--workdir={workdir}: the record of step {checkpoint.step}: {error}") from error
    return ConfigDict(config), gan, state


def restore_steps(workdir: str | Path) -> dict[str, tuple[GAN, TrainState]]:
    """Return recipe and state of a run's "final" checkpoint and, where it was evaluated during training, of its "best" one."""
    steps = {"final": restore_run(workdir)[1:]}
    try:
        steps["best"] = restore_run(workdir, "best")[1:]
    except InputError as error:
        print(f"no best step: {error}", flush=True)
    return steps


def trust(config: ConfigDict, data: str = "", data_dir: str = "") -> ConfigDict:
    """Return the config of a run with the dataset that may be opened: a record may be a stranger's, the others are the user's.

    Raises:
        InputError: the record names a path, which the user has to repeat.
    """
    name, folder = config.data.name, config.data.dir
    paths = [("--data", "name", name)] if not (data or is_known(name)) else []
    paths += [("--data_dir", "dir", folder)] if folder and reads_folder(name) and not (data or data_dir) else []
    for flag, entry, path in paths:
        raise InputError(
            f"the run was trained on config.data.{entry}={shorten(path)}, and a path in a record is opened only where you "
            f"repeat it: add {flag}={shorten(path)}"
        )
    config.data.name, config.data.dir = data or name, data_dir
    check_data(config)
    return config
