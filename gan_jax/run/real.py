"""Real examples beside a run's samples: as many, and of a conditional run of the same labels, place by place."""

import jax.numpy as jnp
import numpy as np

from gan_jax.data import Dataset, to_uint8

_MAX_BATCHES = 64  # that are searched for a label


def real_examples(dataset: Dataset, seed: int, num: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Return the first num examples of the run with this seed, or the first of each of num labels, int `[num]`.

    Images are uint8 `[num, H, W, C]`, white where the first batches have none of that label; points are float32 `[num, D]`.
    """
    wanted = np.zeros(num, np.int32) if labels is None else labels
    places = {int(label): list(np.flatnonzero(wanted == label)) for label in np.unique(wanted)}
    examples = np.ones((num, *dataset.sample_shape), np.float32)
    for step in range(max(num, _MAX_BATCHES)):
        batch = dataset.batches(seed, step)
        drawn = np.asarray(batch.images[0])
        of_drawn = np.zeros(len(drawn), np.int32) if labels is None else np.asarray(batch.labels)[0]
        for example, label in zip(drawn, of_drawn, strict=True):
            if left := places.get(int(label)):
                examples[left.pop(0)] = example
        if not any(places.values()):
            break
    return np.asarray(to_uint8(jnp.asarray(examples))) if len(dataset.sample_shape) == 3 else examples
