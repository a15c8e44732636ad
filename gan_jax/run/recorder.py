"""The record of a run: its metrics are checked, watched, written and shown."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from gan_jax.errors import NonFiniteError
from gan_jax.evaluation import format_metrics
from gan_jax.files import read_jsonl
from gan_jax.run.config import Plan
from gan_jax.run.entries import images_before, used_entries
from gan_jax.run.events import TensorBoard
from gan_jax.run.scalars import IntervalMeans, RecipeNumbers
from gan_jax.run.wandb_run import WeightsAndBiases
from gan_jax.run.watch import CollapseWatch, Episode
from gan_jax.run.writers import MetricBuffer, MetricWriter, Progress, Tracker
from gan_jax.steps import Metrics


def has_ended(workdir: Path, step: int) -> bool:
    """Whether runs.jsonl has the row of a run's end at this step; it has none where a kill followed the last save."""
    ends = [row.get("to_step") for row in read_jsonl(workdir / "runs.jsonl") if row.get("ended", "complete") == "complete"]
    return step in ends


def _trackers(plan: Plan, workdir: Path, start: int) -> list[Tracker]:
    """Open TensorBoard's events and, where the config has a project, Weights & Biases; both get the config."""
    trackers: list[Tracker] = [TensorBoard(workdir, start=start)]
    if plan.config.wandb:
        trackers.append(WeightsAndBiases(plan.config.wandb, workdir))
    for tracker in trackers:
        tracker.add_config(plan.resolved, used_entries(plan.resolved))
    return trackers


class Recorder:
    """Record the metrics of a run from step `start` on: metrics.jsonl, eval.jsonl, trackers, progress.

    workdir: None for a process that writes nothing and only checks its metrics. The watch continues from the rows that the run
    has written before.
    """

    def __init__(self, plan: Plan, workdir: Path | None, *, start: int):
        config = plan.config
        self._log_every, self._total = config.log_every, config.num_steps
        self._images_per_step, self._numbers = plan.images_per_step, RecipeNumbers(plan)
        self._images_before = images_before(plan.resolved)
        self._means = IntervalMeans(plan.gan.penalty_every)
        self.watch = CollapseWatch(config.watch.steps, config.watch.diversity, stops=config.watch.action == "stop")
        self._step = start
        self._writer = MetricWriter(workdir, start=start, trackers=_trackers(plan, workdir, start)) if workdir else None
        lag = 1 if plan.steps_per_call > 1 else 2  # a call of many steps keeps the device busy; each one more delays a stop
        self._buffer = MetricBuffer(chunk=-(-config.log_every // plan.steps_per_call), lag=lag)
        self._progress = Progress(total=config.num_steps, images_per_step=self._images_per_step)
        for row in self._writer.metrics.rows if self._writer else ():
            self.watch.add_metrics(row["step"], row)
        for row in self._writer.evaluations.rows if self._writer else ():
            self.watch.add_evaluation(row["step"], row)
        if self._writer:
            self._means.resume(self._writer.unfinished(start))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        self._progress.close()
        if self._writer:
            self._writer.close(complete=error is None and self._step == self._total)

    def start_clock(self, step: int) -> None:
        """Exclude everything before this step from the rates."""
        self._progress.start_clock(step)

    def add_metrics(self, steps: range, metrics: Metrics) -> None:
        """Add the metrics `[len(steps)]` of one call, still on the device; they are recorded a few calls later.

        Raises:
            NonFiniteError: a metric that was read is nan or inf.
        """
        self._record(self._buffer.push(steps, metrics))
        self._step = steps[-1]
        self._progress.update(self._step)

    def flush(self) -> None:
        """Wait for the device and record all metrics."""
        self._record(self._buffer.flush())

    def add_picture(self, step: int, name: str, path: Path) -> None:
        """Show the picture in a file to those that track the run."""
        if self._writer:
            self._writer.add_picture(step, name, path)

    def keep_unfinished(self, step: int) -> None:
        """Keep the sums of the interval that a checkpoint of this step cuts in two, for a process that resumes from it."""
        if self._writer and (sums := self._means.unfinished()):
            self._writer.keep_unfinished(step, sums)

    def add_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record what was measured of the samples of a step."""
        if self._writer and metrics:
            self._writer.write(self._writer.evaluations, step, metrics)
            self._warn(self.watch.add_evaluation(step, metrics))
            if shown := {name: number for name, number in metrics.items() if name.startswith("eval/")}:
                self._progress.print(f"step {step}: {format_metrics(shown)}")

    def evaluation_of(self, step: int) -> dict[str, float]:
        """Return the row of eval.jsonl that a process before this one has written of a step; empty where there is none."""
        rows = self._writer.evaluations.rows if self._writer else []
        return next((row for row in rows if row["step"] == step), {})

    def drop_evaluation(self, step: int) -> None:
        """Drop the row of a step from eval.jsonl, as it is to be written anew."""
        if self._writer:
            self._writer.evaluations.drop(step)

    def summary(self) -> dict[str, Any]:
        """Return the rates and the episodes of collapse, for runs.jsonl."""
        return self._progress.rates() | {"watch": [str(episode) for episode in self.watch.episodes]}

    def _record(self, rows: Iterable[tuple[int, dict[str, float]]]) -> None:
        for step, metrics in rows:
            if bad := [f"{name} is {number}" for name, number in metrics.items() if not np.isfinite(number)]:
                raise NonFiniteError(f"step {step}: {', '.join(bad[:2])}")
            if not self._writer:
                continue
            self._warn(self.watch.add_metrics(step, metrics))
            self._means.add(step, metrics)
            if step % self._log_every == 0 or step == self._total:
                means = self._means.take()
                seen = self._images_before + step * self._images_per_step
                row = {"images_seen": seen} | means | self._progress.rates() | self._numbers.at(step)
                self._writer.write(self._writer.metrics, step, row)
                self._progress.report(step, means)

    def _warn(self, episodes: Iterable[Episode]) -> None:
        for episode in episodes:
            self._progress.print(f"warning: {episode}")
