"""Can a DCGAN draw digits after a few minutes on a laptop? The recipe of 2016; `mnist.py` has today's.

It has half the default's width and batch size, to save time, and averages the generator, for clean strokes. Two minutes on 2
cores; expect digits, some of them broken, and V between -1 and 0: D stays ahead.
Command: python experiments/train.py --config=experiments/configs/mnist_dcgan.py --workdir=runs/mnist_dcgan
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.num_steps = 5_000
    config.batch_size = 32
    config.ema_decay = 0.995
    config.eval_every = 500
    config.network.dcgan.base_width = 32
    return config
