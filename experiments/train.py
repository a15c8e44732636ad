"""Train a GAN, or go on with one: the same command resumes from the newest checkpoint.

Command: python experiments/train.py --config=experiments/configs/mnist.py --workdir=runs/mnist --config.num_steps=2000
Leaves in the workdir: samples/, curves.png, training.gif, metrics.jsonl, tensorboard/, checkpoints/, config.json, history.jsonl
"""

from absl import flags

from gan_jax import cli
from gan_jax.errors import InputError
from gan_jax.train import train

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: its checkpoints, logs and pictures.")


def main() -> None:
    if not _WORKDIR.value:
        raise InputError("--workdir: give a folder for the run, such as --workdir=runs/mnist")
    train(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
