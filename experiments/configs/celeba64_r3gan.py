"""What does R3GAN make of faces at 64 × 64? CelebA with the paper's setting for FFHQ-64 (Huang et al. 2024, table 9).

The paper has an FID of 1.95 on FFHQ-64, another dataset of faces; the augmentation is DiffAugment, as in `cifar10_r3gan.py`.
Not run here: TFDS has to download CelebA, and 100 million images take days on several accelerators. For a laptop, add
--config.network.r3gan.widths=32, --config.batch_size=64 and --config.network.dtype=float32.
Command: python experiments/train.py --config=experiments/configs/celeba64_r3gan.py --workdir=runs/celeba64_r3gan
"""

from ml_collections import ConfigDict

from configs import cifar10_r3gan


def get_config() -> ConfigDict:
    config = cifar10_r3gan.get_config()
    config.data.name = "tfds:celeb_a"
    config.data.image_size = 64
    config.num_classes = 0
    config.batch_size = 256
    config.num_steps = 390_625  # of 256 images: 100 million
    config.network.r3gan.widths = (384, 768, 768, 768, 768)
    config.penalty.r1 = config.penalty.r2 = 2.0
    config.penalty.final_r1 = config.penalty.final_r2 = 0.2
    config.final_ema_half_life = 500_000.0
    config.final_augment_probability = 0.3
    return config
