"""Finished or interrupted runs, read for sampling and evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gan_jax.data import is_known, reads_folder
from gan_jax.errors import InputError, shorten
from gan_jax.run.checkpoints import Checkpoint, Checkpoints
from gan_jax.run.checks import check_entries
from gan_jax.run.config import check_recipe, configured_shape, make_configured_network, refusing_what_no_array_has
from gan_jax.run.entries import as_config
from gan_jax.run.orbax import check_path
from gan_jax.run.records import check_folder
from gan_jax.run.sizes import check_state
from gan_jax.state import GAN, Players, TrainState, abstract_generator


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

    Nothing that the config names is opened. The config is complete: what the run has saved, and today's default of each entry
    that was not there then. Where the whole recipe cannot be built, as its objective is one of the run's own config file, or
    the state is of another version, a line says so, and the generator alone is restored, which is enough for samples: see
    `GAN`.

    Raises:
        InputError: no run is there, or its generator cannot be restored.
    """
    checkpoint = find_checkpoint(workdir, which)
    try:
        config = as_config(checkpoint.config)
        try:
            gan, shapes = check_recipe(config)
            state = checkpoint.restore(shapes)
        except InputError as error:
            gan, shapes = _check_generator(config, ema=checkpoint.has_ema)
            state = checkpoint.restore(shapes, partial=True)
            print(f"{workdir}: only its generator is restored: {error}", flush=True)
    except InputError as error:
        raise InputError(f"--workdir={workdir}: the record of step {checkpoint.step}: {error}") from error
    return ConfigDict(config), gan, state


def _check_generator(entries: Mapping[str, Any], *, ema: bool) -> tuple[GAN, TrainState]:
    """Return the generator of a complete config, as a recipe that has None for all else, and shapes and dtypes of its state.

    Only what makes the generator is read: an objective, an optimiser or a discriminator that is not known here, or no longer,
    does not matter. ema: whether there is an average of it.

    Raises:
        InputError: there can be no such generator.
    """
    of_network = ("network.gen.name", "network.gen.dtype", f"network.gen.{entries['network']['gen']['name']}.")
    entries = as_config(entries, ("latent_dim", "num_classes", "data.name", "data.image_size", "data.channels", *of_network))
    check_entries(entries)
    with refusing_what_no_array_has():
        config = ConfigDict(entries)
        sample_shape = configured_shape(config)
        networks, nothing = Players(make_configured_network(config, "gen", sample_shape), None), Players(None, None)
        objective: Any = None
        gan = GAN(networks, nothing, objective, sample_shape, config.latent_dim, config.num_classes)
        state = abstract_generator(gan, ema=ema)
    check_state(state)
    return gan, state


def trust(config: ConfigDict, data: str = "", data_dir: str = "") -> ConfigDict:
    """Return the config of a run with a dataset that may be opened: by name, or at a path in data or data_dir, the user's own.

    Raises:
        InputError: the record names a path, which the user has to repeat.
    """
    name, folder = config.data.name, config.data.dir
    paths = [("--data", "name", name)] if not (data or is_known(name)) else []
    paths += [("--data_dir", "dir", folder)] if folder and reads_folder(name) and not (data or data_dir) else []
    for flag, entry, path in paths:
        raise InputError(
            f"the run was trained on config.data.{entry}={shorten(path)}, and a path from a saved config is opened only if "
            f"you repeat it: add {flag}={shorten(path)}"
        )
    config.data.name, config.data.dir = data or name, data_dir
    if config.data.name.startswith(("folder:", "numpy:")):
        config.data.split = "train"  # the only one of files; 0.1.0 ignored any other
    _check_data(config)
    return config


def _check_data(config: ConfigDict) -> None:
    """Raise `InputError` where a saved config has data that cannot be loaded; its other entries do not matter."""
    entries = as_config(config.to_dict(), ("data.", "batch_size", "num_classes", "parallel"))
    check_entries(entries)
    with refusing_what_no_array_has():
        configured_shape(ConfigDict(entries))
