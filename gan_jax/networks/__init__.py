"""Networks by name, each with a generator and a discriminator.

A module maps `(inputs, labels, train)`. One with batch norm has a field `axis_name`, None by default: the name of the mapped
axis that splits a batch. Each maker raises `InputError` for options that its network cannot have.
"""

import inspect
from typing import Any

from flax import linen as nn

from gan_jax.errors import InputError, nearest
from gan_jax.networks import dcgan, mlp, r3gan, resnet, sndcgan
from gan_jax.state import Players

NETWORKS: dict[str, Players] = {
    "dcgan": Players(dcgan.make_generator, dcgan.make_discriminator),
    "mlp": Players(mlp.make_generator, mlp.make_discriminator),
    "sndcgan": Players(sndcgan.make_generator, sndcgan.make_discriminator),
    "resnet": Players(resnet.make_generator, resnet.make_discriminator),
    "r3gan": Players(r3gan.make_generator, r3gan.make_discriminator),
}
"""Name -> `make(sample_shape, *, num_classes, dtype, **options)` of each player; D's sample_shape is what it sees, packed.

A new network is a file with two makers, an entry here, its options in `configs/default.py`, and a test.
"""

DTYPES = ("float32", "bfloat16")
"""Types of the arithmetic, which a config can name; float64, for tests under jax_enable_x64, is one as well."""


def make_network(player: str, name: str, sample_shape: tuple[int, ...], *, packing: int = 1, **options: Any) -> nn.Module:
    """Make one player, "gen" or "disc", by its network's name; options: num_classes, dtype and the network's own.

    Raises:
        InputError: no such player or network, or options that it cannot have.
    """
    if player not in Players._fields:
        raise InputError(f"player {player} must be one of {', '.join(Players._fields)}{nearest(player, Players._fields)}")
    if name not in NETWORKS:
        raise InputError(f"network {name} must be one of {', '.join(NETWORKS)}{nearest(name, NETWORKS)}")
    make = getattr(NETWORKS[name], player)
    known = [option for option in inspect.signature(make).parameters if option != "sample_shape"]
    for option in options:
        if option not in known:
            raise InputError(f"network {name}: {option} must be one of {', '.join(known)}{nearest(option, known)}")
    if (dtype := options.get("dtype", "float32")) not in (*DTYPES, "float64"):
        raise InputError(f"network {name}: dtype={dtype} must be one of {', '.join(DTYPES)}{nearest(str(dtype), DTYPES)}")
    if player == "disc":
        sample_shape = (*sample_shape[:-1], packing * sample_shape[-1])
    network: nn.Module = make(sample_shape, **options)
    return network


def make_networks(name: str, sample_shape: tuple[int, ...], **options: Any) -> Players:
    """Make both players of one name with the same options."""
    return Players(*(make_network(player, name, sample_shape, **options) for player in Players._fields))
