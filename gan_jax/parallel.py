"""How the pure step is run: the one file that knows `jit`, `pmap`, `shard_map`, donation, and how many steps go in one call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan_jax.data import Dataset, Draw
from gan_jax.errors import InputError, nearest
from gan_jax.state import GAN, Players, TrainState, abstract_state
from gan_jax.steps import Metrics, train_step

MODES = ("auto", "jit", "pmap", "shard_map")
_AXIS = "devices"


def _loops_are_slow(gan: GAN) -> bool:
    """XLA:CPU runs a convolution inside a loop about ten times slower (jax issue 12868); points need no convolutions."""
    return jax.default_backend() == "cpu" and len(gan.sample_shape) > 1


def choose_devices(parallel: str, batch_size: int, devices: Sequence[jax.Device] | None = None) -> tuple[str, list[jax.Device]]:
    """The mode that `parallel` stands for, and those of the devices (default: all) over which it splits each batch.

    auto is jit on one device and pmap on several; jit takes the first device alone. The devices are those of all processes, in
    the order of their parts of a batch, where those of one process are neighbours.
    """
    devices = sorted(jax.devices() if devices is None else devices, key=lambda device: device.process_index)
    mode = ("jit" if len(devices) == 1 else "pmap") if parallel == "auto" else parallel
    if mode not in MODES:
        raise InputError(f"parallel={parallel}: give one of {', '.join(MODES)}{nearest(parallel, MODES)}")
    if mode == "jit" and jax.process_count() > 1:
        raise InputError(f"parallel=jit is for one process, and here are {jax.process_count()}: take auto, pmap or shard_map")
    devices = devices[:1] if mode == "jit" else devices
    if batch_size % len(devices):
        raise InputError(
            f"batch_size={batch_size} cannot be split over {len(devices)} devices: "
            f"give a multiple of {len(devices)}, or take parallel=jit"
        )
    return mode, devices


def own_rows(parallel: str, batch_size: int, devices: Sequence[jax.Device] | None = None) -> slice:
    """The examples of each batch that the devices of this process take: what it has to draw."""
    _, devices = choose_devices(parallel, batch_size, devices)
    own = [position for position, device in enumerate(devices) if device.process_index == jax.process_index()]
    per_device = batch_size // len(devices)
    return slice(own[0] * per_device, (own[-1] + 1) * per_device)


@dataclass(frozen=True)
class Step:
    """`step(state, draws, rng) -> (state, metrics)`: a training step for each draw, metrics `[len(draws)]`.

    parts: into how many parts, along an axis of their own, the examples of a draw are cut; 0 leaves them whole.
    replicated: where the state goes; None leaves it where it is.
    across: the mesh and the arguments' specs where `run` takes and gives arrays of all processes.

    Each process gives its own part of the draws, and gets the whole state on its own devices.
    """

    run: Any
    arrays: Any
    one_by_one: bool
    parts: int = 0
    replicated: NamedSharding | None = None
    across: tuple[Mesh, Any] | None = None

    def __call__(self, state: TrainState, draws: Sequence[Draw], rng: jax.Array) -> tuple[TrainState, Metrics]:
        if len(draws) == 1 or not self.one_by_one:
            results = self.run(*self._arguments(state, draws, rng))
            return multihost_utils.global_array_to_host_local_array(results, self.across[0], P()) if self.across else results
        singles = []
        for draw in draws:
            state, metrics = self(state, [draw], rng)
            singles.append(metrics)
        return state, jax.tree.map(lambda *numbers: jnp.concatenate(numbers), *singles)

    def lower(self, state: TrainState, draws: Sequence[Draw], rng: jax.Array) -> jax.stages.Lowered:
        """What a call with these arguments dispatches, for its cost and memory."""
        return self.run.lower(*self._arguments(state, draws[:1] if self.one_by_one else draws, rng))

    def _arguments(self, state: TrainState, draws: Sequence[Draw], rng: jax.Array) -> tuple[Any, ...]:
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *draws)
        if self.parts:
            stacked = jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:2], self.parts, -1, *leaf.shape[3:]), stacked)
        # Done here once, to a new or a restored state: left to jit, the second call would compile anew for the state it gets.
        if self.replicated is not None and not state.step.sharding.is_equivalent_to(self.replicated, 0):
            state = jax.device_put(state, self.replicated)
        arguments = (state, self.arrays, stacked, rng)
        return multihost_utils.host_local_array_to_global_array(arguments, *self.across) if self.across else arguments


def make_step(
    gan: GAN,
    dataset: Dataset,
    *,
    parallel: str = "auto",
    sync_batch_norm: bool = True,
    devices: Sequence[jax.Device] | None = None,
) -> Step:
    """The training step on a data set, compiled, on one device or, each batch split over them, on several.

    draws: `dataset.draw(seed, step)` for consecutive steps; they go to the device in one dispatch, except for images on a CPU,
    where a loop would be slow. Compiled once for each number of draws. The state that goes in is donated: keep the one that
    comes out. The data set's arrays are arguments of the compiled function, not constants in it; batches are gathered inside.

    parallel, devices: see `choose_devices`. A state goes in from any device and comes out as one whole state, the same on each;
    each device has all of the data set's arrays and its part of each draw. Of several processes each gives its own rows of a
    draw, see `own_rows`, and gets the whole state.
    sync_batch_norm: batch norm takes the statistics of the whole batch, so that the mathematics is that of one device;
    otherwise of each device's part.
    """
    if dataset.sample_shape != gan.sample_shape:
        raise InputError(
            f"the data set has samples {dataset.sample_shape}, the GAN makes {gan.sample_shape}: give both one shape"
        )
    mode, devices = choose_devices(parallel, dataset.batch_size, devices)
    axis_name = None if mode == "jit" else _AXIS
    if axis_name and sync_batch_norm:
        gan = _synchronised(gan)

    def run(state: TrainState, arrays: Any, draws: Any, rng: jax.Array) -> tuple[TrainState, Metrics]:
        def one_step(state: TrainState, draw: Any) -> tuple[TrainState, Metrics]:
            return train_step(gan, state, dataset.load(arrays, draw), rng, axis_name=axis_name)

        if len(jax.tree.leaves(draws)[0]) > 1:
            return jax.lax.scan(one_step, state, draws)
        state, metrics = one_step(state, jax.tree.map(lambda leaf: leaf[0], draws))
        return state, jax.tree.map(lambda number: number[None], metrics)

    one_by_one = _loops_are_slow(gan)
    if mode == "jit":
        return Step(jax.jit(run, donate_argnums=0), dataset.arrays, one_by_one)
    mesh = Mesh(np.array(devices), (_AXIS,), (AxisType.Auto,))
    replicated = NamedSharding(mesh.local_mesh, P())
    arrays = jax.device_put(dataset.arrays, replicated)
    if mode == "pmap":
        in_axes = (None, None, 2, None)  # draws are [steps, k, B, …]
        mapped = jax.pmap(run, _AXIS, in_axes=in_axes, out_axes=None, devices=devices, donate_argnums=0)
        return Step(mapped, arrays, one_by_one, mesh.local_mesh.size, replicated)
    # Without check_vma, whose gradients are sums over the devices already: their mean would be n times too large.
    in_specs = (P(), P(), P(None, None, _AXIS), P())
    mapped = jax.shard_map(run, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=False)
    jitted = jax.jit(mapped, in_shardings=tuple(NamedSharding(mesh, spec) for spec in in_specs), donate_argnums=0)
    across = (mesh, in_specs) if jax.process_count() > 1 else None
    return Step(jitted, arrays, one_by_one, replicated=replicated, across=across)


def _synchronised(gan: GAN) -> GAN:
    """The same recipe, with batch norm over the devices; parameters and statistics keep their shapes."""
    for network, stats in zip(gan.networks, abstract_state(gan).batch_stats, strict=True):
        if stats and not hasattr(network, "axis_name"):
            name = type(network).__name__
            raise InputError(f"{name} has statistics and no field axis_name: add it, or take sync_batch_norm=False")
    networks = (network.clone(axis_name=_AXIS) if hasattr(network, "axis_name") else network for network in gan.networks)
    return replace(gan, networks=Players(*networks))


def auto_steps_per_call(gan: GAN, interval: int, samples_per_step: int) -> int:
    """How many steps to dispatch at once where the state is needed every `interval` steps: a divisor of it, up to 100.

    Streamed images travel with their steps: no more of them than 128 MiB go in one call.
    """
    if _loops_are_slow(gan):
        return 1
    most = min(100, max(1, 2**27 // (samples_per_step * math.prod(gan.sample_shape))))
    return max(count for count in range(1, most + 1) if interval % count == 0)
