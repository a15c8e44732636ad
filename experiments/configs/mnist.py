"""Can a GAN draw digits after a few minutes on a laptop? What `make train` runs: the game of 2024 on the generator of 2016.

The loss is relativistic, on pairs of a real and a fake digit, with R1 and R2 at each step. The discriminator has no batch norm,
and the learning rate is five times that of `mnist_dcgan.py`, the recipe of 2016. γ, widths and learning rates were tuned with
seed 0. Four minutes on 2 cores; expect legible digits, both losses near 0.7 and a classifier Fréchet distance of 7 to 10.5
(real digits: 5.4).
Command: python experiments/train.py --config=experiments/configs/mnist.py --workdir=runs/mnist
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.objective = "relativistic"
    config.penalty.r1 = 0.3
    config.penalty.r2 = 0.3
    config.network.dcgan.base_width = 32
    config.network.disc.dcgan.base_width = 16
    config.network.disc.dcgan.norm = "none"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.b1 = 0.0
    config.optimizer.b2 = 0.99
    config.batch_size = 32
    config.num_steps = 12_000
    config.ema_decay = 0.999
    config.sample_every = 500
    config.eval_every = 1000
    return config
