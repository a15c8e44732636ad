"""How many of twenty-five Gaussians on a grid does a small GAN find? Harder than the ring: it wants width, depth, an average.

Command: python experiments/train.py --config=experiments/configs/grid.py --workdir=runs/grid
"""

from ml_collections import ConfigDict

from configs import ring


def get_config() -> ConfigDict:
    config = ring.get_config()
    config.data.name = "grid"
    config.network.mlp.hidden = (256, 256, 256)
    config.num_steps = 20_000
    return config
