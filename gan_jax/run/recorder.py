"""What a run writes while it goes: rows, pictures, progress, what its samples are like; and what it stops for."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Batch
from gan_jax.errors import NonFiniteError
from gan_jax.evaluation import Evaluator, format_metrics
from gan_jax.evaluation.metrics import mean_pairwise_distance
from gan_jax.run.watch import CollapseWatch, Episode
from gan_jax.run.writers import MetricBuffer, MetricLogger, Progress
from gan_jax.state import TrainState
from gan_jax.steps import Metrics


class Journal:
    """The journal of a run from step `start` to `total`, in its workdir.

    workdir: None for a process that keeps none, and looks at its metrics alone. chunk: calls of the step whose metrics are read
    at once. draw: makes the picture of a state in a file, and gives the samples in it, images in [-1, 1]. last_good: the step
    of the checkpoint that is kept should numbers go bad.
    """

    def __init__(
        self,
        workdir: Path | None,
        *,
        start: int,
        total: int,
        log_every: int,
        chunk: int,
        images_per_step: int,
        watch: CollapseWatch,
        draw: Callable[[TrainState, Path], np.ndarray],
        last_good: Callable[[], int | None],
    ):
        self._workdir, self._total, self._log_every = workdir, total, log_every
        self._draw, self._last_good, self.watch = draw, last_good, watch
        self.images_per_step = images_per_step
        self._logger = MetricLogger(workdir, start=start) if workdir else None
        self._buffer = MetricBuffer(chunk=chunk)
        self.progress = Progress(total=total, images_per_step=images_per_step)
        self._spread = 0.0  # mean pairwise distance of real examples
        self.found: dict[str, float] = {}  # by the last look at samples
        for row in self._logger.metrics.rows if self._logger else ():
            watch.metrics(row["step"], row)
        for row in self._logger.evaluations.rows if self._logger else ():
            if "samples/diversity" in row:
                watch.samples(row["step"], row["samples/diversity"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.close()
        if self._logger:
            self._logger.close()

    def due(self, number: int, every: int) -> bool:
        """At every so many steps, and at the last."""
        return number % every == 0 or number == self._total

    def look_at_data(self, batch: Batch) -> None:
        """Take a batch `[k, B, …]` of real examples as the measure of how far apart samples should be."""
        examples = np.asarray(batch.images)[0]
        self._spread = _spread(examples) if len(examples) > 1 else 0.0

    def push(self, steps: range, metrics: Metrics, state: TrainState) -> None:
        """Take the metrics of one call; those that have arrived by now are checked and written."""
        self._record(self._buffer.push(steps, metrics), state)
        self.progress.update(steps[-1])

    def drain(self, state: TrainState) -> None:
        """Wait for the device, write what is left, and check the state itself."""
        self._record(self._buffer.drain(), state)
        check_finite(int(state.step), {}, state, self._last_good)

    def picture(self, state: TrainState) -> None:
        """Draw the samples of the run's own latents, and see how far apart they are."""
        if not self._workdir or not self._logger:
            return
        number = int(state.step)
        samples = self._draw(state, self._workdir / "samples" / f"{number:08d}.png")
        if self._spread and len(samples) > 1:
            diversity = _spread(samples) / self._spread
            self._logger.write_evaluation(number, {"samples/diversity": diversity})
            self._warn(self.watch.samples(number, diversity))

    def evaluate(self, evaluator: Evaluator, state: TrainState) -> float:
        """Measure samples of the state; the number by which the best step is chosen."""
        assert self._logger is not None
        began, number = time.perf_counter(), int(state.step)
        self.found = evaluator(state)
        self._logger.write_evaluation(number, self.found)
        self.progress.say(f"step {number}: {format_metrics(self.found)} ({time.perf_counter() - began:.1f} s)")
        return self.found[evaluator.selection_metric]

    def _record(self, rows: Iterable[tuple[int, dict[str, float]]], state: TrainState) -> None:
        for number, metrics in rows:
            check_finite(number, metrics, state, self._last_good)
            if not self._logger:
                continue
            self._warn(self.watch.metrics(number, metrics))
            if self.due(number, self._log_every):
                rate = self.progress.rate()
                speed = {"steps_per_second": rate, "images_per_second": rate * self.images_per_step}
                self._logger.write(number, {"images_seen": number * self.images_per_step, **metrics, **speed})
                self.progress.report(number, metrics["value"])

    def _warn(self, episodes: Iterable[Episode]) -> None:
        for episode in episodes:
            self.progress.say(f"warning: {episode}")


def _spread(examples: np.ndarray) -> float:
    return mean_pairwise_distance(examples.reshape(len(examples), -1))


@jax.jit
def _finite_leaves(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), tree)


def check_finite(step: int, metrics: Mapping[str, float], state: TrainState, last_good: Callable[[], int | None]) -> None:
    """Raise `NonFiniteError` where a metric of this step is nan or inf or, given no metrics, where a leaf of the state is.

    The state may be of a few steps after the metrics: the leaf it names is bad, others may have gone bad first.
    """
    bad_metrics = [f"{name} is {number}" for name, number in metrics.items() if not np.isfinite(number)]
    if metrics and not bad_metrics:
        return
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(_finite_leaves(state)))
    bad_leaves = [f"state{jax.tree_util.keystr(path)} has nan or inf" for path, finite in leaves if not finite]
    if bad_metrics or bad_leaves:
        saved = last_good()
        kept = "no checkpoint was saved yet" if saved is None else f"the checkpoint of step {saved} is kept"
        others = f" (and {len(bad_leaves) - 1} leaves more)" if len(bad_leaves) > 1 else ""
        raise NonFiniteError(f"step {step}: {', '.join(bad_metrics[:2] + bad_leaves[:1])}{others}; {kept}")
