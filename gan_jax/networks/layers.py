"""What networks share: normalisation, spectral norm, and the two places where a class enters (Miyato and Koyama 2018).

Labels are one-hot vectors times tables, not look-ups: the gradient of a look-up is a scatter, whose sums on a GPU have no
fixed order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax.errors import InputError, nearest

Layer = Callable[[jax.Array], jax.Array]


def at_least_float32(x: jax.Array) -> jax.Array:
    """Return what leaves a network: float32 after bfloat16 arithmetic."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class SpectralNorm(nn.Module):
    """Apply a layer with its kernel over the kernel's spectral norm (Miyato et al. 2018, algorithm 1).

    The kernel is the matrix W `[inputs, outputs]`, of a convolution `[h · w · I, O]`; a bias stays as it is. Each call takes a
    step of the power iteration from the u `[outputs]` in `batch_stats`, and in train mode keeps the new one there. That depends
    on W and the old u alone, so that both passes of an update, and all devices, arrive at the same: D takes one step in each of
    its updates, where the authors' code takes one in each pass. No gradient goes through u and v.

    Flax's `nn.SpectralNorm` does this too, but divides the initial parameters themselves, which changes the size of an
    optimiser's steps relative to them.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def normalised(variables: Any) -> Any:
            params = variables["params"]
            matrix = params["kernel"].reshape(-1, params["kernel"].shape[-1])
            return {"params": {**params, "kernel": params["kernel"] / self._spectral_norm(matrix, train)}}

        if self.is_initializing():
            self.layer(x)  # draws the parameters
        return nn.map_variables(lambda layer: layer(x), "params", normalised)(self.layer)

    def _spectral_norm(self, matrix: jax.Array, train: bool) -> jax.Array:
        def draw() -> jax.Array:
            return jax.random.normal(self.make_rng("params"), matrix.shape[-1:])

        u = self.variable("batch_stats", f"{self.layer.name}_u", draw)
        dot = partial(jnp.dot, precision="highest")
        v = _normed(dot(matrix, u.value))
        new_u = _normed(dot(v, matrix))
        if train:
            u.value = new_u
        return dot(v, dot(matrix, new_u))


def _normed(vector: jax.Array) -> jax.Array:
    return jax.lax.stop_gradient(vector * jax.lax.rsqrt(jnp.sum(vector**2) + 1e-12))


def spectrally_normalised(layer: nn.Module, norm: str, train: bool) -> Layer:
    """Return the layer, with norm="spectral" under `SpectralNorm`; names and shapes of its parameters stay the same."""
    return partial(SpectralNorm(layer), train=train) if norm == "spectral" else layer


def _rows(table: jax.Array, labels: jax.Array | None, ndim: int, dtype: Any) -> jax.Array:
    """Per-class table `[K, C]` -> the rows of the labels `[B, 1, ..., C]`; one row for all, `[C]` -> `[1, ..., C]`."""
    if table.ndim == 2:
        # At the highest precision a row comes out as it is; TF32 would round it.
        table = jnp.dot(jax.nn.one_hot(labels, len(table), dtype=table.dtype), table, precision="highest")
    return table.astype(dtype).reshape(-1, *(1,) * (ndim - 2), table.shape[-1])


class Bias(nn.Module):
    """Add one number to each channel, with num_classes one for each class: `[B, ..., C]`, labels `[B]` -> `[B, ..., C]`."""

    dtype: Any = jnp.float32
    num_classes: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        shape = (self.num_classes, x.shape[-1]) if self.num_classes else (x.shape[-1],)
        bias = self.param("bias", nn.initializers.zeros, shape)
        return x + _rows(bias, labels, x.ndim, self.dtype)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with scales and biases `[K, C]`, a row for each class: `[B, ..., C]`, labels `[B]` -> `[B, ..., C]`."""

    num_classes: int
    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        scale = self.param("scale", self.scale_init, (self.num_classes, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes, x.shape[-1]))
        x = batch_norm(train, self.dtype, self.axis_name, use_scale=False, use_bias=False)(x)
        return x * _rows(scale, labels, x.ndim, self.dtype) + _rows(bias, labels, x.ndim, self.dtype)


def batch_norm(train: bool, dtype: Any, axis_name: str | None, **options: Any) -> nn.BatchNorm:
    """Make a batch norm; axis_name: of the mapped axis over which it takes the statistics of a training batch, or None."""
    # Flax's momentum is the share that is kept: 0.9 here is 0.1 in PyTorch. Statistics are float32 even for bfloat16.
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, axis_name=axis_name, **options)


def normalise(
    x: jax.Array,
    *,
    norm: str,
    train: bool,
    dtype: Any,
    axis_name: str | None = None,
    labels: jax.Array | None = None,
    num_classes: int = 0,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
) -> jax.Array:
    """Apply what follows a convolution without bias: batch or layer norm, and a bias where there is neither.

    With num_classes, scale and bias are the label's. scale_init is batch norm's. Layer norm is WGAN-GP's (Gulrajani et al.
    2017): over H, W and C of each example, with a scale and a bias for each channel.
    """
    if norm == "layer":
        return nn.LayerNorm(epsilon=1e-5, dtype=dtype, reduction_axes=(-3, -2, -1), feature_axes=-1)(x)
    if norm != "batch":
        return Bias(dtype, num_classes)(x, labels)
    if num_classes:
        return ConditionalBatchNorm(num_classes, dtype, scale_init, axis_name)(x, labels, train)
    return batch_norm(train, dtype, axis_name, scale_init=scale_init)(x)


def projection(
    features: jax.Array, labels: jax.Array | None, num_classes: int, norm: str, train: bool, init: nn.initializers.Initializer
) -> jax.Array:
    """Return what a class adds to D's logits `[B]`: <a learned vector of the class, features `[B, H, W, C]` summed over H, W>.

    (Miyato and Koyama 2018, figure 1d.) norm: with "spectral" the matrix of these vectors has it too.
    """
    features = at_least_float32(features)
    embedding = nn.Dense(features.shape[-1], use_bias=False, kernel_init=init, precision="highest", name="embedding")
    embedded = spectrally_normalised(embedding, norm, train)(jax.nn.one_hot(labels, num_classes, dtype=features.dtype))
    return jnp.sum(embedded * jnp.sum(features, axis=(1, 2)), axis=-1)


class Pyramid(NamedTuple):
    """The sizes of an image on its way through a network: the smallest grid, height × width, and how often it is doubled."""

    height: int
    width: int
    doublings: int


def pyramid(image_size: tuple[int, int]) -> Pyramid:
    """Return h, w and n of H × W = h·2**n × w·2**n, where the smaller of h and w is 4 to 7, or 3 if the shorter side is 6.

    A square power of two begins at 4 × 4; 48 × 48 at 6 × 6, as SNGAN's does for STL-10 (Miyato et al. 2018, table 3).
    """
    doublings = max(1, min(image_size).bit_length() - 3)
    height, width = (side >> doublings for side in image_size)
    return Pyramid(height, width, doublings)


def check_image(network: str, sample_shape: tuple[int, ...], smallest: int) -> tuple[tuple[int, int], int]:
    """Return image size (H, W) and channels, or raise `InputError` where the samples are no images that `pyramid` is exact for.

    smallest: the least that the shorter side can be.
    """
    if len(sample_shape) != 3:
        raise InputError(f"network {network} makes images, but the samples are {sample_shape}: choose mlp, or an image dataset")
    height, width, channels = sample_shape
    nearest_sizes = _nearest_sizes((height, width), smallest)
    if (height, width) not in nearest_sizes:
        near = " and ".join(f"{height} × {width}" for height, width in nearest_sizes)
        raise InputError(
            f"network {network}: image size {height} × {width} must be h·2^n × w·2^n, the smaller of h and w from 4 to 7, "
            f"its sides ≥ {smallest}; nearest: {near}; set config.data.image_size"
        )
    return (height, width), channels


def _nearest_sizes(image_size: tuple[int, int], smallest: int) -> list[tuple[int, int]]:
    """Return the sizes that a network can have next to this one, below and above, or this one alone."""
    at_least = max(image_size[0], smallest), max(image_size[1], smallest)
    below = _to_multiples(at_least, round_up=False)
    above = _to_multiples(_to_multiples(at_least, round_up=True), round_up=True)  # whose multiples may be twice as large
    return [below] if below == above else [below, above]


def _to_multiples(image_size: tuple[int, int], *, round_up: bool) -> tuple[int, int]:
    unit = 2 ** pyramid(image_size).doublings
    height, width = ((side + round_up * (unit - 1)) // unit * unit for side in image_size)
    return height, width


def check_width(network: str, option: str, width: int) -> None:
    """Raise `InputError` where an option such as a number of channels is no integer ≥ 1."""
    if not isinstance(width, int) or width < 1:
        raise InputError(f"network {network}: {option}={width} must be an integer ≥ 1")


def check_norm(network: str, norm: str, norms: Sequence[str], *, of_disc: Sequence[str] = ()) -> None:
    """Raise `InputError` at a norm that is none of these; of_disc: those that the discriminator alone has."""
    if norm in of_disc:
        has = f"the generator has {' or '.join(norms)}"
        raise InputError(
            f"network {network}: norm={norm} is for the discriminator only, {has}: set config.network.disc.{network}.norm"
        )
    if norm not in norms:
        raise InputError(f"network {network}: norm={norm} must be one of {', '.join(norms)}{nearest(norm, norms)}")
