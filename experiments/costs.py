"""What a DCGAN step computes and what it sends, counted by hand.

Data parallelism: each device has its own batch. A step averages over the devices the gradients of D, k times, and of G, and,
where batch norm is synchronised, two numbers a channel of every normalised layer and pass, forward and back. An all-reduce of S
bytes over n devices takes 2 (n - 1) / n S / bandwidth, the ring's optimum (Patarasuk and Yuan 2009), and the 2 ceil(log2 n)
latencies of a tree. Nothing overlaps: real runs may do better.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax

from gan_jax.state import GAN, Players, abstract_state


def model_flops(
    image_size: int, channels: int, base_width: int, latent_dim: int, batch_size: int, disc_steps: int = 1, border: bool = True
) -> int:
    """FLOPs of the convolutions and matrix products of one step: k updates of D, one of G, no gradient that nobody uses.

    border: count the products with the zeros beyond the border, as PyTorch does; XLA's cost analysis leaves them out.
    """
    blocks = image_size.bit_length() - 3
    strided = []  # of each layer of D from the image on, forward; G's mirror them
    for block in range(blocks):
        size, inputs = image_size >> (block + 1), base_width << (block - 1) if block else channels
        taps = 4 * size if border else 4 * size - 2
        strided.append(2 * taps**2 * inputs * (base_width << block))
    logit = 2 * 16 * (base_width << (blocks - 1))
    stem = logit * latent_dim
    disc, gen = sum(strided) + logit, sum(strided) + stem
    # A backward pass costs a forward pass for the weights and another for the inputs, which the first layer's are spared.
    disc_update = gen + 2 * (disc + disc + disc - strided[0])
    gen_update = gen + disc + disc + gen + (gen - stem)
    return batch_size * (disc_steps * disc_update + gen_update)


class Interconnect(NamedTuple):
    """bandwidth: bytes/s each way of one device (data sheets); latency: seconds of one hop (assumed)."""

    name: str
    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Communication:
    """The all-reduces of one step."""

    messages: int
    bytes: int

    def seconds(self, devices: int, interconnect: Interconnect) -> float:
        """Of all of them, one after the other."""
        if devices == 1:
            return 0.0
        transfer = 2 * (devices - 1) / devices * self.bytes / interconnect.bandwidth
        return transfer + self.messages * 2 * math.ceil(math.log2(devices)) * interconnect.latency


def communication(gan: GAN, disc_steps: int, *, synchronised: bool) -> Communication:
    """What a step of the recipe sends: float32 gradients, a message for each update; moments, one for each layer and pass."""
    state = abstract_state(gan)
    numbers = Players(*(sum(leaf.size for leaf in jax.tree.leaves(params)) for params in state.params))
    messages, floats = disc_steps + 1, disc_steps * numbers.disc + numbers.gen
    if synchronised:
        # D's update goes forward through G, forward and back through D twice; G's goes forward and back through both.
        passes = Players(gen=disc_steps + 2, disc=4 * disc_steps + 2)
        for count, stats in zip(passes, state.batch_stats, strict=True):
            leaves = jax.tree.leaves(stats)  # a mean and a variance for each layer: as many numbers as a pass sends
            messages += count * len(leaves) // 2
            floats += count * sum(leaf.size for leaf in leaves)
    return Communication(messages, 4 * floats)


def efficiency(compute_seconds: float, sent: Communication, devices: int, interconnect: Interconnect) -> float:
    """Speed of one of n devices over the speed of a device alone."""
    return compute_seconds / (compute_seconds + sent.seconds(devices, interconnect))
