"""What `test_devices.py` checks, computed in a process of its own with 8 CPU devices: python on_devices.py WORKDIR."""

import json
import sys
from contextlib import closing, redirect_stdout
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from small import random_images, small_config, small_gan, small_state

from gan_jax import Players, create_state, diffaugment, example_keys, from_arrays, make_networks, make_step
from gan_jax.data import DensityDataset, datasets, stacked_from_arrays
from gan_jax.objectives import Objective
from gan_jax.penalties import r1
from gan_jax.run import loop
from gan_jax.schedules import constant
from gan_jax.steps import PURPOSES, _keys_of_part
from gan_jax.theory.distributions import ring

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
datasets.to_float = lambda images: images.astype("float32") / 128 - 1  # exact: the last bit of x / 127.5 differs by program
loop.save_run_plots = lambda workdir: []  # would take longer than the runs
BATCH_SIZE = 8
SGD = optax.sgd(0.1, momentum=0.0)  # its state are the gradients of the last update
MODES = ("pmap", "shard_map")
BATCH_NORM, PENALTY, AVERAGE = "batch norm", "R1, augmentation, k = 2", "labels, pairs, mean over the batch"
# Every count under every mode, each recipe that meets more than a mean of gradients under both, and batch norm in both dtypes.
MANY_CASES = {
    "float32": [(BATCH_NORM, "shard_map", 8)],
    "float64": [
        (BATCH_NORM, "pmap", 4),
        (PENALTY, "shard_map", 2),
        (AVERAGE, "pmap", 1),
        (AVERAGE, "pmap", 2),
        (AVERAGE, "pmap", 8),
        (AVERAGE, "shard_map", 1),
        (AVERAGE, "shard_map", 4),
    ],
}


def relative(left, right):
    """The largest difference in a leaf, over the largest entry of that leaf."""

    def of_leaf(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.abs(a - b).max() / np.abs(a).max())

    return max(jax.tree.leaves(jax.tree.map(of_leaf, left, right)), default=0.0)


def compare_with_means(real, fake):
    """See the mean of the whole batch, as relativistic average GANs do; halved, so that D's last bias has a gradient too."""
    return jax.nn.log_sigmoid(real - jnp.mean(fake) / 2) + jax.nn.log_sigmoid(jnp.mean(real) / 2 - fake)


@cache
def recipe(name, dtype):
    """A recipe that descends by SGD, and its state of that dtype."""
    if name == BATCH_NORM:
        gan = replace(small_gan(), networks=make_networks("dcgan", (16, 16, 1), base_width=4, dtype=dtype))
    elif name == PENALTY:
        networks = make_networks("mlp", (8, 8, 1), hidden=(16,), dtype=dtype)
        augment = diffaugment("color,translation,cutout")
        penalty = lambda disc, real, *others: r1(disc, real.astype(dtype), *others)  # noqa: E731  # else its sum is float32
        options = {"penalties": ((penalty, constant(1.0)),), "augment": augment, "disc_steps": 2}
        gan = replace(small_gan("mlp", **options), sample_shape=(8, 8, 1), networks=networks)
    else:
        average = Objective(compare_with_means, lambda real, fake: -compare_with_means(real, fake), paired=True)
        networks = make_networks("mlp", (16, 16, 1), hidden=(16,), num_classes=5, dtype=dtype)
        gan = replace(small_gan("mlp", num_classes=5), sample_shape=(16, 16, 1), networks=networks, objective=average)
    gan = replace(gan, optimizers=Players(SGD, SGD))
    floats = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf  # noqa: E731
    return gan, jax.tree.map(floats, create_state(gan, jax.random.key(0)))


def images(gan, **options):
    return from_arrays(random_images(50, gan.sample_shape[0]), np.arange(50) % 5, batch_size=BATCH_SIZE, flip=True, **options)


def run_steps(gan, dataset, state, mode, count, calls=((0, 1),), **options):
    """State and last metrics after calls (step, num_steps), on `count` devices."""
    step_fn = make_step(gan, dataset, 1, parallel=mode, devices=jax.devices()[:count], **options)
    state = jax.tree.map(jnp.copy, state)
    for step, num_steps in calls:
        state, metrics = step_fn(state, step, num_steps)
    return state, metrics


@cache
def on_one_device(name, dtype):
    gan, state = recipe(name, dtype)
    return run_steps(gan, images(gan), state, "jit", 1)


def compare(name, dtype, mode, count, **options):
    """A step on many devices, its images streamed in float64, beside that on one device."""
    (gan, state), (expected, expected_metrics) = recipe(name, dtype), on_one_device(name, dtype)
    with closing(images(gan, **{"resident_mib": 0, "workers": 0} if dtype == "float64" else {})) as dataset:
        actual, metrics = run_steps(gan, dataset, state, mode, count, **options)
    return {
        "recipe": name,
        "mode": mode,
        "devices": count,
        "gradients": relative(expected.opt_state, actual.opt_state),
        "params": relative(expected.params, actual.params),
        "stats": relative(expected.stats, actual.stats),
        "metrics": max(
            abs(float(metrics[name][0]) - float(number[0])) / max(1.0, abs(float(number[0])))
            for name, number in expected_metrics.items()
        ),
    }


def loops():
    """Six steps on points, three in a call under each mode, beside six calls on one device."""
    gan, dataset = small_gan("mlp", ema_decay=0.9), DensityDataset(ring(), BATCH_SIZE)
    expected, _ = run_steps(gan, dataset, small_state(gan), "jit", 1, [(step, 1) for step in range(6)])
    results = []
    for mode in MODES:
        actual, metrics = run_steps(gan, dataset, small_state(gan), mode, 4, [(0, 3), (3, 3)])
        rows, difference = len(metrics["value"]), relative(expected.params, actual.params)
        results.append({"step": int(actual.step), "params": difference, "rows": rows})
    return results


def stacks():
    """Three steps on labelled stacks of random images, on two devices under each mode beside one."""
    networks = make_networks("mlp", (16, 16, 3), hidden=(16,), num_classes=8)
    gan = replace(small_gan("mlp", num_classes=8), sample_shape=(16, 16, 3), networks=networks, optimizers=Players(SGD, SGD))
    dataset = stacked_from_arrays(random_images(50), np.arange(50) % 2, batch_size=BATCH_SIZE)
    calls, state = [(step, 1) for step in range(3)], create_state(gan, jax.random.key(0))
    cases = (("jit", 1), *((mode, 2) for mode in MODES))
    expected, *actual = (run_steps(gan, dataset, state, *case, calls)[0].params for case in cases)
    return [relative(expected, params) for params in actual]


def keys_are_those_of_one_device(count):
    """Tell whether the parts of a batch have the keys of the whole batch, to the bit; latents and augmentation follow."""
    rng = jax.random.key(1)
    of_part = lambda _: jax.tree.map(jax.random.key_data, dict(_keys_of_part(rng, BATCH_SIZE // count, "axis")))  # noqa: E731
    parts = jax.pmap(of_part, "axis")(jnp.arange(count))
    return all(
        np.array_equal(
            np.asarray(parts[purpose]).reshape(BATCH_SIZE, -1), jax.random.key_data(example_keys(rng, purpose, BATCH_SIZE))
        )
        for purpose in PURPOSES
    )


def placement():
    """Compilations of a second call, what it leaves of the state that goes in, where the next one lies; and lowering."""
    gan, dataset = small_gan("mlp"), DensityDataset(ring(), BATCH_SIZE)
    results, compiled = {}, []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    for mode in ("pmap", "shard_map"):
        step_fn = make_step(gan, dataset, 1, parallel=mode)
        new = jax.device_put(create_state(gan, jax.random.key(0)), jax.devices()[0])
        first, _ = step_fn(new, 0)
        at_first = any("compile" in name for name in compiled)
        compiled.clear()
        second, _ = step_fn(first, 1)
        results[mode] = {
            "compiled_once": at_first and not any("compile" in name for name in compiled),
            "donated": all(leaf.is_deleted() for leaf in jax.tree.leaves(first)),
            "replicated": all(leaf.is_fully_replicated for leaf in jax.tree.leaves(second)),
            "devices": len(second.step.devices()),
            "shapes": jax.tree.map(jnp.shape, second) == jax.tree.map(jnp.shape, small_state(gan)),
            "lowered": "all-reduce" in step_fn.lower(second, 0).compile().as_text(),
        }
    return results


def chosen():
    """The devices of state and metrics after steps on one device that is not the first, state and rng made on the first."""
    state, metrics = make_step(small_gan("mlp"), DensityDataset(ring(), BATCH_SIZE), 1, devices=jax.devices()[3:4])(
        create_state(small_gan("mlp"), jax.random.key(0)), 0
    )
    return [[device.id for device in array.devices()] for array in (state.step, metrics["value"])]


def runs(workdir):
    """Ten steps, and five more from the checkpoint, in mode auto."""
    output = StringIO()
    with redirect_stdout(output):
        for steps in (10, 15):
            loop.train(small_config(num_steps=steps, sync_batch_norm=False, **{"network.name": "mlp"}), workdir)
    return output.getvalue()


def main():
    results = {
        "keys": [keys_are_those_of_one_device(count) for count in (1, 2, 4, 8)],
        "loops": loops(),
        "stacks": stacks(),
        "placement": placement(),
        "chosen": chosen(),
        "runs": runs(Path(sys.argv[1])),
        "local": compare(BATCH_NORM, "float32", "pmap", 2, sync_batch_norm=False),
    }
    for dtype, cases in MANY_CASES.items():
        jax.config.update("jax_enable_x64", dtype == "float64")
        results[dtype] = [compare(name, dtype, *case) for name, *case in cases]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
