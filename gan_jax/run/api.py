"""For a notebook or a script of your own: a recipe from entries of the config, training with progress, evaluation, curves."""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from tqdm import tqdm

from gan_jax.configs import default
from gan_jax.data import Dataset
from gan_jax.errors import InputError, NonFiniteError, nearest_key
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.parallel import auto_steps_per_call, make_step
from gan_jax.run.checkpoints import Checkpoints, differing, leaves_by_path
from gan_jax.run.checks import flatten
from gan_jax.run.config import check_recipe
from gan_jax.run.curves import draw_curves
from gan_jax.run.finite import naming_bad_leaf
from gan_jax.run.origin import read_origin
from gan_jax.run.records import DTYPES
from gan_jax.run.restore import restore_run
from gan_jax.run.scalars import IntervalMeans
from gan_jax.state import GAN, TrainState, abstract_state, create_state, run_keys

Callback = Callable[[int, TrainState, dict[str, float]], Any]


class Run(NamedTuple):
    """A run that was read from its folder."""

    config: ConfigDict
    gan: GAN
    state: TrainState


class Fitted(NamedTuple):
    """The state after training, and the mean metrics of every so many steps, with their `step`: rows as in metrics.jsonl."""

    state: TrainState
    history: list[dict[str, float]]


def load(workdir: str | Path, which: str = "final") -> Run:
    """Load the newest checkpoint of a run ("final"), or its best one ("best"); see `restore_run` for old and foreign ones."""
    return Run(*restore_run(workdir, which))


def recipe(sample_shape: tuple[int, ...], entries: Mapping[str, Any] | None = None) -> GAN:
    """Make a recipe for samples of a shape from entries of the config, flat, over the defaults of `gan_jax.configs.default`.

    recipe((32, 32, 3), {"objective": "relativistic", "penalty.r1": 1.0, "network.disc.dcgan.norm": "none"})

    Entries that concern a run rather than its recipe (seed, num_steps, data, parallel, sync_batch_norm, what is logged) change
    nothing; batch_size counts only in schedules and the average, whose horizons are in images.

    Raises:
        InputError: an unknown entry, or a recipe that cannot be built.
    """
    config = default.get_config()
    known = flatten(config.to_dict())
    for key in entries or {}:
        if key not in known:
            raise InputError(f"{key}: no such entry of the config{nearest_key(key, known)}")
    try:
        config.update_from_flattened_dict(dict(entries or {}))
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    if not isinstance(sample_shape, Sequence):
        raise InputError(f"sample_shape={sample_shape}: must be (H, W, C), or (D,) for points")
    return check_recipe(config.to_dict(), tuple(sample_shape))[0]


def fit(
    gan: GAN,
    dataset: Dataset,
    num_steps: int,
    *,
    state: TrainState | None = None,
    init_from: str | Path | None = None,
    seed: int = 0,
    every: int = 50,
    callback: Callback | None = None,
    progress: bool = True,
    parallel: str = "auto",
    sync_batch_norm: bool = True,
) -> Fitted:
    """Train for num_steps generator updates from a new state, or continue another one.

    With the same seed, a state continues as if it had never stopped, to the bit; it is copied. init_from: the workdir of a run,
    with whose networks a new state begins. every: steps between rows of the history and calls of callback(step, state,
    metrics), which ends the training by returning True; the state that it gets is its own only until it returns. progress: a
    bar on stderr. parallel, sync_batch_norm: see `make_step`.

    Raises:
        InputError: a dataset that does not suit the recipe, a state or networks of another recipe, or a recipe without a
            discriminator.
        NonFiniteError: a metric is nan or inf; the message names the step.
    """
    _check_at_least(1, num_steps=num_steps, every=every)
    _check_at_least(0, seed=seed)
    if seed >= 2**32:
        raise InputError(f"seed={seed}: must be below 2**32, as JAX drops the upper bits")
    if state is not None and init_from is not None:
        raise InputError("state and init_from: only one can be given")
    step_fn = make_step(gan, dataset, seed, parallel=parallel, sync_batch_norm=sync_batch_norm)
    state = _new_state(gan, seed, init_from) if state is None else _copy(gan, state)
    step, last = int(state.step), int(state.step) + num_steps
    history: list[dict[str, float]] = []
    with tqdm(total=num_steps, disable=not progress, unit=" steps") as bar:
        while step < last:
            count = min(every, last - step)
            in_one_call = auto_steps_per_call(gan, count, dataset.batch_size)
            calls = []
            for first in range(step, step + count, in_one_call):
                state, metrics = step_fn(state, first, in_one_call)
                calls.append(metrics)
            step += count
            with naming_bad_leaf(state):
                row = _mean_row(range(step - count + 1, step + 1), jax.device_get(calls), gan.penalty_every)
            history.append(row)
            bar.update(count)
            bar.set_postfix({name: f"{row[name]:.3f}" for name in ("loss/disc", "loss/gen")})
            if callback and callback(step, state, row):
                break
    return Fitted(state, history)


def save(state: TrainState, directory: str | Path, config: Mapping[str, Any] | ConfigDict | None = None) -> None:
    """Save a state beside those of earlier steps, verified by a sha256 of every array. config: what to keep with it, as JSON.

    Raises:
        InputError: the folder has this step or a later one, or is a file; a config or an array that cannot be kept.
    """
    entries = config.to_dict() if isinstance(config, ConfigDict) else dict(config or {})
    try:
        json.dumps(entries)
    except (TypeError, ValueError) as error:
        raise InputError(f"config: must be JSON: {error}") from error
    for path, leaf in leaves_by_path(state).items():
        if str(leaf.dtype) not in DTYPES:
            raise InputError(f"{path} is {leaf.dtype}: checkpoints hold {', '.join(DTYPES)}")
    if Path(directory).exists() and not Path(directory).is_dir():
        raise InputError(f"{directory}: must be a folder")
    with Checkpoints(directory, keep=sys.maxsize) as checkpoints:
        last = max(checkpoints.steps(), default=-1)
        if int(state.step) <= last:
            raise InputError(f"{directory}: has step {last} already: give another folder for a state of step {int(state.step)}")
        checkpoints.save(state, entries)


def restore(gan: GAN, directory: str | Path) -> TrainState:
    """Restore the newest state that `save`, or a run, has kept in a folder of checkpoints.

    Raises:
        InputError: there is none, or it is of another recipe.
    """
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: must be a folder that gan_jax.save has written")
    with Checkpoints(directory, read_only=True) as checkpoints:
        checkpoint = checkpoints.find()
    if checkpoint is None:
        raise InputError(f"{directory}: has no checkpoint")
    return checkpoint.restore(abstract_state(gan))


def evaluate(gan: GAN, state: TrainState, dataset: Dataset, *, num: int = 2000) -> dict[str, float]:
    """Evaluate num samples as a run does while it trains: metrics by name, and those of real examples as `real/…`.

    Raises:
        InputError: a dataset that is not the recipe's or has no metrics, or too few samples; see `make_evaluator`.
    """
    evaluator = make_evaluator(gan, dataset, num=num)
    of_samples, of_real = evaluator(state), evaluator.real_baseline()
    short = {name.removeprefix("eval/"): number for name, number in of_samples.items()}
    return short | {name.replace("eval/", "real/"): number for name, number in of_real.items()}


def curves(gan: GAN, history: list[dict[str, float]]) -> Figure:
    """Draw the losses, logits and, where it means something, V of a history, with their values at equilibrium.

    Raises:
        InputError: a history without rows.
    """
    if not history:
        raise InputError("history: has no rows")
    return draw_curves(history, gan.objective)


def _new_state(gan: GAN, seed: int, init_from: str | Path | None) -> TrainState:
    origin = read_origin(gan, init_from, flag="init_from") if init_from is not None else None
    state = create_state(gan, run_keys(seed).init, outermost=True)
    return origin.start(state) if origin else state


def _check_at_least(least: int, **arguments: int) -> None:
    for name, number in arguments.items():
        if not isinstance(number, int | np.integer) or number < least:
            raise InputError(f"{name}={number}: must be an integer ≥ {least}")


def _copy(gan: GAN, state: TrainState) -> TrainState:
    for path, there, here in differing(leaves_by_path(state), leaves_by_path(abstract_state(gan))):
        raise InputError(f"the state is of another recipe: {path} is {there} in it, but must be {here}")
    copied: TrainState = jax.tree.map(jnp.copy, state)  # the step donates what goes in
    return copied


def _mean_row(steps: range, calls: list[dict[str, Any]], penalty_every: int) -> dict[str, float]:
    """Average the metrics of calls over the steps; a lazy penalty's over the steps that compute it."""
    means, arrays = IntervalMeans(penalty_every), {name: np.concatenate([call[name] for call in calls]) for name in calls[0]}
    for index, step in enumerate(steps):
        metrics = {name: float(values[index]) for name, values in arrays.items()}
        for name, number in metrics.items():
            if not math.isfinite(number):
                raise NonFiniteError(f"step {step}: {name} is nan or inf")
        means.add(step, metrics)
    return {"step": steps[-1]} | means.take()
