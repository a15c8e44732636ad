"""What does the DCGAN recipe make of clothes? Fashion-MNIST at 32 × 32, 20 epochs.

Data: `apt-get install dataset-fashion-mnist`, or the four idx files in --config.data.dir; TensorFlow is not needed.
38 minutes on 2 cores, estimated from the step time; run to its end at width 32 only (results/fashion_mnist.md). Expect the
outlines of shirts, trousers and shoes after 500 steps.
Command: python experiments/train.py --config=experiments/configs/fashion_mnist.py --workdir=runs/fashion_mnist
"""

from ml_collections import ConfigDict

from gan_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "tfds:fashion_mnist"
    config.data.resize = False  # 28 × 28 in a black border: every pixel as it was photographed
    config.num_steps = 18_750  # of 64 images: 20 epochs of 60,000
    config.log_every = 100
    config.sample_every = 500
    config.checkpoint_every = 1000
    return config
