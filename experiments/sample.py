"""Draw pictures from a trained generator.

Command: python experiments/sample.py --workdir=runs/mnist --num=64 --seed=1 --out=grid.png
--interpolate: each row walks from one latent to another along the sphere. --npz=FILE: the samples as an array.
The same seed draws the same pictures, however many are asked for.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from gan_jax.errors import InputError
from gan_jax.run import cli
from gan_jax.run.loop import restore_run, save_samples
from gan_jax.sampling import generate, slerp
from gan_jax.state import generator_variables
from gan_jax.steps import draw_latents

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run.")
_NUM = flags.DEFINE_integer("num", 64, "Number of samples.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**32 - 1)
_OUT = flags.DEFINE_string("out", None, "PNG file; default: WORKDIR/grid.png.")
_NPZ = flags.DEFINE_string("npz", None, "File for the samples: array `samples`, uint8 [N, H, W, C], or float32 [N, D].")
_INTERPOLATE = flags.DEFINE_boolean("interpolate", False, "Rows of eight steps between latents.")
_RAW = flags.DEFINE_boolean("raw", False, "The generator as it is, where the run keeps an average of it too.")

_COLUMNS = 8


def main() -> None:
    if not _WORKDIR.value:
        raise InputError("--workdir: give the folder of a run, such as --workdir=runs/mnist")
    out = Path(_OUT.value or Path(_WORKDIR.value) / "grid.png")
    npz = Path(_NPZ.value).with_suffix(".npz") if _NPZ.value else None
    if out.suffix != ".png":
        raise InputError(f"--out={out}: give a file that ends in .png")
    config, gan, state = restore_run(_WORKDIR.value)
    ema = state.ema is not None and not _RAW.value
    rng = jax.random.key(_SEED.value)
    if _INTERPOLATE.value:
        rows = -(-_NUM.value // _COLUMNS)
        ends = draw_latents(rng, 2 * rows, gan.latent_dim)
        walks = jax.vmap(slerp, (0, 0, None))(ends[0::2], ends[1::2], jnp.linspace(0.0, 1.0, _COLUMNS))
        latents = walks.reshape(-1, gan.latent_dim)[: _NUM.value]
    else:
        latents = draw_latents(rng, _NUM.value, gan.latent_dim)
    samples = generate(gan, generator_variables(state, ema=ema), latents)
    save_samples(gan, state, config, samples, out, columns=_COLUMNS if _INTERPOLATE.value else None)
    if npz:
        npz.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(npz, samples=samples)
    weights = "EMA weights" if ema else "raw weights"
    files = ", ".join(str(path) for path in (out, npz) if path)
    print(f"{_NUM.value} samples of step {int(state.step)}, {weights}, seed {_SEED.value}: {files}")


if __name__ == "__main__":
    cli.run(main)
