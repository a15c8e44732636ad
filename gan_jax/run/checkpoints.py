"""Checkpoints of a run: Orbax writes and reads them, a sha256 of every array verifies them."""

import errno
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from gan_jax.errors import InputError, SaveError
from gan_jax.run.orbax import check_path, reason_of, reload, remove_partial_saves, silence_late_transfers, write_json_item
from gan_jax.run.records import check_record, describe_leaf, digest
from gan_jax.state import TrainState


class DamagedError(Exception):
    """A checkpoint differs from what was saved; the message says where."""


class Checkpoint(NamedTuple):
    """A checkpoint that was read and verified: config, selection metric (lower is better) or None, host arrays by path."""

    step: int
    config: dict[str, Any]
    selection_metric: float | None
    arrays: dict[str, np.ndarray]

    @property
    def has_ema(self) -> bool:
        """Whether there is an average of the generator."""
        return any(path.startswith("ema/") for path in self.arrays)

    def restore(self, abstract_state: TrainState, *, partial: bool = False) -> TrainState:
        """Return the state on the default device, in the structure of `abstract_state`. partial: there may be other leaves.

        Raises:
            InputError: a leaf has another shape or dtype, is missing or is not expected.
        """
        expected = leaves_by_path(abstract_state)
        for path, there, here in differing(self.arrays, expected):
            if not (partial and here == "absent"):
                raise InputError(f"{path} is {there} in the checkpoint of step {self.step}, but {here} by the config")
        state: TrainState = jax.tree.unflatten(jax.tree.structure(abstract_state), [self.arrays[path] for path in expected])
        return jax.device_put(state)


class Checkpoints:
    """The checkpoints in a folder; the newest `keep`, the best and the unreadable are kept. read_only changes nothing there.

    A checkpoint exists once its commit file does. It holds the arrays of the state by path, and a record: config, selection
    metric, and the sha256 of each array and of the record itself. One thread writes them while training continues.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2, read_only: bool = False):
        self.directory, self._keep, self._read_only = Path(directory).absolute(), keep, read_only
        check_path(self.directory)
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)
        silence_late_transfers()
        options = ocp.CheckpointManagerOptions(
            atomicity_options=ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE),
            enable_async_checkpointing=False,
            create=False,
            # Orbax would wait for the other processes of a run, which have no checkpoints.
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=("state", "record"))
        if not read_only:
            remove_partial_saves(self.directory)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None
        self._verified = False  # whether a save of this process has been read back

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        try:
            with suppress(*[SaveError] if error else []):
                self.wait()
        finally:
            self._writer.shutdown()
            self._manager.close()

    def steps(self) -> list[int]:
        """The steps of all committed checkpoints in ascending order."""
        return sorted(self._manager.all_steps())

    def selection_metrics(self) -> dict[int, float]:
        """The selection metrics by step, the best first and the earliest of equals first, without those that are not finite."""
        return self._rank()[0]

    def _rank(self) -> tuple[dict[int, float], dict[int, str]]:
        """Return these selection metrics, and by step why other records cannot be read."""
        metrics, unreadable = {}, {}
        for step in self.steps():
            try:
                metrics[step] = self._read_record(step)["selection_metric"]
            except DamagedError as damage:
                unreadable[step] = str(damage)
        ranked = sorted((metric, step) for step, metric in metrics.items() if metric is not None)
        return {step: metric for metric, step in ranked}, unreadable

    def describe_newest(self) -> str:
        """Say in an error message which checkpoint a run can be resumed from."""
        steps = self.steps()
        return f"the newest checkpoint is of step {steps[-1]}" if steps else "there is no checkpoint yet"

    def save(self, state: TrainState, config: Mapping[str, Any], *, selection_metric: float | None = None) -> None:
        """Copy the state to the host and write it in the background. Of a step that was saved before, add the metric alone.

        Raises:
            SaveError: the save before this one failed, or the metric could not be added.
        """
        self.wait()
        step = int(state.step)
        if step not in self.steps():
            arrays = {path: np.array(leaf) for path, leaf in leaves_by_path(jax.device_get(state)).items()}
            self._writing = self._writer.submit(self._write, step, arrays, config, selection_metric)
        elif selection_metric is not None and np.isfinite(selection_metric):
            self._add_metric(step, float(selection_metric))

    def _add_metric(self, step: int, metric: float) -> None:
        try:
            record = self._read_record(step) | {"selection_metric": metric}
            write_json_item(self.directory / str(step) / "record", record | {"sha256": digest(record)})
        except (OSError, DamagedError) as error:
            raise SaveError(f"{self.directory}: the metric of step {step} could not be saved: {reason_of(error)}") from error

    def wait(self) -> None:
        """Return when all saves are on disk, or raise `SaveError`."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def find(self, which: str = "final") -> Checkpoint | None:
        """Read and verify the newest checkpoint ("final") or the one with the lowest selection metric ("best").

        A damaged checkpoint is named in a line, and the next one is tried; None where there is no checkpoint at all. A writer
        sets the damaged ones aside, because the run will reach their steps again.

        Raises:
            InputError: all checkpoints are damaged, or none has a selection metric; another `which`.
        """
        if which not in ("final", "best"):
            raise InputError(f"which={which}: must be final or best")
        self.wait()
        best, damages = self._rank() if which == "best" else ({}, {})
        checkpoint: Checkpoint | None = None
        for step in list(best) if which == "best" else self.steps()[::-1]:
            try:
                checkpoint = self._read(step)
                break
            except DamagedError as damage:
                damages[step] = str(damage)
        if damages and self._read_only and reload(self._manager):
            return self.find(which)  # a run that trains there has replaced some, which is no damage
        if which == "best" and not best and self.steps():
            raise InputError(f"{self.directory}: no checkpoint has a selection metric; use the final one")
        for step, reason in damages.items():
            print(f"{self.directory}: the checkpoint of step {step} is damaged ({reason}); it is ignored", flush=True)
            if checkpoint and not self._read_only:
                self._set_aside(step)
        if damages and checkpoint is None:
            raise InputError(f"{self.directory}: all checkpoints are damaged; move the folder away to start a new run")
        return checkpoint

    def _write(self, step: int, arrays: dict[str, np.ndarray], config: Mapping[str, Any], metric: float | None) -> None:
        leaves = {path: describe_leaf(array) for path, array in arrays.items()}
        metric = None if metric is None or not np.isfinite(metric) else float(metric)
        record = {"config": config, "selection_metric": metric, "leaves": leaves}
        items = {"state": ocp.args.StandardSave(arrays), "record": ocp.args.JsonSave(record | {"sha256": digest(record)})}
        try:
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)  # also below a step that is set aside
            if not self._verified:  # a file system that returns other bits, or none, shows now and not at the end of the run
                self._verify(step)
            best, unreadable = self._rank()
            kept = {*self.steps()[-self._keep :], *list(best)[:1], *unreadable}  # these may be whole after all, and the best
            for old in set(self.steps()) - kept:
                if not (self.directory / str(old)).is_symlink():  # a link is the user's
                    self._manager.delete(old)
        except Exception as error:  # whatever Orbax and TensorStore raise for a full disk, a lost mount, a forbidden folder
            reason = f"step {step} could not be saved: {reason_of(error)}"
            raise SaveError(f"{self.directory}: {reason}; {self.describe_newest()}") from error

    def _verify(self, step: int) -> None:
        try:
            self._read(step)
        except DamagedError as damage:
            self._set_aside(step)
            raise OSError(errno.EIO, f"what is read back differs: {damage}") from damage
        self._verified = True

    def _read_record(self, step: int) -> dict[str, Any]:
        try:
            items = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))
            record: dict[str, Any] = items["record"]
            sha256 = record.pop("sha256")
            check_record(record)
        except InputError as error:
            raise InputError(f"{self.directory}: step {step}: {error}") from error
        except Exception as error:  # a file that is missing, truncated or not JSON, or says what no checkpoint is
            raise DamagedError(f"its record: {reason_of(error)}") from error
        if sha256 != digest(record):
            raise DamagedError("its record differs from its sha256")
        return record

    def _read(self, step: int) -> Checkpoint:
        record = self._read_record(step)
        empty = {path: np.empty(leaf["shape"], jnp.dtype(leaf["dtype"])) for path, leaf in record["leaves"].items()}
        try:
            arrays = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(empty)))["state"]
        except Exception as error:  # whatever TensorStore raises for a file that is missing, truncated or not its own
            raise DamagedError(reason_of(error)) from error
        for path, leaf in record["leaves"].items():
            if describe_leaf(arrays[path]) != leaf:
                raise DamagedError(f"{path} differs from its sha256")
        if (saved := int(arrays["step"])) != step:
            raise DamagedError(f"it is a copy of that of step {saved}")
        return Checkpoint(step, record["config"], record["selection_metric"], arrays)

    def _set_aside(self, step: int) -> None:
        """Rename rather than delete: what cannot be read on this machine may be whole after all."""
        (self.directory / str(step)).rename(self.directory / f"damaged-{step}-{uuid4().hex[:8]}")
        self._manager.reload()


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by a path such as params/gen/Dense_0/kernel."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def kind_of(leaf: Any) -> str:
    """Return dtype and shape of a leaf, such as float32[3, 3]."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def differing(given: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield path, given and expected kind, or "absent", of leaves by path that are of another kind than expected."""
    for path in dict.fromkeys((*expected, *given)):
        there, here = (kind_of(leaves[path]) if path in leaves else "absent" for leaves in (given, expected))
        if there != here:
            yield path, there, here
