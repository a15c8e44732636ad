"""From a config to a trained GAN: the one loop, with its logs, pictures and checkpoints."""

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan_jax import plots
from gan_jax.checkpoints import Checkpoints
from gan_jax.config import check_config, differences, make_configured_dataset, make_gan, resolve, steps_per_call
from gan_jax.data import DENSITIES, Dataset
from gan_jax.errors import InputError, NonFiniteError
from gan_jax.evidence import append_row
from gan_jax.logs import MetricBuffer, MetricLogger, Progress, read_rows
from gan_jax.parallel import choose_devices, make_step
from gan_jax.sampling import sample
from gan_jax.state import GAN, TrainState, abstract_state, create_state


def train(config: ConfigDict, workdir: str | Path) -> TrainState:
    """Train to `config.num_steps`, from the newest checkpoint of the workdir where there is one; return the last state.

    Writes config.json, metrics.jsonl, tensorboard/, samples/, checkpoints/, curves.png, training.gif and, for each call that
    trained, a row of history.jsonl: steps, devices, times, config, commit, hardware, versions.

    Raises:
        InputError: the config cannot be trained, or is not the one of the run that the workdir holds.
        NonFiniteError: a loss or a leaf of the state is nan or inf; the last good checkpoint stays.
        WorkerError: a process that loads data died; so does it.
    """
    check_config(config)
    workdir, resolved, gan = Path(workdir), resolve(config), make_gan(config)
    rngs = dict(zip(("init", "train", "sample"), jax.random.split(jax.random.key(config.seed), 3), strict=True))
    with (
        closing(make_configured_dataset(config)) as dataset,
        Checkpoints(workdir / "checkpoints", keep=config.keep_checkpoints) as checkpoints,
    ):
        saved = checkpoints.latest_step()
        if saved is not None:
            if changes := differences(checkpoints.restore_config(saved), resolved):
                raise InputError(
                    f"{workdir} holds a run with another config ({', '.join(changes)}): give another --workdir, or its values"
                )
            state = checkpoints.restore(saved, abstract_state(gan))
        else:
            state = create_state(gan, rngs["init"])
        (workdir / "config.json").write_text(json.dumps(resolved, indent=2) + "\n")
        start = int(state.step)
        if start < config.num_steps:
            begun = f"resuming at step {start}" if start else "a new run"
            print(f"{workdir}: {begun}, {config.num_steps} steps in all", flush=True)
            state = _loop(config, workdir, gan, dataset, state, checkpoints, rngs)
        else:
            print(f"{workdir}: the run is complete at step {start}; a larger config.num_steps continues it")
    print(f"pictures: {', '.join(str(path) for path in _finish(workdir))}", flush=True)
    return state


def _loop(
    config: ConfigDict,
    workdir: Path,
    gan: GAN,
    dataset: Dataset,
    state: TrainState,
    checkpoints: Checkpoints,
    rngs: Mapping[str, jax.Array],
) -> TrainState:
    mode, devices = choose_devices(config.parallel, config.batch_size)
    step = make_step(gan, dataset, parallel=mode, sync_batch_norm=config.sync_batch_norm)
    start, total = int(state.step), config.num_steps
    images_per_step = config.batch_size * config.disc_steps
    logger = MetricLogger(workdir, start=start)
    per_call = steps_per_call(config, gan)
    buffer = MetricBuffer(chunk=-(-config.log_every // per_call))
    progress = Progress(total=total, images_per_step=images_per_step)

    def due(number: int, every: int) -> bool:
        return number % every == 0 or number == total

    def save_picture() -> None:
        samples = sample(gan, state, rngs["sample"], config.num_samples)
        save_samples(gan, state, config, samples, workdir / "samples" / f"{int(state.step):08d}.png")

    def record(rows: Iterable[tuple[int, dict[str, float]]]) -> None:
        for number, metrics in rows:
            check_finite(number, metrics, state, checkpoints.latest_step())
            if due(number, config.log_every):
                rate = progress.rate()
                speed = {"steps_per_second": rate, "images_per_second": rate * images_per_step}
                logger.write(number, {"images_seen": number * images_per_step, **metrics, **speed})
                progress.report(number, metrics["value"])

    if start == 0:
        save_picture()
    began = time.perf_counter()
    number, intervals = start, (config.sample_every, config.checkpoint_every)
    try:
        while number < total:
            boundary = min(total, *(number + every - number % every for every in intervals))
            count = per_call if boundary - number >= per_call else 1
            draws = [dataset.draw(config.seed, number + offset) for offset in range(count)]
            state, metrics = step(state, draws, rngs["train"])
            if number == start:
                compile_seconds = time.perf_counter() - began
                normed = "whole batch" if config.sync_batch_norm else "device's part of it"
                over = f", {mode} over {len(devices)} devices, batch norm over the {normed}" if len(devices) > 1 else ""
                print(f"compiled the step in {compile_seconds:.1f} s{over}", flush=True)
                progress.begin(start + count)
            number += count
            record(buffer.push(range(number - count + 1, number + 1), metrics))
            progress.update(number)
            if due(number, config.sample_every):
                save_picture()
            if due(number, config.checkpoint_every):
                record(buffer.drain())
                check_finite(number, {}, state, checkpoints.latest_step())
                checkpoints.save(state, resolve(config))
    finally:
        progress.close()
        logger.close()
    seconds = {"compile_seconds": compile_seconds, "seconds": time.perf_counter() - began}
    speed = {"steps_per_second": progress.rate(), "images_per_second": progress.rate() * images_per_step}
    run = {"from_step": start, "to_step": total, "parallel": mode, "devices": len(devices)}
    append_row(workdir / "history.jsonl", {**run, **seconds, **speed, "config": resolve(config)})
    return state


def restore_run(workdir: str | Path, which: str = "final") -> tuple[ConfigDict, GAN, TrainState]:
    """A run that was trained in a workdir: its config and recipe, and the state of its newest checkpoint.

    which: "final" or "best"; runs keep no record of what is best, so that both are the newest.
    """
    directory = Path(workdir) / "checkpoints"
    if not directory.is_dir():
        raise InputError(f"--workdir={workdir}: no run is there; train one with experiments/train.py --workdir={workdir}")
    with Checkpoints(directory, read_only=True) as checkpoints:
        newest = checkpoints.latest_step()
        if newest is None:
            raise InputError(f"--workdir={workdir}: the run there has no checkpoint yet; train it to config.checkpoint_every")
        config = ConfigDict(checkpoints.restore_config(newest))
        gan = make_gan(config)
        return config, gan, checkpoints.restore(newest, abstract_state(gan))


@jax.jit
def _finite_leaves(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), tree)


def check_finite(step: int, metrics: Mapping[str, float], state: TrainState, last_good: int | None) -> None:
    """Raise `NonFiniteError` where a metric of this step is nan or inf or, given no metrics, where a leaf of the state is.

    The state may be of a few steps after the metrics: the leaf it names is bad, others may have gone bad first.
    """
    bad_metrics = [f"{name} is {number}" for name, number in metrics.items() if not np.isfinite(number)]
    if metrics and not bad_metrics:
        return
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(_finite_leaves(state)))
    bad_leaves = [f"state{jax.tree_util.keystr(path)} has nan or inf" for path, finite in leaves if not finite]
    if bad_metrics or bad_leaves:
        kept = "no checkpoint was saved yet" if last_good is None else f"the checkpoint of step {last_good} is kept"
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
