"""Do R3GAN's own networks learn on a laptop? Configuration E, narrow, on the digits of `mnist.py` and in its game.

Residual, grouped and without normalisation in both players: a check of the family at small size rather than a better picture.
Not run to its end yet; XLA takes about a minute to compile its step for a CPU.
Command: python experiments/train.py --config=experiments/configs/mnist_r3.py --workdir=runs/mnist_r3
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.network.name = "r3gan"
    config.network.r3gan.widths = (16, 32, 64, 64)
    config.network.r3gan.blocks = 1
    config.latent_dim = 64
    config.optimizer.learning_rate = 2e-4
    config.num_steps = 3_000
    return config
