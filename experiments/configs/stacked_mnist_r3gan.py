"""Does R3GAN find all 1,000 modes of Stacked MNIST? Its published setting (Huang et al. 2024, table 9): 1000 modes, KL 0.029.

Each image stacks three digits as channels; the loss is relativistic, with R1 + R2. Over the first two million images γ, β2 and
the half-life of the EMA go to their final values. The authors took seven hours on eight L40 GPUs; not run here at this width.
For one accelerator: --config.network.r3gan.widths=96 (or 192) --config.num_steps=4883, which are 2.5 million images in one go;
a larger num_steps resumes them. Not run either; expect 1000 modes and a KL of 0.03 to 0.08, as in the paper's tables.
Command: python experiments/train.py --config=experiments/configs/stacked_mnist_r3gan.py --workdir=runs/stacked_mnist_r3gan
Run `make mnist` first; without it, --config.data.name=stacked:mnist5k stacks the embedded digits.
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "stacked:mnist"
    config.data.channels = 3
    config.objective = "relativistic"
    config.penalty.r1 = config.penalty.r2 = 1.0
    config.penalty.final_r1 = config.penalty.final_r2 = 0.1
    config.network.name = "r3gan"
    config.network.dtype = "bfloat16"
    config.network.r3gan.widths = (768,)
    config.latent_dim = 64
    config.batch_size = 512
    config.num_steps = 19_531  # of 512 images: ten million
    config.schedule.images = 2_000_000
    config.optimizer.b1 = 0.0
    config.optimizer.b2, config.optimizer.final_b2 = 0.9, 0.99
    config.ema_half_life, config.final_ema_half_life = 0.0, 500_000.0
    config.ema_ramp_up = 0.0
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
