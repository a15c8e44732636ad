"""Does a small GAN draw pixel art? The 5,072 tiles, creatures and objects of the video game Crossfire, 32 × 32 in colour.

The losses, γ and widths are those of `stacked_mnist.py`, with DiffAugment, as there are few images. Tiles are put on white,
which shows their black outlines. 44 minutes on one core beside another process; expect walls, water, tools and plants that
pass for tiles, creatures that do not, and FID 57 (5,000 samples against all images).
Data: `apt-get install crossfire-client-images` (GPL), or that package's file crossfire.base in --config.data.dir.
Command: python experiments/train.py --config=experiments/configs/crossfire.py --workdir=runs/crossfire
"""

from ml_collections import ConfigDict

from configs import mnist


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.data.name = "crossfire"
    config.data.channels = 3
    config.data.background = "white"
    config.augment = "translation,cutout"
    config.penalty.r1 = 1.0
    config.penalty.r2 = 1.0
    config.network.disc.dcgan.base_width = 32
    config.batch_size = 64
    config.num_steps = 15_000
    return config
