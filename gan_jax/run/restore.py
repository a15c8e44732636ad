"""Finished or interrupted runs, read for sampling and evaluation."""

from pathlib import Path

from ml_collections import ConfigDict

from gan_jax.errors import InputError
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import make_gan
from gan_jax.run.orbax import check_path
from gan_jax.state import GAN, TrainState, abstract_state


def restore_run(workdir: str | Path, which: str = "final") -> tuple[ConfigDict, GAN, TrainState]:
    """Return config, recipe and state of the newest checkpoint of a run ("final"), or of its best one ("best")."""
    directory = Path(workdir) / "checkpoints"
    check_path(directory)
    if not directory.is_dir():
        raise InputError(f"--workdir={workdir}: no run is there; train one with experiments/train.py --workdir={workdir}")
    with Checkpoints(directory, read_only=True) as checkpoints:
        checkpoint = checkpoints.find(which)
    if checkpoint is None:
        raise InputError(f"--workdir={workdir}: the run there has no checkpoint yet; train it to config.checkpoint_every")
    config = ConfigDict(checkpoint.config)
    gan = make_gan(config)
    return config, gan, checkpoint.restore(abstract_state(gan))


def restore_steps(workdir: str | Path) -> dict[str, tuple[GAN, TrainState]]:
    """Return recipe and state of a run's "final" checkpoint and, where it was evaluated during training, of its "best" one."""
    steps = {"final": restore_run(workdir)[1:]}
    try:
        steps["best"] = restore_run(workdir, "best")[1:]
    except InputError as error:
        print(f"no best step: {error}", flush=True)
    return steps
