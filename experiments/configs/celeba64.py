"""What does the DCGAN recipe make of faces? CelebA's centre squares at 64 × 64, with the paper's batch of 128.

TFDS downloads and prepares the dataset at the first start, which needs TensorFlow; later starts do not.
Seven and a half hours on 2 cores, estimated from the step time; not run here yet. Expect faces, as in the paper's figures, with
smeared hair and backgrounds.
Command: python experiments/train.py --config=experiments/configs/celeba64.py --workdir=runs/celeba64
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "tfds:celeb_a"
    config.data.image_size = 64
    config.data.channels = 3
    config.data.flip = True
    config.batch_size = 128
    config.num_steps = 25_000  # of 128 images: 20 epochs of 162,770
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
