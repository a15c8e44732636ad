"""A trained generator as files of its own, which need JAX and safetensors, and neither this package nor Flax.

The weights are arguments of the program, so that they are stored once, and a program that is compiled for one run's weights
serves another's too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax import export
from safetensors.numpy import save_file

from gan_jax.evaluation.results import provenance
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.run.checkpoints import leaves_by_path
from gan_jax.run.config import resolve
from gan_jax.run.restore import restore_run
from gan_jax.sampling import BATCH_SIZE, generate_batch
from gan_jax.state import GAN, TrainState, generator_variables

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, WEIGHTS, CARD = "generator.jax", "generator.safetensors", "card.json"

_OF_RESULTS = ("samples", "num", "real", "num_real", "features", "weights_sha256", "seeds", "mean", "standard_error")


def export_generator(gan: GAN, weights: Mapping[str, Any]) -> export.Exported:
    """Export the generator for a batch of any size, and for all of `PLATFORMS`.

    It maps weights by path, such as params/Dense_0/kernel, latents float32 `[B, Z]` and, of a conditional recipe, labels int32
    `[B]` to images uint8 `[B, H, W, C]`, or to points float32 `[B, D]`, as `generate_batch` does.
    """

    def generator(weights: Mapping[str, Any], latents: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        variables = unflatten_dict(weights, sep="/")
        return generate_batch(gan.networks.gen, gan.is_image, variables, latents, labels)

    (batch,) = export.symbolic_shape("batch")
    inputs = [jax.ShapeDtypeStruct((batch, gan.latent_dim), jnp.float32)]
    inputs += [jax.ShapeDtypeStruct((batch,), jnp.int32)] if gan.num_classes else []
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(weights))
    return export.export(jax.jit(generator), platforms=PLATFORMS)(shapes, *inputs)


def export_run(workdir: str | Path, out: str | Path, *, which: str = "final", raw: bool = False) -> dict[str, Any]:
    """Export the generator of a run's "final" or "best" checkpoint to a folder; return the card that is written beside it.

    raw: the generator's own weights, where the run keeps an average of them too.

    Raises:
        InputError: no such checkpoint.
    """
    config, gan, state = restore_run(workdir, which)
    ema = state.ema is not None and not raw
    leaves = leaves_by_path(generator_variables(state, ema=ema))
    weights = {path: np.ascontiguousarray(leaf) for path, leaf in leaves.items()}
    program = export_generator(gan, weights).serialize()
    out = Path(out)
    write_atomic(out / PROGRAM, lambda file: file.write_bytes(program))
    write_atomic(out / WEIGHTS, lambda file: save_file(weights, file))
    card = {
        "step": int(state.step),
        "which": which,
        "weights": "EMA" if ema else "raw",
        "latent_dim": gan.latent_dim,
        "num_classes": gan.num_classes,
        "sample_shape": list(gan.sample_shape),
        "dtype": "uint8" if gan.is_image else "float32",
        "platforms": list(PLATFORMS),
        "sha256": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (PROGRAM, WEIGHTS)},
        "metrics": _find_metrics(Path(workdir), state, ema=ema),
        "usage": usage(gan),
        "config": resolve(config),
        **provenance(),
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_atomic(out / CARD, lambda file: file.write_text(text, encoding="utf-8", errors="backslashreplace"))
    return card


def usage(gan: GAN) -> list[str]:
    """Return the lines of Python, run in the folder, that make the first samples of seed 0, to the bit as `sample` does."""
    labels = f", jnp.arange({BATCH_SIZE}) % {gan.num_classes}" if gan.num_classes else ""
    return [
        "import jax, jax.export, jax.numpy as jnp",
        "from safetensors.numpy import load_file",
        f"with open('{PROGRAM}', 'rb') as file:",
        "    generator = jax.export.deserialize(file.read())",
        f"weights = load_file('{WEIGHTS}')",
        f"keys = jax.vmap(lambda index: jax.random.fold_in(jax.random.key(0), index))(jnp.arange({BATCH_SIZE}))",
        f"latents = jax.vmap(lambda key: jax.random.normal(key, ({gan.latent_dim},)))(keys)",
        f"samples = generator.call(weights, latents{labels})  # other sizes of a batch may differ in rounding",
    ]


def _find_metrics(workdir: Path, state: TrainState, *, ema: bool) -> dict[str, Any]:
    """Find what the run's files say of these weights: during training, and the newest row of evaluate.py by features."""
    step = int(state.step)
    of_a_run = ema or state.ema is None  # a run evaluates the average where there is one
    evaluated = {row.get("step"): row for row in read_jsonl(workdir / "eval.jsonl") if of_a_run}
    fields = {"step": step, "weights": "EMA" if ema else "raw"}
    rows = [row for row in read_jsonl(workdir / "results.jsonl") if fields.items() <= row.items()]
    by_features = {row.get("features"): {key: row[key] for key in _OF_RESULTS if key in row} for row in rows}
    return {"during_training": evaluated.get(step, {}), "results": list(by_features.values())}
