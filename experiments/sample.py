"""Sample from a trained generator, and save the samples as a picture.

Command: python experiments/sample.py --workdir=runs/mnist --num=64 --seed=1 --out=grid.png
--interpolate: latent interpolation, a row for each pair of latents, along the sphere. --npz=FILE: the samples as an array.
Sample i depends on the seed and i alone, however many are asked for. A conditional generator's images have a class in each row,
by default every class, or those of --labels=0,1,2, and the same latent down each column, in as many whole columns as --num
allows: there the picture in column i depends on the seed, i and its class alone.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from gan_jax.errors import InputError, shorten
from gan_jax.memory import check_fits
from gan_jax.run import cli
from gan_jax.run.plots import save_samples
from gan_jax.run.restore import restore_run
from gan_jax.run.sizes import sample_bytes
from gan_jax.sampling import generate, sample_grid, slerp
from gan_jax.state import generator_variables
from gan_jax.steps import example_keys, sample_latents

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run.")
_NUM = flags.DEFINE_integer("num", 64, "Number of samples.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**32 - 1)
_OUT = flags.DEFINE_string("out", None, "PNG file; default: WORKDIR/grid.png.")
_NPZ = flags.DEFINE_string(
    "npz", None, "File for the samples: array `samples`, uint8 [N, H, W, C], or float32 [N, D], and their `labels`."
)
_LABELS = flags.DEFINE_list("labels", [], "Classes, one for each row of images, in turn for points; default: all.")
_INTERPOLATE = flags.DEFINE_boolean("interpolate", False, "Rows of eight steps between two latents.")
_RAW = flags.DEFINE_boolean("raw", False, "The generator's own weights, where the run keeps an average of them too.")

_COLUMNS = 8


def parse_labels() -> np.ndarray | None:
    """Return the labels that the flag asks for, or None."""
    if not _LABELS.value:
        return None
    if not all(label.isdecimal() and len(label) < 10 for label in _LABELS.value):
        raise InputError(f"--labels={shorten(','.join(_LABELS.value))} must be integers ≥ 0, such as 0,1,2")
    return np.array([int(label) for label in _LABELS.value])


def interpolations(rng: jax.Array, num: int, latent_dim: int) -> jax.Array:
    """Return latents `[num, Z]`: rows of eight from one to another."""
    rows = -(-num // _COLUMNS)
    ends = sample_latents(example_keys(rng, "latents", 2 * rows), latent_dim)
    paths = jax.vmap(slerp, (0, 0, None))(ends[0::2], ends[1::2], jnp.linspace(0.0, 1.0, _COLUMNS))
    return paths.reshape(-1, latent_dim)[:num]


def main() -> None:
    if not _WORKDIR.value:
        raise InputError("--workdir must be the folder of a run, such as --workdir=runs/mnist")
    out = Path(_OUT.value or Path(_WORKDIR.value) / "grid.png")
    if _NPZ.value and not Path(_NPZ.value).name:
        raise InputError(f"--npz={_NPZ.value} must be a file, such as --npz=samples.npz")
    npz = Path(_NPZ.value).with_suffix(".npz") if _NPZ.value else None
    if out.suffix != ".png":
        raise InputError(f"--out={out} must end in .png")
    num, rng = _NUM.value, jax.random.key(_SEED.value)
    classes = parse_labels()
    config, gan, state = restore_run(_WORKDIR.value)
    check_fits(sample_bytes(gan, num), f"--num={num}")
    ema = state.ema is not None and not _RAW.value
    columns: int | None = _COLUMNS
    if _INTERPOLATE.value:
        classes = np.arange(gan.num_classes) if classes is None and gan.num_classes else classes
        labels = None if classes is None else classes[np.arange(num) // _COLUMNS % len(classes)]  # a class for each row
        latents = interpolations(rng, num, gan.latent_dim)
        samples = generate(gan, generator_variables(state, ema=ema), latents, labels)
    else:
        samples, labels, columns = sample_grid(gan, state, rng, num, labels=classes, ema=ema)
    save_samples(gan, state, samples, out, dataset_name=config.data.name, labels=labels, columns=columns)
    if npz:
        npz.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"samples": samples} | ({} if labels is None else {"labels": labels})
        np.savez_compressed(npz, **arrays)
    weights = "EMA weights" if ema else "raw weights"
    files = ", ".join(str(path) for path in (out, npz) if path)
    print(f"{len(samples)} samples of step {int(state.step)}, {weights}, seed {_SEED.value}: {files}")


if __name__ == "__main__":
    cli.run(main)
