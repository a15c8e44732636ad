"""Checkpoints of a run: Orbax behind a small interface that trusts no file without its digest."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import jax
import numpy as np
import orbax.checkpoint as ocp

from gan_jax.errors import InputError, SaveError
from gan_jax.state import TrainState


class DamagedError(Exception):
    """A checkpoint is not what was saved, and where."""


class Checkpoints:
    """The checkpoints in one folder: the newest `keep`, and the best of all. A reader leaves the folder as it is.

    A step is there when its commit file is, and not before. It holds the state and a record: the config, a score (lower is
    better) or none, and a sha256 of each leaf and of the record itself. One thread writes them, behind the training.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2, read_only: bool = False):
        self.directory, self._keep, self._read_only = Path(directory).absolute(), keep, read_only
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)
        commit_files = ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE)
        options = ocp.CheckpointManagerOptions(
            atomicity_options=commit_files,
            enable_async_checkpointing=False,
            create=False,
            # Orbax would wait for the other processes of a run, which have no checkpoints.
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=("state", "record"))
        self._scores: dict[int, float] = {}
        if not read_only:
            self._sweep()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: tuple[int, Future[None]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.wait()
        except SaveError:
            if error is None:
                raise
        finally:
            self._writer.shutdown()
            self._manager.close()

    def steps(self) -> list[int]:
        """The steps that were committed, in order."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest of them, or None, once the thread that writes is done."""
        if self._writing is not None:
            wait([self._writing[1]])
        return max(self._manager.all_steps(), default=None)

    def best_step(self) -> int | None:
        """The one with the lowest score, the earliest of equals; None where none has a finite one."""
        scores = {step: score for step in self.steps() if np.isfinite(score := self.score(step))}
        return min(scores, key=lambda step: (scores[step], step), default=None)

    def score(self, step: int) -> float:
        """What the step was saved with; nan where that was nothing, or nothing that can be read."""
        if step not in self._scores:
            try:
                score = self._record(step)["score"]
            except DamagedError:
                score = None
            self._scores[step] = float("nan") if score is None else score
        return self._scores[step]

    def save(self, state: TrainState, config: Mapping[str, Any], *, score: float | None = None) -> None:
        """Copy the state to the host, and leave the rest to the thread that writes. A step that is there stays as it is.

        Raises:
            SaveError: the save before this one failed.
        """
        self.wait()
        step = int(state.step)
        if step not in self._manager.all_steps():
            host = jax.tree.map(np.array, jax.device_get(state))
            self._writing = step, self._writer.submit(self._write, step, host, config, score)

    def wait(self) -> None:
        """Return when all is on disk, or raise `SaveError`."""
        if self._writing is None:
            return
        (step, writing), self._writing = self._writing, None
        try:
            writing.result()
        except Exception as error:  # whatever Orbax and TensorStore raise for a full disk, a lost mount, a forbidden folder
            kept = self.latest_step()
            rest = "no checkpoint was saved yet" if kept is None else f"the checkpoint of step {kept} is kept"
            raise SaveError(f"{self.directory}: step {step} could not be saved: {_reason(error)}; {rest}") from error

    def restore(
        self, which: str, template: Callable[[dict[str, Any]], TrainState], say: Callable[[str], None] = print
    ) -> TrainState | None:
        """The newest state that is whole, or the best, on this process's default device; None where no step is there.

        which: "final", or "best" of those that are whole. template: maps the saved config to the state's shapes, as of
        `jax.eval_shape`, or refuses it. Damaged checkpoints are skipped, with a line each to `say`; a writer renames them, as
        the run will come to their steps again.

        Raises:
            InputError: the state is another than the template's, or no checkpoint is whole, or there is no best one.
        """
        candidates = self.steps()[::-1]
        if which == "best":
            scored = {step: score for step in candidates if np.isfinite(score := self.score(step))}
            if candidates and not scored:
                raise InputError(f"{self.directory}: no checkpoint has a score that can be read; take the final one")
            candidates = sorted(scored, key=lambda step: (scored[step], step))
        damaged = []
        for step in candidates:
            try:
                state = self._read(step, template)
            except DamagedError as damage:
                say(f"{self.directory}: the checkpoint of step {step} is damaged ({damage}); it is left out")
                damaged.append(step)
            else:
                for old in damaged if not self._read_only else []:
                    self._set_aside(old)
                return state
        if damaged:
            raise InputError(f"{self.directory}: no checkpoint there is whole; move the folder away to begin anew")
        return None

    def _write(self, step: int, state: TrainState, config: Mapping[str, Any], score: float | None) -> None:
        scored = None if score is None or not np.isfinite(score) else float(score)
        record = {"config": config, "score": scored, "leaves": {path: _describe(leaf) for path, leaf in _leaves(state)}}
        items = {"state": ocp.args.StandardSave(state), "record": ocp.args.JsonSave(record | {"sha256": _digest(record)})}
        self._manager.save(step, args=ocp.args.Composite(**items))
        best = self.best_step()
        for old in self.steps()[: -self._keep]:
            if old != best:
                self._remove(old)

    def _record(self, step: int) -> dict[str, Any]:
        try:
            items = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))
            record: dict[str, Any] = items["record"]
            digest = record.pop("sha256")
        except Exception as error:  # a file that is gone, cut, or no JSON any more
            raise DamagedError(f"its record: {_reason(error)}") from error
        if digest != _digest(record):
            raise DamagedError("its record differs from its digest")
        return record

    def _read(self, step: int, make_template: Callable[[dict[str, Any]], TrainState]) -> TrainState:
        record = self._record(step)
        template = make_template(record["config"])
        expected = {path: _kind(leaf) for path, leaf in _leaves(template)}
        saved = {path: kind["kind"] for path, kind in record["leaves"].items()}
        for path in (*expected, *saved):
            if expected.get(path) != saved.get(path):
                there, here = saved.get(path, "absent"), expected.get(path, "none")
                raise InputError(f"{self.directory}: state{path} is {there} in step {step}, and {here} by the config")
        arrays = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template)
        _silence_late_reads()
        try:
            state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(arrays)))["state"]
        except Exception as error:  # TensorStore's word for a file that is gone, cut or no longer its own
            raise DamagedError(_reason(error)) from error
        for path, leaf in _leaves(state):
            if _describe(leaf) != record["leaves"][path]:
                raise DamagedError(f"state{path} differs from its digest")
        on_device: TrainState = jax.device_put(state)
        return on_device

    def _remove(self, step: int) -> None:
        self._scores.pop(step, None)
        self._manager.delete(step)

    def _set_aside(self, step: int) -> None:
        """Out of the run's way, and not deleted: what cannot be read here and now may be whole after all."""
        self._scores.pop(step, None)
        (self.directory / str(step)).rename(self.directory / f"damaged-{step}-{uuid4().hex[:8]}")
        self._manager.reload()

    def _sweep(self) -> None:
        """Remove what a save that was cut off has left: the run will come to that step again."""
        whole = {str(step) for step in self.steps()}
        for entry in self.directory.iterdir():
            if entry.is_dir() and entry.name not in whole and entry.name.split(".")[0].isdecimal():
                shutil.rmtree(entry)


@cache
def _silence_late_reads() -> None:
    """Should a restore fail, its other reads end after its event loop: each would print a traceback of its own."""
    report = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = report_others


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _describe(leaf: np.ndarray) -> dict[str, str]:
    return {"kind": _kind(leaf), "sha256": hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()}


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def state_digest(state: TrainState) -> str:
    """A sha256 of every bit of a state."""
    return _digest({path: _describe(np.asarray(leaf)) for path, leaf in _leaves(state)})


def _reason(error: BaseException) -> str:
    """What a library says, in a few words: the system's own where it quotes them, else its first line."""
    system = re.search(r"([^:]+) \[os_error_code", str(error))
    lines = [system[1]] if system else str(error).splitlines()
    return f"{type(error).__name__}: {lines[0].strip()[:200]}" if lines else type(error).__name__
