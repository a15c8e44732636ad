"""The record of a checkpoint, which may be a stranger's: what it must be before anything in it is used."""

import json
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError, shorten
from gan_jax.files import check_tree, sha256_of
from gan_jax.memory import check_fits, host_bytes

DTYPES = ("float32", "bfloat16", "float16", "int32", "uint32", "int8", "uint8", "bool")
_FIELDS = {"config": dict, "selection_metric": float | int | None, "leaves": dict}
_MAX_JSON = 2**24  # bytes of a record, and of what Orbax writes beside it
_ARRAYS = ("d",)  # folders of the files in which Orbax writes arrays
_MAX_RANK = 32  # numpy's
_TRIES = 10  # to look through a folder that changes


def check_record(record: Any) -> dict[str, Any]:
    """Return the record of a checkpoint: config, selection metric, and dtype, shape and sha256 of each leaf by its path.

    Raises:
        ValueError: what it is instead.
        InputError: leaves that are more than the memory.
    """
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in _FIELDS.items()):
        raise ValueError(f"it must have {', '.join(_FIELDS)}, and has {shorten(record)}")
    metric = record["selection_metric"]
    if isinstance(metric, bool) or (metric is not None and not abs(metric) < float("inf")):
        raise ValueError(f"its selection metric must be a finite number, not {shorten(metric)}")
    size = sum(_leaf_bytes(path, leaf) for path, leaf in record["leaves"].items())
    check_fits(size, "the state in it")
    return record


def _leaf_bytes(path: str, leaf: Any) -> int:
    shape = leaf.get("shape") if isinstance(leaf, dict) else None
    if (
        not isinstance(shape, list)
        or len(shape) > _MAX_RANK
        or not all(type(each) is int and 0 <= each < 2**63 for each in shape)
        or leaf.get("dtype") not in DTYPES
        or not isinstance(leaf.get("sha256"), str)
    ):
        raise ValueError(f"{shorten(path)} must have a dtype, a shape and a sha256, and has {shorten(leaf)}")
    return math.prod(shape) * jnp.dtype(leaf["dtype"]).itemsize


def check_folder(folder: Path) -> None:
    """Raise `InputError` where a folder of checkpoints has a link, a pipe or a device, or what is larger than the memory."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # a run that trains there has deleted an old checkpoint meanwhile
            return _check_folder(folder)
    return _check_folder(folder)


def _check_folder(folder: Path) -> None:
    check_tree(folder, at_most=sys.maxsize)  # there may be any number of checkpoints
    for step in (path for path in folder.iterdir() if path.is_dir()):
        check_tree(step, at_most=host_bytes())
    for path in folder.rglob("*"):
        if path.parent.name not in _ARRAYS and path.is_file() and path.stat().st_size > _MAX_JSON:
            raise InputError(f"{path}: must be at most {_MAX_JSON} bytes")


def describe_leaf(array: np.ndarray) -> dict[str, Any]:
    """Return what the record says of a leaf."""
    sha256 = sha256_of(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": sha256}


def digest(record: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of a record."""
    return sha256_of(json.dumps(record, sort_keys=True))
