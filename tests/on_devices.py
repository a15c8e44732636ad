"""What `test_devices.py` looks at, computed in a process of its own with 8 CPU devices: python on_devices.py WORKDIR."""

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

from gan_jax import NETWORKS, Players, create_state, draw_latents, from_arrays, make_step
from gan_jax.data import DensityDataset
from gan_jax.run.loop import train
from gan_jax.steps import _draw_part
from gan_jax.theory.distributions import ring

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
RNG = jax.random.key(1)
BATCH_SIZE = 8


def relative(left, right):
    """The largest difference in a leaf, over the largest entry of that leaf."""

    def of_leaf(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.abs(a - b).max() / np.abs(a).max())

    return max(jax.tree.leaves(jax.tree.map(of_leaf, left, right)))


def steps_of(gan, dataset, state, mode, count, calls=((0,),), **options):
    """State and last metrics after calls of these steps, on `count` devices."""
    step = make_step(gan, dataset, parallel=mode, devices=jax.devices()[:count], **options)
    state = jax.tree.map(jnp.copy, state)
    for call in calls:
        state, metrics = step(state, [dataset.draw(0, number) for number in call], RNG)
    return state, metrics


@cache
def dcgan(dtype):
    """A DCGAN with batch norm in both players, whose optimisers keep their gradients; and a state of that dtype."""
    sgd = optax.sgd(0.1, momentum=0.0)  # its state are the gradients of the last update
    networks = NETWORKS["dcgan"]((16, 16, 1), base_width=4, dtype=dtype)
    gan = replace(small_gan(), networks=networks, optimizers=Players(sgd, sgd))
    floats = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf  # noqa: E731
    return gan, jax.tree.map(floats, create_state(gan, jax.random.key(0)))


def images(disc_steps, **options):
    return from_arrays(random_images(50), batch_size=BATCH_SIZE, disc_steps=disc_steps, flip=True, **options)


@cache
def on_one_device(dtype, disc_steps):
    gan, state = dcgan(dtype)
    return steps_of(gan, images(disc_steps), state, "jit", 1)


def compare(dtype, disc_steps, mode, count, **options):
    """A step on many devices, its images streamed where k = 1, beside that on one device."""
    (gan, state), (expected, expected_metrics) = dcgan(dtype), on_one_device(dtype, disc_steps)
    with closing(images(disc_steps, **{"resident_mib": 0, "workers": 0} if disc_steps == 1 else {})) as dataset:
        actual, metrics = steps_of(gan, dataset, state, mode, count, **options)
    return {
        "mode": mode,
        "devices": count,
        "gradients": relative(expected.opt_state, actual.opt_state),
        "params": relative(expected.params, actual.params),
        "batch_stats": relative(expected.batch_stats, actual.batch_stats),
        "metrics": max(abs(float(metrics[name][0]) - float(number[0])) for name, number in expected_metrics.items()),
    }


def loops(mode):
    """Six steps on points, three in a call, beside six calls on one device."""
    gan, dataset = small_gan("mlp", ema_decay=0.9), DensityDataset(ring(), BATCH_SIZE)
    expected, _ = steps_of(gan, dataset, small_state(gan), "jit", 1, [(number,) for number in range(6)])
    actual, metrics = steps_of(gan, dataset, small_state(gan), mode, 4, [(0, 1, 2), (3, 4, 5)])
    return {"step": int(actual.step), "params": relative(expected.params, actual.params), "rows": len(metrics["value"])}


def latents_are_those_of_one_device(count):
    """To the bit."""
    parts = jax.pmap(lambda _: _draw_part(RNG, BATCH_SIZE // count, 5, "axis"), "axis")(jnp.arange(count))
    return bool(np.array_equal(np.asarray(parts).reshape(BATCH_SIZE, 5), draw_latents(RNG, BATCH_SIZE, 5)))


def placement():
    """Compilations of a second call, what it leaves of the state that goes in, where the next one lies; and lowering."""
    gan, dataset = small_gan("mlp"), DensityDataset(ring(), BATCH_SIZE)
    results, compiled = {}, []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    for mode in ("pmap", "shard_map"):
        step = make_step(gan, dataset, parallel=mode)
        new = jax.device_put(create_state(gan, jax.random.key(0)), jax.devices()[0])
        first, _ = step(new, [dataset.draw(0, 0)], RNG)
        compiled.clear()
        second, _ = step(first, [dataset.draw(0, 1)], RNG)
        results[mode] = {
            "compiled_once": not any("compile" in name for name in compiled),
            "donated": all(leaf.is_deleted() for leaf in jax.tree.leaves(first)),
            "replicated": all(leaf.is_fully_replicated for leaf in jax.tree.leaves(second)),
            "devices": len(second.step.devices()),
            "shapes": jax.tree.map(jnp.shape, second) == jax.tree.map(jnp.shape, small_state(gan)),
            "lowered": "all-reduce" in step.lower(second, [dataset.draw(0, 0)], RNG).compile().as_text(),
        }
    return results


def runs(workdir):
    """Ten steps, and five more from the checkpoint, in mode auto."""
    output = StringIO()
    with redirect_stdout(output):
        for steps in (10, 15):
            train(small_config(num_steps=steps, sync_batch_norm=False), workdir)
    return output.getvalue()


def main():
    results = {
        "latents": [latents_are_those_of_one_device(count) for count in (1, 2, 4, 8)],
        "loops": [loops(mode) for mode in ("pmap", "shard_map")],
        "placement": placement(),
        "runs": runs(Path(sys.argv[1])),
        "local": compare("float32", 2, "pmap", 2, sync_batch_norm=False),
    }
    cases = [("pmap", 1), ("pmap", 2), ("shard_map", 4), ("shard_map", 8)]
    results["float32"] = [compare("float32", 2, *case) for case in cases]
    jax.config.update("jax_enable_x64", True)
    cases = [("pmap", 4), ("pmap", 8), ("shard_map", 1), ("shard_map", 2)]
    results["float64"] = [compare("float64", 1, *case) for case in cases]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
