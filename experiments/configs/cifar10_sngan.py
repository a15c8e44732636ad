"""What do SNGAN's residual networks make of CIFAR-10? Hinge loss and spectral norm, five discriminator updates a step.

The published setting (Miyato et al. 2018, appendix B.2, with the 50,000 steps of their code) has FID 21.7 ± 0.2 from 5,000
samples; a reproduction with 100,000 steps has 16.8 from 50,000. Their generator updates have twice the batch size. Not run
here: TFDS has to download CIFAR-10, and training takes an accelerator hours, 2 CPU cores weeks.
Command: python experiments/train.py --config=experiments/configs/cifar10_sngan.py --workdir=runs/cifar10_sngan
"""

from ml_collections import ConfigDict

from configs import cifar10


def get_config() -> ConfigDict:
    config = cifar10.get_config()
    config.data.flip = False  # theirs are not mirrored
    config.objective = "hinge"
    config.disc_steps = 5
    config.latent_dim = 128
    config.network.name = "resnet"
    config.network.gen.resnet.width = 256
    config.network.disc.resnet.width = 128
    config.optimizer.b1, config.optimizer.b2 = 0.0, 0.9
    config.optimizer.learning_rate, config.optimizer.final_learning_rate = 2e-4, 0.0
    config.num_steps = 50_000
    config.schedule.shape, config.schedule.images = "linear", 50_000 * 5 * 64
    return config
