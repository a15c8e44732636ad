"""How fast are the convolutions of the networks, and their gradients, beside PyTorch's on the same machine?

At batch 64 in float32 it times the forward pass, the gradients with respect to inputs and weights, and the gradient with
respect to the weights of a penalty on the gradient of softplus of the layer, as R1 needs it. Ours and PyTorch's
(`channels_last`) run in turn, and ratios are taken pair by pair; above 1 ours is faster.

Command: python experiments/benchmark_layers.py --out=experiments/results/benchmark_layers.jsonl
Needs `pip install -e '.[bench]'`; about 2 minutes on 2 cores. --out also writes the table beside the rows.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from gan_jax.errors import InputError
from gan_jax.evaluation.results import append_row, hardware, markdown
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.networks.conv import Geometry, strided_conv
from gan_jax.run import cli

_BATCH = flags.DEFINE_integer("batch", 64, "Images in each call.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 9, "Timings of each pass.", lower_bound=1)
_OUT = flags.DEFINE_string("out", "", "File of JSON lines that the rows are appended to; the table is written beside it.")
_PLOT = flags.DEFINE_string("plot", "", "Measure nothing: write the table of the newest rows of this file.")

PASSES = ("forward", "input gradient", "weight gradient", "penalty")


class Layer(NamedTuple):
    """A convolution of `[B, size, size, inputs]`."""

    network: str
    size: int
    inputs: int
    outputs: int
    window: int
    stride: int
    padding: int
    groups: int = 1

    def describe(self) -> str:
        """Return '32 × 32, 64 → 128, 3 × 3, stride 1, 4 groups'."""
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        window = f"{self.window} × {self.window}, stride {self.stride}"
        return f"{self.size} × {self.size}, {self.inputs} → {self.outputs}, {window}{groups}"


LAYERS = (
    Layer("dcgan", 32, 64, 128, 4, 2, 1),
    Layer("dcgan", 16, 128, 256, 4, 2, 1),
    Layer("sndcgan", 32, 3, 64, 3, 1, 1),
    Layer("sndcgan, resnet", 32, 64, 64, 3, 1, 1),
    Layer("sndcgan, resnet", 16, 128, 128, 3, 1, 1),
    Layer("sndcgan, resnet", 8, 256, 256, 3, 1, 1),
    Layer("resnet, r3gan", 32, 64, 128, 1, 1, 0),
    Layer("r3gan", 16, 192, 96, 1, 1, 0),
    Layer("r3gan", 32, 192, 192, 3, 1, 1, 12),
    Layer("r3gan", 16, 192, 192, 3, 1, 1, 12),
    Layer("r3gan", 8, 192, 192, 3, 1, 1, 12),
)


def ours(layer: Layer, arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """Make a call of each pass, which waits for the result."""
    conv = partial(strided_conv, Geometry((layer.size, layer.size), layer.stride, layer.padding, layer.groups))

    def penalty(images: jax.Array, kernel: jax.Array) -> jax.Array:
        slopes = jax.grad(lambda images: jnp.sum(jax.nn.softplus(conv(images, kernel))))(images)
        return jnp.sum(slopes**2)

    passes = {
        "forward": lambda images, kernel, features: conv(images, kernel),
        "input gradient": lambda images, kernel, features: jax.vjp(lambda x: conv(x, kernel), images)[1](features),
        "weight gradient": lambda images, kernel, features: jax.vjp(lambda w: conv(images, w), kernel)[1](features),
        "penalty": lambda images, kernel, features: jax.grad(penalty, argnums=1)(images, kernel),
    }
    on_device = jax.tree.map(jnp.asarray, arrays)
    return {name: partial(lambda f: jax.block_until_ready(f(**on_device)), jax.jit(f)) for name, f in passes.items()}


def torchs(layer: Layer, arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """Make the same calls of PyTorch."""
    import torch
    from torch.nn import functional

    def channels_last(array: np.ndarray, axes: tuple[int, ...]) -> Any:
        return torch.tensor(array.transpose(axes)).contiguous(memory_format=torch.channels_last)

    images, features = (channels_last(arrays[name], (0, 3, 1, 2)) for name in ("images", "features"))
    kernel = channels_last(arrays["kernel"], (3, 2, 0, 1))
    conv = partial(functional.conv2d, stride=layer.stride, padding=layer.padding, groups=layer.groups)

    def forward() -> Any:
        with torch.no_grad():
            return conv(images, kernel)

    def backward(*wanted: bool) -> Any:
        stride, padding = [layer.stride] * 2, [layer.padding] * 2
        mask = [*wanted, False]
        return torch.ops.aten.convolution_backward(
            features, images, kernel, None, stride, padding, [1, 1], False, [0, 0], layer.groups, mask
        )

    def penalty() -> Any:
        x, w = images.detach().requires_grad_(), kernel.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(functional.softplus(conv(x, w)).sum(), x, create_graph=True)
        return torch.autograd.grad((slopes**2).sum(), w)[0]

    calls = (forward, partial(backward, True, False), partial(backward, False, True), penalty)
    return dict(zip(PASSES, calls, strict=True))


def make_arrays(layer: Layer) -> dict[str, np.ndarray]:
    """Draw images, a kernel, and what comes back from above."""
    rng = np.random.default_rng(0)
    below = (layer.size + 2 * layer.padding - layer.window) // layer.stride + 1
    shapes = {
        "images": (_BATCH.value, layer.size, layer.size, layer.inputs),
        "kernel": (layer.window, layer.window, layer.inputs // layer.groups, layer.outputs),
        "features": (_BATCH.value, below, below, layer.outputs),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def seconds(call: Callable[[], Any]) -> float:
    """Time one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(layer: Layer) -> dict[str, Any]:
    """Return the row of a layer: milliseconds of both, and the ratios, median and range."""
    arrays = make_arrays(layer)
    row: dict[str, Any] = {"benchmark": "layer", "layer": layer._asdict(), "batch": _BATCH.value}
    one, other = ours(layer, arrays), torchs(layer, arrays)
    np.testing.assert_allclose(np.asarray(one["forward"]()).transpose(0, 3, 1, 2), other["forward"](), rtol=1e-3, atol=1e-3)
    for name in PASSES:
        seconds(one[name])
        seconds(other[name])
        pairs = [(seconds(one[name]), seconds(other[name])) for _ in range(_REPEATS.value)]
        ratios = sorted(theirs / mine for mine, theirs in pairs)
        mine, theirs = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
        row[name] = {"ours_ms": mine, "torch_ms": theirs, "ratio": statistics.median(ratios), "range": [ratios[0], ratios[-1]]}
    return row


def make_page(rows: list[dict[str, Any]], source: str) -> str:
    """Make the table of the newest rows; source: the name of their file."""

    def cell(times: dict[str, Any]) -> str:
        low, high = times["range"]
        return f"{times['ours_ms']:.1f} ms, {times['ratio']:.2f} ({low:.2f} to {high:.2f})"

    lines = [
        {"layer": Layer(**row["layer"]).describe(), "network": row["layer"]["network"]}
        | {name: cell(row[name]) for name in PASSES}
        for row in rows
    ]
    return f"""# Convolutions beside PyTorch's

Batch {rows[0]["batch"]}, float32, {rows[0]["hardware"]}; PyTorch {rows[0]["torch"]} with `channels_last`. Each cell has our
median time, then how many times as fast as PyTorch ours is: the median (and range) over pairs of calls that ran in turn.
*Penalty*: the gradient, with respect to the weights, of the squared norm of the input gradient of softplus of the layer.

Rows: [{source}]({source}), by `experiments/benchmark_layers.py`.

{markdown(lines)}
"""


def write_page(path: Path) -> None:
    """Write the table of the newest rows beside their file."""
    newest = read_jsonl(path)[-len(LAYERS) :]
    mixed = len({(row["batch"], row["hardware"], row["torch"]) for row in newest}) > 1
    if len(newest) < len(LAYERS) or mixed or [row["layer"] for row in newest] != [layer._asdict() for layer in LAYERS]:
        raise InputError(f"{path} must have a row for each of {len(LAYERS)} layers: measure with --out={path}")
    write_atomic(path.with_suffix(".md"), lambda file: file.write_text(make_page(newest, path.name)))


def main() -> None:
    path = Path(_PLOT.value or _OUT.value)
    if str(path) != "." and path.suffix != ".jsonl":
        raise InputError(f"{path} must end in .jsonl: the table is written beside it, as .md")
    if _PLOT.value:
        write_page(path)
        return
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{error}; install the extra: pip install -e '.[bench]'") from error
    if jax.default_backend() != "cpu":
        raise InputError("PyTorch's layers run on the CPU here: set JAX_PLATFORMS=cpu, so that ours do too")
    for layer in LAYERS:
        row = measure(layer) | {"torch": torch.__version__, "hardware": hardware()}
        print(layer.describe(), {name: f"{row[name]['ratio']:.2f}" for name in PASSES}, flush=True)
        if _OUT.value:
            append_row(path, row)
    if _OUT.value:
        write_page(path)


if __name__ == "__main__":
    cli.run(main)
