"""The features of FID: the Inception of 2015-12-05, from its resize to the 2048 averages before its classifier.

The network is Inception-v3 (Szegedy et al. 2016) as TensorFlow's frozen graph of that day has it, the one of Heusel et
al. 2017; torchvision's is another one. `make inception` fetches its weights.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict

from gan_jax.errors import InputError
from gan_jax.evaluation.features.extractor import Extractor
from gan_jax.evaluation.features.inception_weights import digest, load_weights

SIZE = 299
DIMENSIONS = 2048

Conv = Callable[..., jax.Array]
"""`conv(x, layer, …)`: x through the layers in turn, each (features, height, width[, stride[, padding]]) of a window."""


class Inception(nn.Module):
    """Images `[B, 299, 299, 3]` in [-1, 1) -> features `[B, 2048]`, float32.

    Convolutions `conv_00` to `conv_93` are numbered as the file of weights has them, their batch norm is folded in.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        numbers = itertools.count()

        def conv(x: jax.Array, *layers: tuple) -> jax.Array:
            for layer in layers:
                x = nn.relu(_make_layer(f"conv_{next(numbers):02d}", *layer)(x))
            return x

        x = conv(images, (32, 3, 3, 2, "VALID"), (32, 3, 3, 1, "VALID"), (64, 3, 3))
        x = conv(shrink(x), (80, 1, 1), (192, 3, 3, 1, "VALID"))
        x = shrink(x)
        for pooled in (32, 64, 64):
            x = block_35(conv, x, pooled)
        x = reduction_35(conv, x)
        for width in (128, 160, 160, 192):
            x = block_17(conv, x, width)
        x = reduction_17(conv, x)
        x = block_8(conv, x, average_pool)
        x = block_8(conv, x, max_pool)
        return x.mean(axis=(1, 2))


def _make_layer(name: str, features: int, height: int, width: int, stride: int = 1, padding: str = "SAME") -> nn.Module:
    precise = jax.lax.Precision.HIGHEST  # on a GPU the default has ten bits
    if (height, width) == (1, 1):
        return nn.Dense(features, name=name, precision=precise)  # on a CPU faster than the same as nn.Conv
    return nn.Conv(features, (height, width), stride, padding, name=name, precision=precise)


shrink = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
max_pool = partial(nn.max_pool, window_shape=(3, 3), padding="SAME")
average_pool = partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False)


def block_35(conv: Conv, x: jax.Array, pooled: int) -> jax.Array:
    """`[B, 35, 35, C]` -> `[B, 35, 35, 224 + pooled]`."""
    branches = [
        conv(x, (64, 1, 1)),
        conv(x, (48, 1, 1), (64, 5, 5)),
        conv(x, (64, 1, 1), (96, 3, 3), (96, 3, 3)),
        conv(average_pool(x), (pooled, 1, 1)),
    ]
    return jnp.concatenate(branches, axis=-1)


def reduction_35(conv: Conv, x: jax.Array) -> jax.Array:
    """`[B, 35, 35, C]` -> `[B, 17, 17, 480 + C]`."""
    branches = [
        conv(x, (384, 3, 3, 2, "VALID")),
        conv(x, (64, 1, 1), (96, 3, 3), (96, 3, 3, 2, "VALID")),
        shrink(x),
    ]
    return jnp.concatenate(branches, axis=-1)


def block_17(conv: Conv, x: jax.Array, width: int) -> jax.Array:
    """`[B, 17, 17, C]` -> `[B, 17, 17, 768]`, by windows of one row or one column."""
    branches = [
        conv(x, (192, 1, 1)),
        conv(x, (width, 1, 1), (width, 1, 7), (192, 7, 1)),
        conv(x, (width, 1, 1), (width, 7, 1), (width, 1, 7), (width, 7, 1), (192, 1, 7)),
        conv(average_pool(x), (192, 1, 1)),
    ]
    return jnp.concatenate(branches, axis=-1)


def reduction_17(conv: Conv, x: jax.Array) -> jax.Array:
    """`[B, 17, 17, C]` -> `[B, 8, 8, 512 + C]`."""
    branches = [
        conv(x, (192, 1, 1), (320, 3, 3, 2, "VALID")),
        conv(x, (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3, 2, "VALID")),
        shrink(x),
    ]
    return jnp.concatenate(branches, axis=-1)


def block_8(conv: Conv, x: jax.Array, pool: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """`[B, 8, 8, C]` -> `[B, 8, 8, 2048]`. pool: of its last branch, which in the second such block is a maximum."""
    branches = [conv(x, (320, 1, 1))]
    for layers in ([(384, 1, 1)], [(448, 1, 1), (384, 3, 3)]):
        stem = conv(x, *layers)
        branches += [conv(stem, (384, 1, 3)), conv(stem, (384, 3, 1))]
    branches.append(conv(pool(x), (192, 1, 1)))
    return jnp.concatenate(branches, axis=-1)


def kernel_shapes() -> dict[str, tuple[int, ...]]:
    """Name of each convolution -> shape of its kernel, in the order of the network."""
    params = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))["params"]
    return {name: params[name]["kernel"].shape for name in sorted(params)}


def prepare(images: jax.Array, *, quantise: bool = False) -> jax.Array:
    """Images uint8 `[B, H, W, C]`, C of 1 or 3 -> what the network takes. quantise: round to grey levels after the resize."""
    resized = legacy_bilinear(images.astype(jnp.float32), SIZE)
    if quantise:
        resized = jnp.round(resized)
    return (jnp.broadcast_to(resized, (*resized.shape[:3], 3)) - 128) / 128


def legacy_bilinear(images: jax.Array, size: int) -> jax.Array:
    """Float32 `[B, H, W, C]` -> `[B, size, size, C]` as TensorFlow 1 resized.

    Output i is read at i · H / size: corners are aligned at the top left only, and shrinking is not antialiased.
    """
    for axis in (2, 1):
        length = images.shape[axis]
        positions = np.arange(size, dtype=np.float32) * np.float32(length / size)
        lower = positions.astype(np.int32)
        upper = np.minimum(lower + 1, length - 1)
        share = np.expand_dims(positions - lower, [other for other in range(4) if other != axis])
        first, second = jnp.take(images, lower, axis), jnp.take(images, upper, axis)
        images = first + (second - first) * share
    return images


def make_inception(batch_size: int | None = None, *, quantise: bool = False) -> Extractor:
    """Make the extractor, with the weights in the cache. batch_size: where it is None, 8 on a CPU and 128 elsewhere.

    On a CPU two halves of a batch are computed at a time, as one alone does not keep the cores busy: 1.3 times as fast.

    Raises:
        InputError: no weights, or damaged ones; from `extract`, images that are not uint8 `[N, H, W, 1 or 3]`, or too many.
    """
    weights = load_weights()
    params = jax.device_put(unflatten_dict(weights, sep="."))
    on_cpu = jax.default_backend() == "cpu"
    at_most, parts = batch_size or (8 if on_cpu else 128), 2 if on_cpu else 1
    size = -(-at_most // parts)

    @jax.jit
    def run(params: dict, images: jax.Array) -> Any:
        return Inception().apply({"params": params}, prepare(images, quantise=quantise))

    def extract_part(images: np.ndarray) -> np.ndarray:
        padded = np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), np.uint8)])
        return np.asarray(run(params, padded))[: len(images)]

    def extract(images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or not 0 < len(images) <= at_most:
            wanted = f"must be uint8 [N, H, W, C], N from 1 to {at_most}, C 1 or 3"
            raise InputError(f"inception: images {images.dtype} {list(images.shape)}; {wanted}")
        split = [images[first : first + size] for first in range(0, len(images), size)]
        with ThreadPoolExecutor(parts) as threads:
            return np.concatenate(list(threads.map(extract_part, split)))

    levels = "rounded to grey levels" if quantise else "not quantised"
    return Extractor("inception", extract, DIMENSIONS, at_most, digest(weights), f"TF1 bilinear to {SIZE}, {levels}")
