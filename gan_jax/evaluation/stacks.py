"""Stacked digits: the real ones as a source of images, and rows of results with what a perfect sampler has beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gan_jax.data import StackedDataset
from gan_jax.errors import InputError
from gan_jax.evaluation.features import Extractor, compute_statistics, make_stacked_classifier
from gan_jax.evaluation.images import ImageSource, hold_out
from gan_jax.evaluation.metrics import perfect_stacks, stack_statistics
from gan_jax.evaluation.results import over_seeds

_RIGHT = 0.99  # the share of digits below which a row warns


@dataclass(frozen=True)
class RealStacks:
    """Stacks of images uint8 `[N, H, W, 1]`; stack i has those of index[i], int `[num, 3]`, as its channels."""

    images: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        return np.moveaxis(self.images[self.index[part]][..., 0], 1, -1)


class StackJudge(NamedTuple):
    """What stacks are judged by: the classifier of their channels, and the digits that it has not learned from."""

    extractor: Extractor
    held_out: np.ndarray

    def real_stacks(self, num: int, seed: int) -> RealStacks:
        """Draw stacks of the digits that are held out: a perfect sampler's, to the classifier."""
        index = np.random.default_rng(seed).integers(0, len(self.held_out), (num, 3))
        return RealStacks(self.held_out, index)

    def compute(self, stacks: ImageSource, *, name: str = "") -> dict[str, float]:
        """Compute the statistics of stacks, by name; see `StackStatistics`."""
        return stack_statistics(
            compute_statistics(self.extractor, stacks, {"probabilities"}, name=name).probabilities
        )._asdict()


def make_judge(dataset: StackedDataset) -> StackJudge:
    """Make the judge of a dataset's stacks: its classifier learns from all digits where others are for the test."""
    images, labels = np.asarray(dataset.images), np.asarray(dataset.labels)
    held_out = images[hold_out(len(images))[1]] if dataset.test is None else dataset.test[0]
    return StackJudge(make_stacked_classifier(images, labels, test=dataset.test), held_out)


def evaluate_stacks(
    judge: StackJudge, dataset: StackedDataset, sources: Sequence[ImageSource], name: str, description: str
) -> dict[str, Any]:
    """Evaluate stacks of one kind, such as the samples of several seeds; a row of results. description: of the real digits.

    Raises:
        InputError: images of another shape than the dataset's.
    """
    for images in sources:
        if images[0:1].shape[1:] != dataset.sample_shape:
            shape, real = (" × ".join(map(str, each)) for each in (images[0:1].shape[1:], dataset.sample_shape))
            raise InputError(f"{name}: must be {real} like the real stacks, not {shape}")
    parts = [name if len(sources) == 1 else f"{name}, {index + 1} of {len(sources)}" for index in range(len(sources))]
    by_seed = [judge.compute(images, name=part) for images, part in zip(sources, parts, strict=True)]
    num, accuracy = len(sources[0]), judge.extractor.accuracy
    assert accuracy is not None
    perfect = over_seeds(perfect_stacks(dataset.labels, num))
    row = {"samples": name, "num": num, "real": description, "num_real": len(dataset.images), **judge.extractor.describe()}
    row |= {"num_held_out": len(judge.held_out)} | over_seeds(by_seed)
    row["perfect_sampler"] = {"draws": perfect["seeds"], "mean": perfect["mean"], "standard_error": perfect["standard_error"]}
    warning = f"the classifier is right on {accuracy:.1%} of digits: {1 - accuracy**3:.1%} of samples may count in a wrong mode"
    return row | {"warnings": [warning] if accuracy < _RIGHT else []}
