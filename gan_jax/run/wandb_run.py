"""Weights & Biases, where config.wandb names a project: the scalars, pictures and config that TensorBoard gets."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from gan_jax.errors import InputError, shorten
from gan_jax.files import open_regular, write_atomic


def check_installed(project: str) -> None:
    """Raise `InputError` where a project is named and the package is not there."""
    if project and find_spec("wandb") is None:
        raise InputError(f"config.wandb={shorten(project)} needs the package wandb: pip install wandb")


class WeightsAndBiases:
    """Log to the run on Weights & Biases that belongs to a workdir; WANDB_MODE=offline keeps it in WORKDIR/wandb until a sync.

    A resumed run is continued there. Steps that it repeats are there twice, with the same numbers.

    Raises:
        InputError: there is no account, no such project, or no connection.
    """

    def __init__(self, project: str, workdir: Path):
        import wandb  # a second, and no part of the installation

        self._wandb = wandb
        settings = wandb.Settings(console="off", silent=True)  # the console is the run's own
        try:
            self._run: Any = wandb.init(
                project=project, dir=workdir, name=workdir.name, id=_run_id(workdir), resume="allow", settings=settings
            )
        except (wandb.Error, OSError) as error:
            remedy = "log in by `wandb login`, or set WANDB_MODE=offline"
            raise InputError(f"config.wandb={shorten(project)}: {shorten(error)}; {remedy}") from error
        self._run.define_metric("*", step_metric="step")  # not its own count, which a resumed run may not set back

    def add_config(self, config: Mapping[str, Any], hparams: Mapping[str, Any]) -> None:
        """Set the config; its entries are the hyperparameters."""
        del hparams
        self._try(lambda run: run.config.update(dict(config), allow_val_change=True))

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add numbers of a step."""
        self._try(lambda run: run.log({"step": step, **scalars}))

    def add_picture(self, step: int, name: str, path: Path) -> None:
        """Add the picture in a file."""
        self._try(lambda run: run.log({"step": step, name: self._wandb.Image(str(path))}))

    def close(self, *, complete: bool) -> None:
        """Wait until all is stored. complete: the run has reached its last step, and counts as finished there."""
        self._try(lambda run: run.finish(exit_code=0 if complete else 1))

    def _try(self, act: Callable[[Any], object]) -> None:
        """Do it; where that fails, print a line, and continue without it: training does not end because a service does."""
        if self._run is None:
            return
        try:
            act(self._run)
        except Exception as error:
            self._run = None
            reason = f"{type(error).__name__}: {shorten(error)}"
            print(f"warning: Weights & Biases failed, and the run continues without it: {reason}", file=sys.stderr, flush=True)


def _run_id(workdir: Path) -> str:
    """Return the run's id there, which is drawn once and kept."""
    path = workdir / "wandb" / "run_id"
    if not path.exists():
        write_atomic(path, lambda file: file.write_text(uuid4().hex[:12]))
    with os.fdopen(open_regular(path, at_most=100), encoding="ascii") as file:
        return file.read().strip()
