"""What `test_distributed.py` looks at, as one process sees it.

Command: python on_processes.py OUT.npz DEVICES [HOST:PORT COUNT INDEX]
"""

import sys
from contextlib import closing
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from small import random_images, small_gan, small_state

from gan_jax import Players, from_arrays, make_step
from gan_jax.data import DensityDataset
from gan_jax.parallel import own_rows
from gan_jax.run import distributed
from gan_jax.steps import _draw_part
from gan_jax.theory.distributions import ring

jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
jax.config.update("jax_numpy_rank_promotion", "raise")
BATCH_SIZE = 8
MODES = {"resident": "pmap", "points": "shard_map"}


def datasets():
    """Images that live on the device, images that a thread streams, and points."""
    common = {"batch_size": BATCH_SIZE, "disc_steps": 2, "rows": own_rows("auto", BATCH_SIZE)}
    images = {"images": random_images(50), "labels": np.arange(50), "flip": True}
    yield "resident", from_arrays(**images, **common)
    yield "streamed", from_arrays(**images, **common, resident_mib=0, workers=0)
    yield "points", DensityDataset(ring(), **common)


def trained(mode, name, dataset):
    """The state after two steps in one call; the optimiser's is the gradients of the last update."""
    sgd = optax.sgd(0.1, momentum=0.0)
    gan = replace(small_gan("mlp" if name == "points" else "dcgan"), optimizers=Players(sgd, sgd))
    step = make_step(gan, dataset, parallel=mode)
    state, metrics = step(small_state(gan), [dataset.draw(0, number) for number in range(2)], jax.random.key(1))
    assert all(leaf.is_fully_addressable and leaf.is_fully_replicated for leaf in jax.tree.leaves((state, metrics)))
    return jax.tree.leaves((state, metrics))


def main():
    """Everything, under names that begin with what it is."""
    if sys.argv[3:]:
        distributed.connect(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    seen = {}
    for name, dataset in datasets():
        with closing(dataset):
            seen |= {f"draw {name} {key}": leaf for key, leaf in dataset.draw(0, 3).items()}
            if mode := MODES.get(name):
                leaves = trained(mode, name, dataset)
                seen |= {f"state {name} {mode} {number}": np.asarray(leaf) for number, leaf in enumerate(leaves)}
    each = BATCH_SIZE // jax.device_count()
    parts = jax.pmap(lambda _: _draw_part(jax.random.key(1), each, 5, "axis"), "axis")(jnp.arange(jax.local_device_count()))
    seen["draw latents"] = np.asarray(parts).reshape(1, -1, 5)
    zeros = {"float": np.array([-0.0, 1.5], np.float32), "int": np.array(7, np.int32)}
    mine = zeros if distributed.first() else jax.tree.map(np.zeros_like, zeros)
    seen |= {f"first {name}": np.asarray(leaf) for name, leaf in distributed.of_first(mine).items()}
    np.savez(sys.argv[1], **seen)
    distributed.leave()


if __name__ == "__main__":
    main()
