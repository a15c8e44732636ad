"""The folder of a run as training finds it: locked, checked, and with the state to go on from."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gan_jax.errors import InputError, NonFiniteError
from gan_jax.files import write_atomic
from gan_jax.run import distributed
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import Plan, check_recipe, differences
from gan_jax.run.records import check_folder
from gan_jax.run.runtime import lock_workdir
from gan_jax.state import TrainState, abstract_state, create_state, run_keys


@contextmanager
def open_workdir(workdir: Path, keep: int) -> Iterator[Checkpoints | None]:
    """Lock the workdir and yield its checkpoints; None on all processes but the primary one."""
    if not distributed.is_primary():
        yield None
        return
    with lock_workdir(workdir):
        try:
            if (workdir / "checkpoints").exists():
                check_folder(workdir / "checkpoints")
            with Checkpoints(workdir / "checkpoints", keep=keep) as checkpoints:
                yield checkpoints
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}; {checkpoints.describe_newest()}") from None


def restore_or_create(plan: Plan, workdir: Path, checkpoints: Checkpoints | None) -> TrainState:
    """Return the newest state in the workdir, or a new one, the same on all processes; write config.json."""
    checkpoint = checkpoints.find() if checkpoints else None
    if checkpoint:
        check_recipe(checkpoint.config)
    if checkpoint and (changes := differences(checkpoint.config, plan.resolved)):
        changed = ", ".join(changes)
        raise InputError(f"{workdir} has a run with another config ({changed}): give another --workdir, or these values")
    new = lambda: create_state(plan.gan, run_keys(plan.config.seed).init)  # noqa: E731
    state = checkpoint.restore(abstract_state(plan.gan)) if checkpoint else new()
    if checkpoints:
        text = json.dumps(plan.resolved, indent=2) + "\n"
        write_atomic(workdir / "config.json", lambda file: file.write_text(text))
    return distributed.broadcast_from_primary(state)
