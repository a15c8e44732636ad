"""Images that a small classifier learns in milliseconds."""

import numpy as np

from gan_jax.evaluation.features import classifier

RECIPE = classifier.RECIPE | {"steps": 60, "width": 4, "dimensions": 8}
BY_LABEL = {"accuracy", "classifier_class_frechet", "class_coverage"}  # metrics of conditional runs alone


def striped(num, size=8, seed=0):
    """Two classes, labelled 3 and 7: horizontal and vertical stripes, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num)
    stripes = np.where(np.arange(size) % 4 < 2, 200, 40)
    images = np.where(labels[:, None, None] == 1, stripes[:, None], stripes) + rng.integers(0, 40, (num, size, size))
    return images[..., None].astype(np.uint8), np.array([3, 7])[labels]
