"""What does the DCGAN recipe make of images of your own, at 64 × 64?

All image files below the folder are cropped to their centred squares, resized, and kept decoded for the next start. Add
--config.data.flip=false where left and right differ. Three hours on 2 cores, estimated from the step time. Expect
better samples from a few thousand images of one kind than from fewer or mixed ones: D memorises a small dataset.
Command: python experiments/train.py --config=experiments/configs/image_folder.py --workdir=runs/mine
The folder is ./images, or the PATH of --config.data.name=folder:PATH.
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "folder:images"
    config.data.image_size = 64
    config.data.channels = 3
    config.data.flip = True
    config.num_steps = 20_000
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
