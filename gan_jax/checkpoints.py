"""Checkpoints of a run: Orbax behind a small interface. A step is there when its commit file is, and not before."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import checkpoint_managers

from gan_jax.state import TrainState


class Checkpoints:
    """The checkpoints in one folder; writes in the background, keeps the latest `keep`. A reader leaves the folder as it is."""

    def __init__(self, directory: str | Path, *, keep: int = 2, read_only: bool = False):
        commit_files = ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep),
            atomicity_options=commit_files,
            cleanup_tmp_directories=not read_only,
        )
        self._manager = ocp.CheckpointManager(Path(directory).absolute(), options=options, item_names=("state", "config"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, config: dict[str, Any]) -> None:
        """Copy the state to the host, then write it and its config in the background. A step that is there stays."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(config)),
        )

    def restore_config(self, step: int) -> dict[str, Any]:
        """The config that the step was saved with."""
        config: dict[str, Any] = self._manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        return config

    def restore(self, step: int, template: TrainState) -> TrainState:
        """The state of that step, to the bit, on this process's first device. template: its shapes, as of `jax.eval_shape`."""
        device = SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), template)
        restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
        state: TrainState = restored["state"]
        return state
