"""From a config to a trained GAN: the one loop, with its logs, pictures and checkpoints."""

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan_jax import hosts, plots
from gan_jax.checkpoints import Bystander, Checkpoints
from gan_jax.config import check_config, differences, make_configured_dataset, make_gan, resolve, steps_per_call
from gan_jax.data import DENSITIES, Dataset
from gan_jax.errors import CollapseError, InputError, NonFiniteError, StoppedError
from gan_jax.evaluation import Evaluator, final_report, in_words, make_evaluator
from gan_jax.evidence import append_row
from gan_jax.files import read_rows, write_whole
from gan_jax.logs import MetricBuffer, MetricLogger, Progress
from gan_jax.metrics import mean_pairwise_distance
from gan_jax.parallel import choose_devices, make_step
from gan_jax.process import StopSignals, sole_writer
from gan_jax.sampling import sample
from gan_jax.state import GAN, TrainState, abstract_state, create_state
from gan_jax.steps import Metrics
from gan_jax.watch import CollapseWatch, Episode


def train(config: ConfigDict, workdir: str | Path) -> TrainState:
    """Train to `config.num_steps`, from the newest whole checkpoint of the workdir where there is one; return the last state.

    Of several processes (see `hosts`) all call it, and process 0 alone touches the workdir.

    Writes config.json, metrics.jsonl, evaluation.jsonl, tensorboard/, samples/, checkpoints/, curves.png, training.gif and, for
    each call that trained, a row of history.jsonl: steps, devices, times, how it ended, config, commit, hardware, versions.

    Raises:
        InputError: the config cannot be trained, or is not the one of the run that the workdir holds, or another process trains
            there.
        NonFiniteError: a loss or a leaf of the state is nan or inf.
        CollapseError: the GAN has failed, and `config.watch.action` is to stop.
        WorkerError: a process that loads data died; so does it.
        SaveError: a checkpoint could not be written.
        StoppedError: SIGTERM or SIGINT; the state of that step is saved.
    """
    check_config(config)
    workdir, resolved, gan = Path(workdir), resolve(config), make_gan(config)
    rngs = dict(zip(("init", "train", "sample"), jax.random.split(jax.random.key(config.seed), 3), strict=True))

    def template(saved: dict[str, Any]) -> TrainState:
        if changes := differences(saved, resolved):
            raise InputError(
                f"{workdir} holds a run with another config ({', '.join(changes)}): give another --workdir, or its values"
            )
        return abstract_state(gan)

    with (
        closing(make_configured_dataset(config)) as dataset,
        _open_workdir(workdir, resolved) as checkpoints,
    ):
        restored = checkpoints.restore("final", template)
        state = hosts.of_first(create_state(gan, rngs["init"]) if restored is None else restored)
        if hosts.first():
            write_whole(workdir / "config.json", lambda file: file.write_text(json.dumps(resolved, indent=2) + "\n"))
        start = int(state.step)
        if start < config.num_steps:
            begun = f"resuming at step {start}" if start else "a new run"
            print(f"{workdir}: {begun}, {config.num_steps} steps in all", flush=True)
            state = _loop(config, workdir, gan, dataset, state, checkpoints, rngs)
        else:
            print(f"{workdir}: the run is complete at step {start}; a larger config.num_steps continues it")
    if hosts.first():
        print(f"pictures: {', '.join(str(path) for path in _finish(workdir))}", flush=True)
    return state


@contextmanager
def _open_workdir(workdir: Path, resolved: Mapping[str, Any]) -> Iterator[Checkpoints | Bystander]:
    """The checkpoints of a run, for the one process that writes there; the others stand by."""
    if not hosts.first():
        yield Bystander()
        return
    with sole_writer(workdir), Checkpoints(workdir / "checkpoints", keep=resolved["keep_checkpoints"]) as checkpoints:
        yield checkpoints


class _Journal:
    """What a run writes while it goes: rows, pictures, progress, and the warnings of its collapse watch.

    Of several processes, the first one keeps it; the others look at their metrics alone.
    """

    def __init__(self, config: ConfigDict, workdir: Path, gan: GAN, rng: jax.Array, *, start: int, per_call: int):
        self._config, self._workdir, self._gan, self._rng = config, workdir, gan, rng
        self.images_per_step = config.batch_size * config.disc_steps
        self._logger = MetricLogger(workdir, start=start) if hosts.first() else None
        self._buffer = MetricBuffer(chunk=-(-config.log_every // per_call))
        self.progress = Progress(total=config.num_steps, images_per_step=self.images_per_step)
        self.watch = CollapseWatch(config.watch.steps, config.watch.diversity)
        for row in self._logger.metrics.rows if self._logger else ():
            self.watch.metrics(row["step"], row)
        for row in self._logger.evaluations.rows if self._logger else ():
            if "samples/diversity" in row:
                self.watch.samples(row["step"], row["samples/diversity"])
        self._spread = 0.0  # mean pairwise distance of real examples

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.close()
        if self._logger:
            self._logger.close()

    @property
    def stop(self) -> bool:
        """Whether the watch sees a collapse, and the config says to stop there."""
        return self._config.watch.action == "stop" and self.watch.ongoing()

    def due(self, number: int, every: int) -> bool:
        return number % every == 0 or number == self._config.num_steps

    def look_at_data(self, batch: Mapping[str, jax.Array]) -> None:
        """Take a batch `[k, B, …]` of real examples as the measure of how far apart samples should be."""
        images = np.asarray(batch["images"])[0]
        self._spread = _spread(images) if len(images) > 1 else 0.0

    def push(self, steps: range, metrics: Metrics, check: Callable[[int, Mapping[str, float]], None]) -> None:
        """Take the metrics of one call; those that have arrived by now are checked and written."""
        self._record(self._buffer.push(steps, metrics), check)
        self.progress.update(steps[-1])

    def drain(self, check: Callable[[int, Mapping[str, float]], None]) -> None:
        """Wait for the device, and write what is left."""
        self._record(self._buffer.drain(), check)

    def _record(self, rows: Iterable[tuple[int, dict[str, float]]], check: Callable[[int, Mapping[str, float]], None]) -> None:
        for number, metrics in rows:
            check(number, metrics)
            if self._logger is None:
                continue
            self._warn(self.watch.metrics(number, metrics))
            if self.due(number, self._config.log_every):
                rate = self.progress.rate()
                speed = {"steps_per_second": rate, "images_per_second": rate * self.images_per_step}
                self._logger.write(number, {"images_seen": number * self.images_per_step, **metrics, **speed})
                self.progress.report(number, metrics["value"])

    def picture(self, state: TrainState) -> None:
        """Draw the samples of the run's own latents, and see how far apart they are."""
        if self._logger is None:
            return
        samples = sample(self._gan, state, self._rng, self._config.num_samples)
        number = int(state.step)
        save_samples(self._gan, state, self._config, samples, self._workdir / "samples" / f"{number:08d}.png")
        if self._spread and len(samples) > 1:
            scaled = samples / 127.5 - 1 if samples.dtype == np.uint8 else samples
            diversity = _spread(scaled) / self._spread
            self._logger.write_evaluation(number, {"samples/diversity": diversity})
            self._warn(self.watch.samples(number, diversity))

    def evaluate(self, evaluator: Evaluator, state: TrainState) -> float:
        """Measure samples of the state; the number by which the best step is chosen."""
        began = time.perf_counter()
        assert self._logger is not None
        found = evaluator(state)
        self._logger.write_evaluation(int(state.step), found)
        self.progress.say(f"step {int(state.step)}: {in_words(found)} ({time.perf_counter() - began:.1f} s)")
        return found[evaluator.best]

    def _warn(self, episodes: Iterable[Episode]) -> None:
        for episode in episodes:
            self.progress.say(f"warning: {episode}")


def _spread(examples: np.ndarray) -> float:
    return mean_pairwise_distance(examples.reshape(len(examples), -1))


def _loop(
    config: ConfigDict,
    workdir: Path,
    gan: GAN,
    dataset: Dataset,
    state: TrainState,
    checkpoints: Checkpoints | Bystander,
    rngs: Mapping[str, jax.Array],
) -> TrainState:
    mode, devices = choose_devices(config.parallel, config.batch_size)
    step = make_step(gan, dataset, parallel=mode, sync_batch_norm=config.sync_batch_norm)
    start, total, per_call = int(state.step), config.num_steps, steps_per_call(config, gan)
    number, compile_seconds = start, 0.0
    intervals = (config.sample_every, config.checkpoint_every, config.eval_every or total)

    def check(number: int, metrics: Mapping[str, float]) -> None:
        check_finite(number, metrics, state, checkpoints.latest_step)

    with _Journal(config, workdir, gan, rngs["sample"], start=start, per_call=per_call) as journal, StopSignals() as signals:
        evaluator = make_evaluator(gan, dataset, num=config.eval_num) if config.eval_every and hosts.first() else None
        if start == 0:
            journal.picture(state)
        asked = hosts.largest(int(journal.stop))  # to stop: by 1 for a collapse, or by the number of a signal
        began = time.perf_counter()
        while number < total and not asked:
            boundary = min(total, *(number + every - number % every for every in intervals))
            count = per_call if boundary - number >= per_call else 1
            draws = [dataset.draw(config.seed, number + offset) for offset in range(count)]
            state, metrics = step(state, draws, rngs["train"])
            if number == start:
                compile_seconds = time.perf_counter() - began
                normed = "whole batch" if config.sync_batch_norm else "device's part of it"
                over = f", {mode} over {len(devices)} devices, batch norm over the {normed}" if len(devices) > 1 else ""
                print(f"compiled the step in {compile_seconds:.1f} s{over}", flush=True)
                journal.look_at_data(dataset.load(dataset.arrays, draws[0]))
                journal.progress.begin(start + count)
            number += count
            journal.push(range(number - count + 1, number + 1), metrics, check)
            if journal.due(number, config.sample_every):
                journal.picture(state)
            look = evaluator if evaluator and journal.due(number, config.eval_every) else None
            if look or number % config.checkpoint_every == 0:
                journal.drain(check)
                check(number, {})
                score = journal.evaluate(look, state) if look else None
                checkpoints.save(state, resolve(config), score=score)
            if not hosts.joined() or number // config.log_every > (number - count) // config.log_every:
                asked = hosts.largest(signals.number or int(journal.stop))  # a collective: not at every step
        journal.drain(check)
        check(number, {})
        checkpoints.save(state, resolve(config))
        checkpoints.wait()
    rate = journal.progress.rate()
    ended = "complete" if number == total else signal.Signals(asked).name if asked > 1 else "collapse"
    row = (
        {"from_step": start, "to_step": number, "ended": ended, "parallel": mode, "devices": len(devices)}
        | {"processes": jax.process_count(), "compile_seconds": compile_seconds, "seconds": time.perf_counter() - began}
        | {"steps_per_second": rate, "images_per_second": rate * journal.images_per_step}
        | {"watch": [str(episode) for episode in journal.watch.episodes], "config": resolve(config)}
    )
    if hosts.first():
        append_row(workdir / "history.jsonl", row)
    for episode in journal.watch.episodes:
        print(f"watch: {episode}")
    if evaluator and isinstance(checkpoints, Checkpoints) and number == total:
        final_report(evaluator, state, workdir)
        best = checkpoints.best_step()
        if best is not None:
            scores = " and ".join(f"{checkpoints.score(step):.4g} at step {step}" for step in (best, total))
            print(f"{evaluator.best} of the best and the final checkpoint, both kept: {scores}", flush=True)
    if asked > 1 and number < total:
        raise StoppedError(asked, f"saved step {number} of {total}; the same command goes on from there")
    if number < total:
        raise CollapseError(
            f"stopped at step {number} and saved it: {', '.join(map(str, journal.watch.episodes[-1:]))}; "
            f"--config.watch.action=warn goes on"
        )
    return state


def restore_run(workdir: str | Path, which: str = "final") -> tuple[ConfigDict, GAN, TrainState]:
    """A run that was trained in a workdir: its config and recipe, and the state of its newest checkpoint, or its best."""
    directory = Path(workdir) / "checkpoints"
    if not directory.is_dir():
        raise InputError(f"--workdir={workdir}: no run is there; train one with experiments/train.py --workdir={workdir}")
    configs: dict[str, Any] = {}

    def template(saved: dict[str, Any]) -> TrainState:
        configs.update(saved)
        return abstract_state(make_gan(ConfigDict(saved)))

    with Checkpoints(directory, read_only=True) as checkpoints:
        state = checkpoints.restore(which, template)
    if state is None:
        raise InputError(f"--workdir={workdir}: the run there has no checkpoint yet; train it to config.checkpoint_every")
    config = ConfigDict(configs)
    return config, make_gan(config), state


def restore_steps(workdir: str | Path) -> dict[str, tuple[GAN, TrainState]]:
    """Recipe and state of a run's "final" step and, where checkpoints have scores, of its "best" one."""
    steps = {"final": restore_run(workdir)[1:]}
    try:
        steps["best"] = restore_run(workdir, "best")[1:]
    except InputError as error:
        print(f"no best step: {error}", flush=True)
    return steps


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


def save_samples(
    gan: GAN, state: TrainState, config: ConfigDict, samples: np.ndarray, path: Path, *, columns: int | None = None
) -> None:
    """A grid of images; points as a scatter over the data's density, with D's contours."""
    if samples.ndim == 4:
        plots.save_grid(samples, path, columns=columns)
        return
    density = DENSITIES[config.data.name]()
    disc = {"params": state.params.disc, "batch_stats": state.batch_stats.disc}
    plots.save_points(
        samples,
        path,
        log_prob=lambda points: np.asarray(density.log_prob(jnp.asarray(points))),
        disc_prob=lambda points: np.asarray(jax.nn.sigmoid(gan.networks.disc.apply(disc, points, train=False))),
        extent=1.4 * float(np.abs(density.means).max()),
        title=f"{config.data.name}, step {int(state.step)}",
    )


def _finish(workdir: Path) -> list[Path]:
    """Curves and animation, from what the run has left on disk; the pictures worth a look."""
    frames = sorted((workdir / "samples").glob("*.png"))
    plots.save_curves(read_rows(workdir / "metrics.jsonl"), workdir / "curves.png")
    plots.save_animation(frames, workdir / "training.gif")
    return [frames[-1], workdir / "curves.png", workdir / "training.gif"]
