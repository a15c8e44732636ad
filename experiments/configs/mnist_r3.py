"""Do R3GAN's own networks learn on a laptop? Configuration E at width 32, on the digits of `mnist.py` and in its game.

Residual, grouped and without normalisation in both players: a check of the family at small size rather than a better picture.
Command: python experiments/train.py --config=experiments/configs/mnist_r3.py --workdir=runs/mnist_r3
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.network.name = "r3gan"
    config.network.r3gan.widths = (32,)
    config.latent_dim = 64
    config.optimizer.learning_rate = 2e-4
    return config
