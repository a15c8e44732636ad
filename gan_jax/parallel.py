"""Execution of the pure step: no other file has `pmap`, `shard_map`, donation or steps per dispatch, or compiles the step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from gan_jax.data import Dataset, Fetched
from gan_jax.errors import InputError, nearest
from gan_jax.state import GAN, Players, TrainState, abstract_state, has_batch_norm, run_keys
from gan_jax.steps import Metrics, train_step

MODES = ("auto", "jit", "pmap", "shard_map")
_AXIS = "devices"


def _loops_are_slow(gan: GAN) -> bool:
    """XLA:CPU runs a convolution inside a loop about ten times slower (jax issue 12868); points need no convolutions."""
    return jax.default_backend() == "cpu" and gan.is_image


def choose_devices(parallel: str, batch_size: int, devices: Sequence[jax.Device] | None = None) -> tuple[str, list[jax.Device]]:
    """Return the mode that `parallel` means, and the devices, of those given (default: all), over which it splits each batch.

    auto is jit on one device and pmap on several, where shard_map gives the same numbers; jit uses the first device alone. The
    devices are those of all processes, in the order of their parts of a batch, in which those of one process are neighbours.
    """
    devices = sorted(jax.devices() if devices is None else devices, key=lambda device: device.process_index)
    mode = ("jit" if len(devices) == 1 else "pmap") if parallel == "auto" else parallel
    if mode not in MODES:
        raise InputError(f"parallel={parallel} must be one of {', '.join(MODES)}{nearest(parallel, MODES)}")
    if mode == "jit" and jax.process_count() > 1:
        raise InputError(f"parallel=jit is for one process, not for {jax.process_count()}: set auto, pmap or shard_map")
    devices = devices[:1] if mode == "jit" else devices
    if batch_size % len(devices):
        raise InputError(
            f"batch_size={batch_size} cannot be split over {len(devices)} devices: "
            f"set a multiple of {len(devices)}, or parallel=jit"
        )
    return mode, devices


def process_slice(parallel: str, batch_size: int, devices: Sequence[jax.Device] | None = None) -> slice:
    """Return which examples of each batch go to the devices of this process, which has to fetch them."""
    _, devices = choose_devices(parallel, batch_size, devices)
    own = [position for position, device in enumerate(devices) if device.process_index == jax.process_index()]
    per_device = batch_size // len(devices)
    return slice(own[0] * per_device, (own[-1] + 1) * per_device)


@dataclass(frozen=True)
class StepFunction:
    """`step_fn(state, step, num_steps=1) -> (state, metrics [num_steps])`: the steps from number `step` on.

    fetch: step number -> the dataset's part of it on the host. rng: the run's key. run: the dispatched function.
    arrays: the dataset's, on the devices. one_by_one: dispatch single steps, where loops are slow.
    parts: into how many parts, along an axis of their own, the examples are split; 0 does not split them.
    placement: the sharding of the state; None leaves it where it is.
    across: the mesh and the arguments' specs if `run` takes and returns arrays of all processes.

    Each process fetches its own part of the batches, and gets the whole state on its own devices.
    """

    fetch: Callable[[int], Fetched]
    rng: jax.Array
    run: Any
    arrays: Any
    one_by_one: bool
    parts: int = 0
    placement: Sharding | None = None
    across: tuple[Mesh, Any] | None = None

    def __call__(self, state: TrainState, step: int, num_steps: int = 1) -> tuple[TrainState, Metrics]:
        if num_steps == 1 or not self.one_by_one:
            results = self.run(*self._arguments(state, step, num_steps))
            return multihost_utils.global_array_to_host_local_array(results, self.across[0], P()) if self.across else results
        singles = []
        for offset in range(num_steps):
            state, metrics = self(state, step + offset)
            singles.append(metrics)
        return state, jax.tree.map(lambda *numbers: jnp.concatenate(numbers), *singles)

    def lower(self, state: TrainState, step: int, num_steps: int = 1) -> jax.stages.Lowered:
        """Lower the function that a call with these arguments dispatches, to read its cost and memory."""
        return self.run.lower(*self._arguments(state, step, 1 if self.one_by_one else num_steps))

    def _arguments(self, state: TrainState, step: int, num_steps: int) -> tuple[Any, ...]:
        fetched = [self.fetch(step + offset) for offset in range(num_steps)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *fetched)
        if self.parts:
            stacked = jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:2], self.parts, -1, *leaf.shape[3:]), stacked)
        # Done here once, to a new or a restored state: left to jit, the second call would compile anew for the state it gets.
        if self.placement is not None and not state.step.sharding.is_equivalent_to(self.placement, 0):
            state = jax.device_put(state, self.placement)
        arguments = (state, self.arrays, stacked, self.rng)
        return multihost_utils.host_local_array_to_global_array(arguments, *self.across) if self.across else arguments


def make_step(
    gan: GAN,
    dataset: Dataset,
    seed: int,
    *,
    parallel: str = "auto",
    sync_batch_norm: bool = True,
    devices: Sequence[jax.Device] | None = None,
) -> StepFunction:
    """Build the compiled training step of a recipe on a dataset, on one device or, each batch split over them, on several.

    seed: the run's; it fixes the order of the data and every latent. Several steps go to the device in one dispatch, except
    for images on a CPU, where a loop would be slow; each number of steps is compiled once. The state that goes in is donated:
    keep the one that comes out. The dataset's arrays are arguments of the compiled function, not constants in it.

    parallel, devices: see `choose_devices`. The step takes a state on any device and returns one whole state, the same on each.
    With several processes, each fetches its own part of a batch (see `process_slice`) and gets the whole state.
    sync_batch_norm: batch norm takes the statistics of the whole batch, as on one device; otherwise it takes those of each
    device's part.

    Raises:
        InputError: a dataset of another shape or number of classes, a batch that cannot be split or packed, or a recipe
            without a discriminator.
    """
    if gan.networks.disc is None:
        raise InputError("this recipe was restored for sampling only: make one with gan_jax.recipe to train")
    check_dataset(gan, dataset)
    given = devices is not None
    mode, devices = choose_devices(parallel, dataset.batch_size, devices)
    if dataset.batch_size % (gan.packing * len(devices)):
        raise InputError(
            f"batch_size={dataset.batch_size} must be a multiple of packing × devices, {gan.packing} × {len(devices)}"
        )
    axis_name = None if mode == "jit" else _AXIS
    if axis_name and sync_batch_norm:
        gan = _synchronised(gan)

    def run(state: TrainState, arrays: Any, fetched: Any, rng: jax.Array) -> tuple[TrainState, Metrics]:
        def one_step(state: TrainState, fetched: Any) -> tuple[TrainState, Metrics]:
            batches = dataset.load(arrays, fetched)
            batches = batches if gan.num_classes else batches._replace(labels=None)
            return train_step(gan, state, batches, rng, axis_name=axis_name)

        if len(jax.tree.leaves(fetched)[0]) > 1:
            return jax.lax.scan(one_step, state, fetched)
        state, metrics = one_step(state, jax.tree.map(lambda leaf: leaf[0], fetched))
        return state, jax.tree.map(lambda number: number[None], metrics)

    def fetch(step: int) -> Fetched:
        return dataset.fetch(seed, step, gan.batches_per_step)

    rng, one_by_one = run_keys(seed).train, _loops_are_slow(gan)
    if mode == "jit":
        placement = SingleDeviceSharding(devices[0]) if given else None  # otherwise JAX's own default, which a user may set
        arrays, rng = jax.device_put((dataset.arrays, rng), placement)
        return StepFunction(fetch, rng, jax.jit(run, donate_argnums=0), arrays, one_by_one, placement=placement)
    mesh = Mesh(np.array(devices), (_AXIS,), (AxisType.Auto,))
    replicated = NamedSharding(mesh.local_mesh, P())
    arrays = jax.device_put(dataset.arrays, replicated)
    if mode == "pmap":
        in_axes = (None, None, 2, None)  # what is fetched is [steps, batches, B, ...]
        mapped = jax.pmap(run, _AXIS, in_axes=in_axes, out_axes=None, devices=devices, donate_argnums=0)
        return StepFunction(fetch, rng, mapped, arrays, one_by_one, mesh.local_mesh.size, replicated)
    # Without check_vma, whose gradients are sums over the devices already: their mean would be n times too large.
    in_specs = (P(), P(), P(None, None, _AXIS), P())
    mapped = jax.shard_map(run, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=False)
    jitted = jax.jit(mapped, in_shardings=tuple(NamedSharding(mesh, spec) for spec in in_specs), donate_argnums=0)
    across = (mesh, in_specs) if jax.process_count() > 1 else None
    return StepFunction(fetch, rng, jitted, arrays, one_by_one, placement=replicated, across=across)


def check_dataset(gan: GAN, dataset: Dataset) -> None:
    """Raise `InputError` unless a dataset has the shape and classes of a recipe."""
    if dataset.sample_shape != gan.sample_shape:
        raise InputError(
            f"the dataset has samples {dataset.sample_shape}, the GAN makes {gan.sample_shape}: they must be equal"
        )
    if gan.num_classes and gan.num_classes != dataset.num_classes:
        remedy = f"set {dataset.num_classes}" if dataset.num_classes else "set 0, or choose a dataset with labels"
        raise InputError(f"num_classes={gan.num_classes}, and the dataset has {dataset.num_classes} classes: {remedy}")


def _synchronised(gan: GAN) -> GAN:
    """Return the same recipe with batch norm over the devices; parameters and statistics keep their shapes."""
    for network, stats in zip(gan.networks, abstract_state(gan).stats, strict=True):
        if has_batch_norm(stats) and not hasattr(network, "axis_name"):
            name = type(network).__name__
            raise InputError(f"{name} has batch norm and no field axis_name: add it, or set sync_batch_norm=False")
    networks = (network.clone(axis_name=_AXIS) if hasattr(network, "axis_name") else network for network in gan.networks)
    return replace(gan, networks=Players(*networks))


def auto_steps_per_call(gan: GAN, interval: int, batch_size: int) -> int:
    """Choose how many steps to dispatch at once where the state is needed every `interval` steps: a divisor of it, up to 100.

    Streamed images are sent with their steps: at most 128 MiB of them go in one call.
    """
    if _loops_are_slow(gan):
        return 1
    most = min(100, max(1, 2**27 // (batch_size * gan.batches_per_step * math.prod(gan.sample_shape))))
    return max(count for count in range(1, most + 1) if interval % count == 0)
