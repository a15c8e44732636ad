"""What a recipe takes of the memory, worked out from shapes alone and held against the machine before any work.

A lower bound: of the activations, whose sum depends on what XLA fuses, the largest layer's alone count. So nothing that fits is
refused.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.memory import check_fits, device_bytes, format_bytes
from gan_jax.state import GAN, Players, TrainState

_EVALUATED = 256  # bytes of each evaluated sample that stay: its features, latents and label


def tree_bytes(tree: Any) -> int:
    """Return the bytes of a pytree of arrays, or of their shapes and dtypes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def sample_bytes(gan: GAN, num: int) -> int:
    """Return the bytes of so many samples on their way from latents to a file."""
    return num * (4 * gan.latent_dim + math.prod(gan.sample_shape) * (3 if gan.is_image else 12))


def largest_layer_bytes(gan: GAN, state: TrainState, examples: int) -> int:
    """Return the bytes of the largest output of a layer of either player, for so many examples."""
    labels = jax.ShapeDtypeStruct((examples,), jnp.int32) if gan.num_classes else None
    packed = (examples // gan.packing, *gan.sample_shape[:-1], gan.packing * gan.sample_shape[-1])
    inputs = Players((examples, gan.latent_dim), packed)
    largest = 0
    for player in Players._fields:
        variables = {"params": getattr(state.params, player), "batch_stats": getattr(state.stats, player)}
        samples = jax.ShapeDtypeStruct(getattr(inputs, player), jnp.float32)
        # Not in train mode, in which batch norm over devices needs the axis.
        apply = partial(getattr(gan.networks, player).apply, train=False, capture_intermediates=True)
        _, recorded = jax.eval_shape(partial(apply, mutable=["intermediates"]), variables, samples, labels)
        largest = max([largest, *(tree_bytes(leaf) for leaf in jax.tree.leaves(recorded))])
    return largest


def check_state(state: TrainState) -> None:
    """Raise `InputError` where the state of a recipe, of which only shapes are known, is more than the host's memory."""
    check_fits(tree_bytes(state), "config: the state of this recipe")


def check_sizes(config: ConfigDict, gan: GAN, state: TrainState, num_devices: int) -> None:
    """Raise `InputError` where training is more than the memory of a device, or its samples than the host's."""
    gradients = max(tree_bytes(params) for params in state.params)
    examples = gan.batches_per_step * config.batch_size // num_devices
    batches = 4 * examples * math.prod(gan.sample_shape)
    parts = {
        "parameters": tree_bytes((state.params, state.stats, state.ema)),
        "optimisers": tree_bytes(state.opt_state),
        "gradients": gradients,
        f"{gan.batches_per_step} batches of {config.batch_size}": batches,
    }
    if sum(parts.values()) <= device_bytes():  # larger ones need not be traced
        parts["largest layer"] = largest_layer_bytes(gan, state, max(1, config.batch_size // num_devices))
    named = ", ".join(f"{name} {format_bytes(number)}" for name, number in parts.items())
    check_fits(sum(parts.values()), f"config: this recipe ({named})", memory=device_bytes(), where="the device")
    check_fits(sample_bytes(gan, config.num_samples), f"config.num_samples={config.num_samples}")
    if config.eval_every:
        check_fits(_EVALUATED * config.eval_num, f"config.eval_num={config.eval_num}")
    if config.steps_per_call != "auto":
        steps = min(int(config.steps_per_call), config.num_steps, config.sample_every, config.checkpoint_every)
        index = 4 * steps * gan.batches_per_step * config.batch_size
        check_fits(index, f"config.steps_per_call={config.steps_per_call}")
