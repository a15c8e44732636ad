"""What does R3GAN make of CIFAR-10? Its published, class-conditional setting (Huang et al. 2024, table 9): FID 1.96.

The loss is relativistic, with R1 + R2. Over the first 20 million images the learning rate, γ, β2, the half-life of the EMA and
the augmentation go to their final values. The augmentation is DiffAugment, where the paper has ADA's operations. The authors
took four days on eight L40 GPUs; not run here, as TFDS has to download CIFAR-10.
Command: python experiments/train.py --config=experiments/configs/cifar10_r3gan.py --workdir=runs/cifar10_r3gan
"""

from ml_collections import ConfigDict

from configs import stacked_mnist_r3gan


def get_config() -> ConfigDict:
    config = stacked_mnist_r3gan.get_config()
    config.data.name = "tfds:cifar10"
    config.data.flip = True
    config.num_classes = 10
    config.num_steps = 488_281  # of 512 images: 250 million
    config.schedule.images = 20_000_000
    config.optimizer.final_learning_rate = 5e-5
    config.penalty.r1 = config.penalty.r2 = 0.05
    config.penalty.final_r1 = config.penalty.final_r2 = 0.005
    config.final_ema_half_life = 5_000_000.0
    config.augment = "color,translation,cutout"
    config.augment_probability, config.final_augment_probability = 0.0, 0.55
    return config
