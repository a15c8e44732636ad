"""The scalars of a row: means over the steps since the last row, and the numbers of the recipe at the row's step."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.penalties import PENALTIES
from gan_jax.run.config import Plan
from gan_jax.schedules import Schedule
from gan_jax.state import Players


class IntervalMeans:
    """Means of the metrics of steps; a lazy penalty's are over the steps that compute it, every penalty_every-th one."""

    def __init__(self, penalty_every: int):
        self._every = penalty_every
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of a step, which counts from 1."""
        skips_penalties = (step - 1) % self._every != 0
        for name, number in metrics.items():
            if not (skips_penalties and name.startswith("penalty/")):
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + number, count + 1

    def take(self) -> dict[str, float]:
        """Return the means of what was added, and begin again."""
        sums, self._sums = self._sums, {}
        return {name: total / count for name, (total, count) in sums.items()}

    def unfinished(self) -> dict[str, float]:
        """Return the sums and counts so far, as numbers by name; none where nothing was added."""
        sums = {f"sum/{name}": total for name, (total, _) in self._sums.items()}
        return sums | {f"count/{name}": count for name, (_, count) in self._sums.items()}

    def resume(self, row: Mapping[str, float]) -> None:
        """Continue from what `unfinished` has returned."""
        names = [name.removeprefix("sum/") for name in row if name.startswith("sum/")]
        self._sums = {name: (row[f"sum/{name}"], int(row[f"count/{name}"])) for name in names}


class RecipeNumbers:
    """Learning rates, β2, weights of penalties and the decay of the average: functions of the step, evaluated on the host."""

    def __init__(self, plan: Plan):
        config, self._schedules = plan.config, plan.schedules
        self._ema: dict[str, Schedule] = {"ema_decay": plan.gan.ema} if plan.gan.ema else {}
        self._ema |= {name: schedule for name, schedule in plan.schedules.items() if name == "ema_half_life"}
        numbers: dict[str, Any] = {f"penalty_weight/{name}": config.penalty[name] for name in PENALTIES}
        numbers |= {"ema_half_life": config.ema_half_life, "augment_probability": config.augment and config.augment_probability}
        used = {name: float(number) for name, number in numbers.items() if number}
        for player in Players._fields:
            entries = config.optimizer[player]
            used[f"learning_rate/{player}"] = float(entries.learning_rate)
            used |= {f"b2/{player}": float(entries.b2)} if entries.name == "adam" else {}
        self._constants = used

    def at(self, step: int) -> dict[str, float]:
        """Return the numbers with which the step was made, which counts from 1, by name."""
        with _host():
            changing = {name: schedule(jnp.int32(step - 1)) for name, schedule in self._schedules.items()}
            changing |= {name: number(jnp.int32(step)) for name, number in self._ema.items()}  # averaged after the step
            return self._constants | {name: float(number) for name, number in jax.device_get(changing).items()}


def _host() -> AbstractContextManager[Any]:
    """Compute on the CPU, where JAX has it: on an accelerator a number would wait for the steps that are dispatched."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return nullcontext()
