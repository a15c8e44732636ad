"""Are samples copies? Their nearest training images, beside what real images that were not trained on have."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax.evaluation.images import hold_out
from gan_jax.evaluation.metrics import nearest_neighbours


class Neighbours(NamedTuple):
    """The samples nearest to a training image, the nearest first, and those images: uint8 `[N, H, W, C]` both.

    distances: least and median, of the samples and of real images, as root mean squares over pixels in grey levels.
    """

    samples: np.ndarray
    images: np.ndarray
    distances: dict[str, float]


def find_neighbours(samples: np.ndarray, images: Any, *, held_out: Any = None, pairs: int = 32) -> Neighbours:
    """Find the training image nearest to each sample, uint8 `[N, H, W, C]` both; return the closest pairs.

    held_out: real images not trained on, whose distances stand beside; by default those of the images that `hold_out` names
    are compared with the others. Samples with a median far below theirs are copies.
    """
    if held_out is None:
        learned, left_out = hold_out(len(images))
        compared, held_out = images[np.sort(learned)], images[left_out]
    else:
        compared = images
    flat = [part.reshape(len(part), -1) for part in (samples, images, compared, held_out)]
    nearest, real = nearest_neighbours(flat[0], flat[1]), nearest_neighbours(flat[3], flat[2])
    closest = nearest.distances.argsort()[:pairs]
    numbers = {"least": nearest.distances.min(), "median": np.median(nearest.distances)}
    numbers |= {"real_least": real.distances.min(), "real_median": np.median(real.distances)}
    in_grey_levels = {key: float(number / flat[0].shape[1] ** 0.5) for key, number in numbers.items()}
    return Neighbours(samples[closest], np.asarray(images[nearest.indices[closest]]), in_grey_levels)
