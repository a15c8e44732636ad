"""From a config to a trained GAN: the one loop, with its logs, pictures and checkpoints."""

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan_jax.data import DENSITIES, Dataset, ImageDataset
from gan_jax.errors import CollapseError, InputError, StoppedError
from gan_jax.evaluation import format_metrics, make_evaluator
from gan_jax.evaluation.results import append_row
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.parallel import choose_devices, make_step
from gan_jax.run import distributed, plots
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import (
    check_config,
    differences,
    make_configured_dataset,
    make_gan,
    resolve,
    shared_entries,
    steps_per_call,
)
from gan_jax.run.recorder import Journal
from gan_jax.run.runtime import StopSignals, sole_writer
from gan_jax.run.watch import CollapseWatch
from gan_jax.sampling import sample
from gan_jax.state import GAN, TrainState, abstract_state, create_state, run_keys


def train(config: ConfigDict, workdir: str | Path) -> TrainState:
    """Train to `config.num_steps`, from the newest whole checkpoint of the workdir where there is one; return the last state.

    Of several processes (see `hosts`) all call it, and process 0 alone touches the workdir.

    Writes config.json, metrics.jsonl, eval.jsonl, tensorboard/, samples/, checkpoints/, curves.png, training.gif and, for each
    call that trained, a row of history.jsonl: steps, devices, times, how it ended, config, commit, hardware, versions.

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
    rngs = run_keys(config.seed)._asdict()

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
        shared = shared_entries(resolved)
        distributed.agree([shared, len(dataset.images) if isinstance(dataset, ImageDataset) else None])
        restored = checkpoints.restore("final", template) if checkpoints else None
        state = distributed.of_first(create_state(gan, rngs["init"]) if restored is None else restored)
        if distributed.first():
            write_atomic(workdir / "config.json", lambda file: file.write_text(json.dumps(resolved, indent=2) + "\n"))
        start = int(state.step)
        if start < config.num_steps:
            begun = f"resuming at step {start}" if start else "a new run"
            print(f"{workdir}: {begun}, {config.num_steps} steps in all", flush=True)
            state = _loop(config, workdir, gan, dataset, state, checkpoints, rngs)
        else:
            print(f"{workdir}: the run is complete at step {start}; a larger config.num_steps continues it")
        if checkpoints:
            print(f"pictures: {', '.join(str(path) for path in _finish(workdir))}", flush=True)
    return state


@contextmanager
def _open_workdir(workdir: Path, resolved: Mapping[str, Any]) -> Iterator[Checkpoints | None]:
    """The checkpoints of a run, for the one process that writes there; the others have none."""
    if not distributed.first():
        yield None
        return
    with sole_writer(workdir), Checkpoints(workdir / "checkpoints", keep=resolved["keep_checkpoints"]) as checkpoints:
        yield checkpoints


def _loop(
    config: ConfigDict,
    workdir: Path,
    gan: GAN,
    dataset: Dataset,
    state: TrainState,
    checkpoints: Checkpoints | None,
    rngs: Mapping[str, jax.Array],
) -> TrainState:
    mode, devices = choose_devices(config.parallel, config.batch_size)
    step = make_step(gan, dataset, config.seed, parallel=mode, sync_batch_norm=config.sync_batch_norm)
    start, total, per_call = int(state.step), config.num_steps, steps_per_call(config, gan)
    number, compile_seconds = start, 0.0
    intervals = (config.sample_every, config.checkpoint_every, config.eval_every or total)

    def draw_picture(state: TrainState, path: Path) -> np.ndarray:
        samples = sample(gan, state, rngs["sample"], config.num_samples)
        save_samples(gan, state, config, samples, path)
        return samples / 127.5 - 1 if samples.dtype == np.uint8 else samples

    journal = Journal(
        workdir if distributed.first() else None,
        start=start,
        total=total,
        log_every=config.log_every,
        chunk=-(-config.log_every // per_call),
        images_per_step=config.batch_size * config.disc_steps,
        watch=CollapseWatch(config.watch.steps, config.watch.diversity, stops=config.watch.action == "stop"),
        draw=draw_picture,
        last_good=checkpoints.latest_step if checkpoints else lambda: None,
    )
    with journal, StopSignals() as signals:
        evaluator = make_evaluator(gan, dataset, num=config.eval_num) if config.eval_every and distributed.first() else None
        journal.look_at_data(dataset.batches(config.seed, 0))
        if start == 0:
            journal.picture(state)
        # To stop: by the number of a signal, or by 1 for a collapse. All processes agree, by a collective: not at every step.
        asked = distributed.largest(signals.number or int(journal.watch.stop))
        began = time.perf_counter()
        while number < total and not asked:
            boundary = min(total, *(number + every - number % every for every in intervals))
            count = per_call if boundary - number >= per_call else 1
            state, metrics = step(state, number, count)
            if number == start:
                compile_seconds = time.perf_counter() - began
                normed = "whole batch" if config.sync_batch_norm else "device's part of it"
                over = f", {mode} over {len(devices)} devices, batch norm over the {normed}" if len(devices) > 1 else ""
                print(f"compiled the step in {compile_seconds:.1f} s{over}", flush=True)
                journal.progress.begin(start + count)
            number += count
            journal.push(range(number - count + 1, number + 1), metrics, state)
            if journal.due(number, config.sample_every):
                journal.picture(state)
            look = evaluator if evaluator and journal.due(number, config.eval_every) else None
            if look or number % config.checkpoint_every == 0:
                journal.drain(state)
                score = journal.evaluate(look, state) if look else None
                if checkpoints:
                    checkpoints.save(state, resolve(config), score=score)
            if not distributed.joined() or number // config.log_every > (number - count) // config.log_every:
                asked = distributed.largest(signals.number or int(journal.watch.stop))
        journal.drain(state)
        if checkpoints:
            checkpoints.save(state, resolve(config))
            checkpoints.wait()
        if not asked:
            asked = distributed.largest(signals.number or 0)
    rate = journal.progress.rate()
    ended = "complete" if number == total else signal.Signals(asked).name if asked > 1 else "collapse"
    row = (
        {"from_step": start, "to_step": number, "ended": ended, "parallel": mode, "devices": len(devices)}
        | {"processes": jax.process_count(), "compile_seconds": compile_seconds, "seconds": time.perf_counter() - began}
        | {"steps_per_second": rate, "images_per_second": rate * journal.images_per_step}
        | {"watch": [str(episode) for episode in journal.watch.episodes], "config": resolve(config)}
    )
    if distributed.first():
        append_row(workdir / "history.jsonl", row)
    for episode in journal.watch.episodes:
        print(f"watch: {episode}")
    if evaluator and checkpoints and number == total:
        print(f"step {total}: {format_metrics(journal.found)}")
        print(f"real baseline: {format_metrics(evaluator.real_baseline())}", flush=True)
        _compare_best(checkpoints, evaluator.selection_metric, total)
    if number < total or asked > 1:
        _raise_why(asked, number, total, journal.watch)
    return state


def _compare_best(checkpoints: Checkpoints, name: str, total: int) -> None:
    best = checkpoints.best_step()
    if best is not None:
        scores = " and ".join(f"{checkpoints.score(step):.4g} at step {step}" for step in (best, total))
        print(f"{name} of the best and the final checkpoint, both kept: {scores}", flush=True)


def _raise_why(asked: int, number: int, total: int, watch: CollapseWatch) -> NoReturn:
    """The error of a run that was stopped: by a signal, or else by its watch, which on another process has no episodes."""
    if asked > 1:
        raise StoppedError(asked, f"saved step {number} of {total}; the same command goes on from there")
    seen = "".join(f"{episode}; " for episode in watch.episodes[-1:])
    raise CollapseError(f"stopped at step {number} and saved it: {seen}--config.watch.action=warn goes on")


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


def save_samples(
    gan: GAN, state: TrainState, config: ConfigDict, samples: np.ndarray, path: Path, *, columns: int | None = None
) -> None:
    """A grid of images; points as a scatter over the data's density, with D's contours."""
    if samples.ndim == 4:
        plots.save_grid(samples, path, columns=columns)
        return
    density = DENSITIES[config.data.name]()
    disc = {"params": state.params.disc, "batch_stats": state.stats.disc}
    plots.save_points(
        samples,
        path,
        log_prob=lambda points: np.asarray(density.log_prob(jnp.asarray(points))),
        disc_prob=lambda points: np.asarray(jax.nn.sigmoid(gan.networks.disc.apply(disc, points, None, train=False))),
        extent=1.4 * float(np.abs(density.means).max()),
        title=f"{config.data.name}, step {int(state.step)}",
    )


def _finish(workdir: Path) -> list[Path]:
    """Curves and animation, from what the run has left on disk; the pictures worth a look."""
    frames, rows = sorted((workdir / "samples").glob("*.png")), read_jsonl(workdir / "metrics.jsonl")
    pictures = frames[-1:]
    if rows:
        plots.save_curves(rows, workdir / "curves.png")
        pictures.append(workdir / "curves.png")
    if frames:
        plots.save_animation(frames, workdir / "training.gif")
        pictures.append(workdir / "training.gif")
    return pictures
