"""What a recipe takes of the memory, worked out from shapes alone and held against the machine before any work.

A lower bound: activations, which depend on what XLA fuses, are not in it. So nothing that fits is refused.
"""

import math
from typing import Any

import jax
from ml_collections import ConfigDict

from gan_jax.memory import check_fits, device_bytes, format_bytes
from gan_jax.state import GAN, TrainState

_EVALUATED = 256  # bytes of each evaluated sample that stay: its features, latents and label


def tree_bytes(tree: Any) -> int:
    """Return the bytes of a pytree of arrays, or of their shapes and dtypes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def sample_bytes(gan: GAN, num: int) -> int:
    """Return the bytes of so many samples on their way from latents to a file."""
    return num * (4 * gan.latent_dim + math.prod(gan.sample_shape) * (3 if gan.is_image else 12))


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
    named = ", ".join(f"{name} {format_bytes(number)}" for name, number in parts.items())
    check_fits(sum(parts.values()), f"config: this recipe ({named})", memory=device_bytes(), where="the device")
    check_fits(sample_bytes(gan, config.num_samples), f"config.num_samples={config.num_samples}")
    if config.eval_every:
        check_fits(_EVALUATED * config.eval_num, f"config.eval_num={config.eval_num}")
    if config.steps_per_call != "auto":
        steps = min(int(config.steps_per_call), config.num_steps, config.sample_every, config.checkpoint_every)
        index = 4 * steps * gan.batches_per_step * config.batch_size
        check_fits(index, f"config.steps_per_call={config.steps_per_call}")
