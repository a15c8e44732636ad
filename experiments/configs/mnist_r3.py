"""Do R3GAN's own networks learn on a laptop? The paper's configuration E, narrow, with the data and losses of `mnist.py`.

Both players are residual networks with grouped convolutions and no normalisation. This checks the architecture at a small size;
it does not aim at better pictures. 35 minutes on 2 busy cores, seed 0: strokes of digits, all ten classes, but a classifier
Fréchet distance of 556 (real digits: 5.4).
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
