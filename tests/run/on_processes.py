"""What `test_distributed.py` compares, computed by one process.

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
from gan_jax.parallel import process_slice
from gan_jax.run import distributed
from gan_jax.theory.distributions import ring

jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
jax.config.update("jax_numpy_rank_promotion", "raise")
BATCH_SIZE = 8
MODES = {"resident": "pmap", "points": "shard_map"}


def datasets():
    """Images that live on the device, images that a thread streams, and points."""
    common = {"batch_size": BATCH_SIZE, "part": process_slice("auto", BATCH_SIZE)}
    images = {"images": random_images(50), "labels": np.arange(50), "flip": True}
    yield "resident", from_arrays(**images, **common)
    yield "streamed", from_arrays(**images, **common, resident_mib=0, workers=0)
    yield "points", DensityDataset(ring(), **common)


def trained(mode, name, dataset):
    """The state after two steps; the optimiser's is the gradients of the last update."""
    sgd = optax.sgd(0.1, momentum=0.0)
    gan = small_gan("mlp", disc_steps=2) if name == "points" else small_gan()
    gan = replace(gan, optimizers=Players(sgd, sgd))
    state, metrics = make_step(gan, dataset, 0, parallel=mode)(small_state(gan), 0, 2)
    assert all(leaf.is_fully_addressable and leaf.is_fully_replicated for leaf in jax.tree.leaves((state, metrics)))
    return jax.tree.leaves((state, metrics))


def main():
    """Save everything, under names that begin with its kind."""
    if sys.argv[3:]:
        distributed.connect(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    results = {}
    for name, dataset in datasets():
        with closing(dataset):
            results |= {f"fetched {name} {key}": leaf for key, leaf in dataset.fetch(0, 3, 2).items()}
            if mode := MODES.get(name):
                leaves = trained(mode, name, dataset)
                results |= {f"state {name} {mode} {index}": np.asarray(leaf) for index, leaf in enumerate(leaves)}
    primary = {"float": np.array([-0.0, 1.5], np.float32), "int": np.array(7, np.int32), "key": np.zeros((2, 3), jnp.bfloat16)}
    tree = primary if distributed.is_primary() else jax.tree.map(np.zeros_like, primary)
    received = distributed.broadcast_from_primary(tree)
    results |= {f"broadcast {name}": np.asarray(leaf).astype(np.float32) for name, leaf in received.items()}
    results["max"] = distributed.max_over_processes(3 + jax.process_index())
    distributed.assert_same({"a": 1})
    np.savez(sys.argv[1], **results)
    distributed.shutdown()


if __name__ == "__main__":
    main()
