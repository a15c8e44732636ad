"""The folder of a run as training finds it: locked, checked, and with the state to resume from."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gan_jax.errors import InputError, NonFiniteError
from gan_jax.files import write_atomic
from gan_jax.run import distributed
from gan_jax.run.checkpoints import Checkpoint, Checkpoints
from gan_jax.run.config import Plan
from gan_jax.run.entries import HISTORY, changes, describe, history_of
from gan_jax.run.origin import Origin
from gan_jax.run.records import check_folder
from gan_jax.run.runtime import lock_workdir
from gan_jax.state import TrainState, abstract_state, create_state, run_keys

_History = list[dict[str, Any]]


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


def has_checkpoint(workdir: Path) -> bool:
    """Tell whether there is a run to resume in a folder, without a look into its checkpoints."""
    return any(path.parent.name.isdecimal() for path in workdir.glob("checkpoints/*/commit_success.txt"))


def restore_or_create(
    plan: Plan, workdir: Path, checkpoints: Checkpoints | None, *, origin: Origin | None = None, allow_changes: bool = False
) -> tuple[TrainState, Plan]:
    """Return the newest state in the workdir, or a new one, the same on all processes; write config.json.

    The plan that is returned has the run's history beside its config: where the run began from an origin, and what was changed.

    Raises:
        InputError: the run there is of another config, and changes are not allowed, or would change the shapes of its state or
            the steps that its schedules and the average's ramp-up count.
    """
    checkpoint = checkpoints.find() if checkpoints else None
    if checkpoint:
        state, history = _resume(plan, workdir, checkpoint, allow_changes=allow_changes)
    else:
        state, history = create_state(plan.gan, run_keys(plan.config.seed).init, outermost=True), []
        if origin:
            state, history = origin.start(state), [{"step": 0, "init_from": {"workdir": origin.workdir, "step": origin.step}}]
            print(f"{workdir}: starts from the networks of {origin.workdir} at step {origin.step}", flush=True)
    if checkpoints:
        plan = replace(plan, resolved=plan.resolved | ({HISTORY: history} if history else {}))
        text = json.dumps(plan.resolved, indent=2) + "\n"
        write_atomic(workdir / "config.json", lambda file: file.write_text(text))
        if origin and not checkpoint:
            checkpoints.save(state, plan.resolved)  # from here on the origin is not needed, whenever the run is killed
    return distributed.broadcast_from_primary(state), plan


def _resume(plan: Plan, workdir: Path, checkpoint: Checkpoint, *, allow_changes: bool) -> tuple[TrainState, _History]:
    changed, history = changes(checkpoint.config, plan.resolved), history_of(checkpoint.config)
    named = describe(changed)
    if changed and not allow_changes:
        raise InputError(
            f"{workdir} has a run with another config ({named}): give another --workdir, or these values, or "
            "--allow_changes to continue it with the new ones"
        )
    try:
        state = checkpoint.restore(abstract_state(plan.gan))
    except InputError as error:
        if not changed:
            raise
        raise InputError(f"{workdir}: --allow_changes: the state has other shapes with {named}: {error}") from error
    if not changed:
        return state, history
    if checkpoint.step >= plan.config.num_steps:
        done = f"the run is complete at step {checkpoint.step}: a larger --config.num_steps continues it with"
        raise InputError(f"{workdir}: --allow_changes: {done} {named}")
    resized = [key for key in ("batch_size", "disc_steps") if key in changed]
    ramps = plan.config.ema_half_life and plan.config.ema_ramp_up
    if resized and (plan.schedules or ramps):
        where = "the schedules (final_…)" if plan.schedules else "the average's ramp-up (ema_ramp_up)"
        raise InputError(
            f"{workdir}: --allow_changes: {describe({key: changed[key] for key in resized})}: the steps so far would count "
            f"anew in {where}: keep {' and '.join(resized)}, or start a new run with --init_from={workdir}"
        )
    print(f"{workdir}: continues from step {checkpoint.step} with {named}", flush=True)
    return state, [*history, {"step": checkpoint.step, "changes": changed}]
