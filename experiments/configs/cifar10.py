"""What does the DCGAN recipe make of small photographs? CIFAR-10 at 32 × 32 in colour, 50 epochs.

TFDS downloads and prepares the dataset at the first start, which needs TensorFlow; later starts do not.
73 minutes on 2 cores, estimated from the step time; not run yet. Expect scenes without sharp objects: published FIDs of such
networks are 25 to 50 at their best checkpoint, and far worse where training goes on too long.
Command: python experiments/train.py --config=experiments/configs/cifar10.py --workdir=runs/cifar10
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "tfds:cifar10"
    config.data.channels = 3
    config.data.flip = True
    config.num_steps = 39_000  # of 64 images: 50 epochs of 50,000
    config.log_every = 100
    config.sample_every = 1000
    config.checkpoint_every = 1000
    return config
