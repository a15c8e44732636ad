"""How many of the eight Gaussians on a ring does a small GAN find? The usual toy problem for mode collapse.

An MLP GAN with the non-saturating loss. 0.2 minutes on 2 cores; expect all 8 modes, with stray samples between neighbours, and
V near -1.3.
Command: python experiments/train.py --config=experiments/configs/ring.py --workdir=runs/ring
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "ring"
    config.network.name = "mlp"
    config.latent_dim = 2
    config.batch_size = 256
    config.num_steps = 10_000
    config.ema_decay = 0.999
    config.num_samples = 1000
    config.sample_every = 500
    config.checkpoint_every = 5000
    return config
