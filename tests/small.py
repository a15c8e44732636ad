"""Small things that several tests train."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax import GAN, OBJECTIVES, Players, TrainState, create_state, make_network, warmed_up_decay
from gan_jax.configs import default


@cache
def small_gan(network: str = "dcgan", *, objective: str = "non_saturating", ema_decay: float = 0.0, **options: object) -> GAN:
    """A GAN for 16 × 16 grey images, the smallest with batch norm in a DCGAN's D, or for points (mlp); steps take milliseconds.

    norm: of image networks, of D alone where G has none such. num_classes, packing, penalties, augment, disc_steps: see `GAN`.
    """
    sample_shape = (2,) if network == "mlp" else (16, 16, 1)
    size = {"mlp": {"hidden": (16,)}, "resnet": {"width": 4}}.get(network, {"base_width": 4})
    norm = {"norm": options.pop("norm")} if "norm" in options else {}
    of_player = Players({} if norm.get("norm") in ("layer", "spectral") else norm, norm)
    both = {name: options[name] for name in ("num_classes", "packing") if name in options}
    networks = {
        player: make_network(player, network, sample_shape, **size, **both, **getattr(of_player, player))
        for player in Players._fields
    }
    return GAN(
        networks=Players(**networks),
        optimizers=Players(gen=optax.adam(1e-3, b1=0.5), disc=optax.adam(1e-3, b1=0.5)),
        objective=OBJECTIVES[objective],
        sample_shape=sample_shape,
        latent_dim=3,
        ema=warmed_up_decay(ema_decay) if ema_decay else None,
        **options,
    )


@cache
def small_state(gan: GAN) -> TrainState:
    return create_state(gan, jax.random.key(0))


def drawn_variables(
    module: nn.Module, inputs: jax.Array, labels: jax.Array | None = None, *, amount: float = 0.1, seed: int = 0
) -> dict[str, Any]:
    """Variables such as training leaves: no bias is 0 and no scale is 1; kernels are from N(0, amount²), a u has length 1.

    The initialisers take longer to compile than all else in a small test.
    """
    shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), inputs, labels)
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        noise, name = rng.normal(size=leaf.shape), path[-1].key
        if path[0].key == "params":
            values = (name == "scale") + amount * noise
        else:
            values = noise / np.linalg.norm(noise) if name.endswith("_u") else np.full(leaf.shape, name == "var")
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_images(count: int, size: int = 16, channels: int = 1, seed: int = 0) -> np.ndarray:
    """uint8 `[count, size, size, channels]`."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def assert_trees_equal(left: object, right: object) -> None:
    """The same structure and the same bits."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def trees_differ(left: object, right: object) -> list[bool]:
    """For each leaf: is any element different?"""
    return [
        bool(np.any(np.asarray(a) != np.asarray(b))) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    ]


def small_config(**overrides: object) -> ConfigDict:
    """The default config cut down to seconds: 8 × 8 digits, 20 steps; `overrides` as {"data.name": "ring"}."""
    config = default.get_config()
    small = {"num_steps": 20, "batch_size": 8, "latent_dim": 4, "num_samples": 4, "data.image_size": 8}
    small |= {"network.dcgan.base_width": 4, "log_every": 5, "sample_every": 10, "checkpoint_every": 10, "eval_every": 0}
    config.update_from_flattened_dict(small | overrides)
    return config
