"""Does a small GAN draw emoji? The 3,916 emoji of the font Noto Color Emoji, at 64 × 64.

The losses are those of `crossfire.py`, the batch size and widths those of `mnist.py`; images have four times the pixels. They
are not mirrored, because many have letters, flags or hands. Not run to its end yet: 18 minutes on 2 cores, estimated from 20
steps on a busy machine. Data: `apt-get install fonts-noto-color-emoji` (OFL 1.1), or that package's file
NotoColorEmoji.ttf in --config.data.dir.
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
