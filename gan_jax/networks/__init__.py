"""Networks by name: each entry makes both players for samples of one shape.

A network with batch norm has a field `axis_name`, None by default, which it hands to it in train mode: the name of the mapped
axis that splits a batch.
"""

from collections.abc import Callable

from gan_jax.errors import InputError
from gan_jax.networks import dcgan, mlp
from gan_jax.state import Players


def make_dcgan(sample_shape: tuple[int, ...], *, base_width: int = 64, dtype: str = "float32") -> Players:
    """DCGAN for images `[S, S, C]`; `base_width` channels next to the image, doubling towards 4 × 4."""
    height, width, channels = sample_shape
    if height != width:
        raise InputError(f"sample_shape={sample_shape}: DCGAN makes square images")
    return Players(
        gen=dcgan.Generator(height, channels, base_width, dtype),
        disc=dcgan.Discriminator(height, base_width, dtype),
    )


def make_mlp(sample_shape: tuple[int, ...], *, hidden: tuple[int, ...] = (128, 128), dtype: str = "float32") -> Players:
    """Multilayer perceptrons with the same hidden widths, for samples of any shape."""
    return Players(gen=mlp.Generator(sample_shape, hidden, dtype), disc=mlp.Discriminator(hidden, dtype))


NETWORKS: dict[str, Callable[..., Players]] = {"dcgan": make_dcgan, "mlp": make_mlp}
"""Name -> players. A new one is a function, an entry here, its options in `default.py`, and a test."""
