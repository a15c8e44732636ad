"""Does a small GAN draw emoji? The 3,916 emoji of the font Noto Color Emoji, at 64 × 64.

The losses are those of `crossfire.py`, the batch size and widths those of `mnist.py`; images have four times the pixels. They
are not mirrored, because many have letters, flags or hands. 39 minutes on one core beside another process; expect people and
faces that pass for emoji at a glance, flags, and many blots: FID 115, precision 0.04; the kernel distance of pixels is 0.020.
Data: `apt-get install fonts-noto-color-emoji` (OFL 1.1), or that package's file NotoColorEmoji.ttf in --config.data.dir.
Command: python experiments/train.py --config=experiments/configs/emoji.py --workdir=runs/emoji
"""

from ml_collections import ConfigDict

from configs import crossfire


def get_config() -> ConfigDict:
    config = crossfire.get_config()
    config.data.name = "emoji"
    config.data.image_size = 64
    config.network.disc.dcgan.base_width = 16
    config.batch_size = 32
    config.num_steps = 10_000
    return config
