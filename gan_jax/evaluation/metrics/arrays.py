"""What every metric accepts: samples or their features, one row each."""

from typing import Any

import numpy as np

from gan_jax.errors import InputError


def as_features(at_least: int, **arrays: Any) -> list[np.ndarray]:
    """Check that arrays, by name, are `[N, D]` of finite real numbers, N ≥ at_least, one D for all; return them unconverted.

    Raises:
        InputError: one of them is not.
    """
    checked = {name: np.asarray(array) for name, array in arrays.items()}
    first, *_ = checked
    for name, array in checked.items():
        if array.ndim != 2 or not array.shape[1]:
            raise InputError(f"{name} {list(array.shape)}: must be [N, D], one row per sample (images: x.reshape(len(x), -1))")
        if array.dtype.kind not in "fiu":
            raise InputError(f"{name} has dtype {array.dtype}: must be float32, float64 or integers")
        if len(array) < at_least:
            raise InputError(f"{name} has {len(array)} rows: must have at least {at_least}")
        if array.shape[1] != checked[first].shape[1]:
            raise InputError(
                f"{name} has {array.shape[1]} dimensions, {first} {checked[first].shape[1]}: must have the same features"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{name} has nan or inf: all numbers must be finite")
    return list(checked.values())
