"""The training loop: from a config to a trained GAN, with logs, pictures, evaluations and checkpoints."""

import signal
import time
from contextlib import ExitStack, closing
from enum import IntEnum
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gan_jax.data import Dataset, ImageDataset
from gan_jax.errors import CollapseError, StoppedError
from gan_jax.evaluation import format_metrics
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.evaluation.results import append_row, hardware
from gan_jax.parallel import check_dataset, make_step
from gan_jax.run import distributed
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import Plan, make_configured_dataset, make_plan
from gan_jax.run.entries import shared_entries
from gan_jax.run.finite import check_finite, naming_bad_leaf
from gan_jax.run.orbax import check_path
from gan_jax.run.origin import read_origin
from gan_jax.run.pictures import Pictures, save_run_plots
from gan_jax.run.recorder import Recorder, has_ended
from gan_jax.run.runtime import StopSignals
from gan_jax.run.wandb_run import check_installed
from gan_jax.run.workdir import has_checkpoint, open_workdir, restore_or_create
from gan_jax.state import TrainState


class StopReason(IntEnum):
    """Why a run stops before its last step; of the reasons of several processes, the largest counts."""

    NONE = 0
    COLLAPSE = 1
    SIGINT = signal.SIGINT
    SIGTERM = signal.SIGTERM


def train(config: ConfigDict, workdir: str | Path, *, init_from: str | Path = "", allow_changes: bool = False) -> TrainState:
    """Train to `config.num_steps`, from the newest checkpoint in the workdir if there is one, and return the last state.

    All processes of a run call it (see `distributed`); process 0 alone reads and writes the workdir: config.json,
    metrics.jsonl (training), unfinished.jsonl (sums of a row that a checkpoint cuts in two), eval.jsonl (evaluation),
    runs.jsonl (one row for each call that trained), TensorBoard's events, samples/, real.png, checkpoints/, curves.png,
    training.gif.

    init_from: the workdir of another run, with whose networks a new one begins; a run that has a checkpoint is resumed.
    allow_changes: continue the run under another config, as far as its state has the same shapes and no schedule or ramp-up
    would count the steps so far anew. Its history, in config.json and runs.jsonl, records both.

    Raises:
        InputError: the config cannot be trained or is not that of the run in the workdir, or another process trains there.
        NonFiniteError: a metric or a leaf of the state is nan or inf.
        CollapseError: training has collapsed, and `config.watch.action` is "stop".
        WorkerError: a process that loads data died.
        SaveError: a checkpoint could not be written.
        StoppedError: SIGTERM or SIGINT; the state of the last step is saved.
    """
    workdir = Path(workdir)
    check_path(workdir)
    plan, origin = make_plan(config), None
    check_installed(config.wandb)
    if init_from and distributed.is_primary():
        if has_checkpoint(workdir):  # the same command resumes
            print(f"{workdir}: --init_from={init_from} is ignored, as the run has a checkpoint of its own to resume from")
        else:
            origin = read_origin(plan.gan, init_from, plan.resolved)
    with closing(make_configured_dataset(config)) as dataset, ExitStack() as opened:
        check_dataset(plan.gan, dataset)  # before anything is written
        checkpoints = opened.enter_context(open_workdir(workdir, config.keep_checkpoints))
        num_images = len(dataset.images) if isinstance(dataset, ImageDataset) else None
        distributed.assert_same(shared_entries(plan.resolved), num_images)
        state, plan = restore_or_create(plan, workdir, checkpoints, origin=origin, allow_changes=allow_changes)
        start = int(state.step)
        unreported = start == config.num_steps and checkpoints is not None and not has_ended(workdir, start)
        if start < config.num_steps or distributed.max_over_processes(unreported):
            begins = f"resuming at step {start}" if start else "a new run"
            print(f"{workdir}: {begins}, {config.num_steps} steps in all, on {hardware()}", flush=True)
            state = _Session(plan, workdir, dataset, checkpoints, start).run(state)
        else:
            print(f"{workdir}: the run is complete at step {start}; a larger config.num_steps continues it")
        if checkpoints:
            print(f"pictures: {', '.join(str(path) for path in save_run_plots(workdir))}", flush=True)
    return state


class _Session:
    """One call of `train` that trains, from step `start` on."""

    def __init__(self, plan: Plan, workdir: Path, dataset: Dataset, checkpoints: Checkpoints | None, start: int):
        self.plan, self.config, self.gan, self.workdir = plan, plan.config, plan.gan, workdir
        self.dataset, self.checkpoints, self.start, self.total = dataset, checkpoints, start, plan.config.num_steps
        self.recorder = Recorder(plan, workdir if checkpoints else None, start=start)
        evaluates = self.config.eval_every and checkpoints
        self.evaluator = make_evaluator(self.gan, dataset, num=self.config.eval_num) if evaluates else None
        self.evaluation: dict[str, float] = {}  # the last one
        self.pictures = Pictures(self.gan, self.config, workdir, dataset)

    def run(self, state: TrainState) -> TrainState:
        """Train to the last step or until there is a reason to stop, save the state and report how the run ended."""
        with self.recorder, StopSignals() as signals:
            if self.checkpoints:
                self.pictures.drop_after(self.start)
                self._save_real()
            if self.start == 0:
                self.recorder.add_evaluation(0, self._save_samples(state, 0))
            if self.start == self.total:
                self._make_up_end(state)
            state, stop = self._train_steps(state, signals)
            self._save(state)
            if self.checkpoints:
                self.checkpoints.wait()
            stop = stop or StopReason(distributed.max_over_processes(signals.signum))
        step = int(state.step)
        self._report(state, step, stop)
        if stop > StopReason.COLLAPSE:
            raise StoppedError(stop, f"saved step {step} of {self.total}; rerun the same command to resume")
        if step < self.total:
            symptom = next(iter(self.recorder.watch.episodes[-1:]), "seen by another process")
            raise CollapseError(f"stopped at step {step} and saved it: {symptom}; --config.watch.action=warn continues the run")
        return state

    def _make_up_end(self, state: TrainState) -> None:
        """Evaluate the last step, and save its samples, where no process has: it was killed, or had more steps to go."""
        metrics = self.recorder.evaluation_of(self.total)
        self.evaluation = {name: number for name, number in metrics.items() if name.startswith("eval/")}
        if not metrics or (self.evaluator and not self.evaluation):
            self.recorder.drop_evaluation(self.total)
            self._at_intervals(state, self.total)
        elif self.checkpoints and not self.pictures.path_of(self.total).exists():
            self._save_samples(state, self.total)

    def _train_steps(self, state: TrainState, signals: StopSignals) -> tuple[TrainState, StopReason]:
        config = self.config
        options = {"parallel": self.plan.mode, "sync_batch_norm": config.sync_batch_norm}
        step_fn = make_step(self.gan, self.dataset, config.seed, **options)
        step, stop = self.start, self._stop_reason(signals)
        self.began, self.compile_seconds = time.perf_counter(), 0.0
        while step < self.total and not stop:
            num_steps = self._num_steps_in_call(step)
            state, metrics = step_fn(state, step, num_steps)
            step += num_steps
            if step - num_steps == self.start:
                self._start_clock(step)
            with naming_bad_leaf(state):
                self.recorder.add_metrics(range(step - num_steps + 1, step + 1), metrics)
            self._at_intervals(state, step)
            # All processes agree by a collective, which would be slow after every step.
            if not distributed.is_connected() or step // config.log_every > (step - num_steps) // config.log_every:
                stop = self._stop_reason(signals)
        self._check(state)
        return state, stop

    def _num_steps_in_call(self, step: int) -> int:
        """Return how many steps go in the next call, so that none is due to be recorded in the middle of it."""
        intervals = (self.config.sample_every, self.config.checkpoint_every, self.config.eval_every or self.total)
        next_due = min(self.total, *(step + every - step % every for every in intervals))
        return self.plan.steps_per_call if next_due - step >= self.plan.steps_per_call else 1

    def _at_intervals(self, state: TrainState, step: int) -> None:
        """Save samples, evaluate and save a checkpoint where they are due."""

        def is_due(every: int) -> bool:
            return step % every == 0 or step == self.total

        samples = is_due(self.config.sample_every)
        evaluator = self.evaluator if self.evaluator and is_due(self.config.eval_every) else None
        saves = evaluator is not None or step % self.config.checkpoint_every == 0
        if samples or saves:
            self._check(state)
        metrics = self._save_samples(state, step) if samples else {}
        if evaluator:
            self.evaluation = evaluator(state)
            metrics |= self.evaluation
        self.recorder.add_evaluation(step, metrics)
        if saves:
            self._save(state, metrics[evaluator.selection_metric] if evaluator else None)

    def _save(self, state: TrainState, selection_metric: float | None = None) -> None:
        if self.checkpoints:
            self.recorder.keep_unfinished(int(state.step))  # first: without it the checkpoint would not resume to the same rows
            self.checkpoints.save(state, self.plan.resolved, selection_metric=selection_metric)

    def _save_samples(self, state: TrainState, step: int) -> dict[str, float]:
        if not self.checkpoints:
            return {}
        metrics = self.pictures.save_samples(state, step)
        name = "samples/raw" if state.ema is None else "samples/ema"
        self.recorder.add_picture(step, name, self.pictures.path_of(step))
        return metrics

    def _save_real(self) -> None:
        """Save real.png, and show it where it is new: a resume may have other data, or another number of samples."""
        path = self.pictures.real_path
        before = path.read_bytes() if self.start and path.exists() else None
        self.pictures.save_real()
        if path.read_bytes() != before:
            self.recorder.add_picture(self.start, "samples/real", path)

    def _check(self, state: TrainState) -> None:
        """Record all metrics, and raise `NonFiniteError` where the state itself is not finite."""
        with naming_bad_leaf(state):
            self.recorder.flush()
        check_finite(state)

    def _stop_reason(self, signals: StopSignals) -> StopReason:
        own = signals.signum or (StopReason.COLLAPSE if self.recorder.watch.stop else StopReason.NONE)
        return StopReason(distributed.max_over_processes(own))

    def _start_clock(self, step: int) -> None:
        self.compile_seconds = time.perf_counter() - self.began
        part = "whole batch" if self.config.sync_batch_norm else "device's part of it"
        devices = len(self.plan.devices)
        over = f", {self.plan.mode} over {devices} devices, batch norm over the {part}" if devices > 1 else ""
        print(f"compiled the step in {self.compile_seconds:.1f} s{over}", flush=True)
        self.recorder.start_clock(step)

    def _report(self, state: TrainState, step: int, stop: StopReason) -> None:
        """Print the result, and append the row of runs.jsonl."""
        if not self.checkpoints:
            return
        baseline = self.evaluator.real_baseline() if self.evaluator and step == self.total else {}
        row = (
            {"from_step": self.start, "to_step": step, "ended": "complete" if step == self.total else stop.name.lower()}
            | {"parallel": self.plan.mode, "devices": len(self.plan.devices), "processes": jax.process_count()}
            | {"compile_seconds": self.compile_seconds, "seconds": time.perf_counter() - self.began}
            | self.recorder.summary()
            | {"real_baseline": baseline, "config": self.plan.resolved}
        )
        append_row(self.workdir / "runs.jsonl", row)
        for episode in self.recorder.watch.episodes:
            print(f"watch: {episode}")
        if self.evaluator and baseline:
            weights = "EMA weights" if state.ema is not None else "raw weights"
            print(f"step {step}, {weights}: {format_metrics(self.evaluation)}")
            print(f"real-vs-real baseline: {format_metrics(baseline)}", flush=True)
            metrics = self.checkpoints.selection_metrics()
            kept = " and ".join(f"{metrics[kept]:.4g} at step {kept}" for kept in (*list(metrics)[:1], step) if kept in metrics)
            print(f"{self.evaluator.selection_metric} of the best and the final checkpoint: {kept}", flush=True)
