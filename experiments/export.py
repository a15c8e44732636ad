"""Export the generator of a run, for use without this package: on a CPU, an NVIDIA GPU or a TPU, with JAX alone.

Command: python experiments/export.py --workdir=runs/mnist --out=exported
It writes these files to the folder, in seconds:
generator.jax: a program by `jax.export` that maps weights, latents [B, Z] and, for a conditional run, labels [B] to images
    uint8 [B, H, W, C], or to points, for any B.
generator.safetensors: the weights, with running statistics, by name.
card.json: config, step, metrics, sha256 of both files, versions, and the lines of Python that sample.
In batches of 64 on the same machine the samples are those of sample.py to the bit.
"""

from absl import flags

from gan_jax.errors import InputError
from gan_jax.run import cli
from gan_jax.run.export import export_run

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_OUT = flags.DEFINE_string("out", None, "Folder for the exported files.")
_WHICH = flags.DEFINE_enum("which", "final", ["final", "best"], "The newest checkpoint, or the best by the selection metric.")
_RAW = flags.DEFINE_boolean("raw", False, "Use raw weights, although the run keeps an EMA of them.")


def main() -> None:
    if not _WORKDIR.value:
        raise InputError("--workdir must be the folder of a run, such as --workdir=runs/mnist")
    if not _OUT.value:
        raise InputError("--out must be a folder for the files, such as --out=exported")
    card = export_run(_WORKDIR.value, _OUT.value, which=_WHICH.value, raw=_RAW.value)
    files = ", ".join((*card["sha256"], "card.json"))
    print(f"step {card['step']} ({card['which']}), {card['weights']} weights, for {', '.join(card['platforms'])}: {files}")


if __name__ == "__main__":
    cli.run(main)
