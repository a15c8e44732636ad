"""R3GAN once more, in PyTorch and from the paper's table: functions of NCHW tensors and of the parameters that Flax names."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

Params = dict[str, Any]


def generate(params: Params, latents: Tensor, classes: Tensor | None, *, stages: int, blocks: int, group_size: int) -> Tensor:
    """Latents `[B, Z]`, one-hot labels `[B, K]` or None -> images `[B, C, S, S]`."""
    if classes is not None:
        latents = torch.cat([latents, classes @ params["embedding"]["kernel"]], 1)
    basis = params["basis"].permute(2, 0, 1)
    x = basis * (latents @ params["Dense_0"]["kernel"])[:, :, None, None]
    taken = Taken(params)
    for stage in range(stages):
        if stage:
            if taken.peek_inputs("Block", blocks * stage) != x.shape[1]:
                x = conv2d(x, oihw(taken.next("Conv")))
            x = resample_up(x)
        for _ in range(blocks):
            x = residual(taken.next("Block"), x, group_size)
    return conv2d(x, oihw(taken.next("Conv")))


def discriminate(
    params: Params, images: Tensor, classes: Tensor | None, *, stages: int, blocks: int, group_size: int
) -> Tensor:
    """Images `[B, C, S, S]`, one-hot labels `[B, K]` or None -> logits `[B]`."""
    taken = Taken(params)
    x = conv2d(images, oihw(taken.next("Conv")))
    for stage in range(stages):
        if stage:
            x = resample_down(x)
            if taken.peek_inputs("Block", blocks * stage) != x.shape[1]:
                x = conv2d(x, oihw(taken.next("Conv")))
        for _ in range(blocks):
            x = residual(taken.next("Block"), x, group_size)
    depthwise = params["head"].permute(2, 0, 1)[:, None]
    features = conv2d(x, depthwise, groups=x.shape[1]).flatten(1) @ params["Dense_0"]["kernel"]
    if classes is None:
        return features[:, 0]
    return (features * (classes @ params["embedding"]["kernel"])).sum(1)


class Taken:
    """Hand out the layers of each kind in the order in which they were made."""

    def __init__(self, params: Params):
        self.params, self.counts = params, dict[str, int]()

    def next(self, kind: str) -> Params:
        index = self.counts.get(kind, 0)
        self.counts[kind] = index + 1
        return self.params[f"{kind}_{index}"]

    def peek_inputs(self, kind: str, index: int) -> int:
        return self.params[f"{kind}_{index}"]["Conv_0"]["kernel"].shape[2]


def oihw(layer: Params) -> Tensor:
    return layer["kernel"].permute(3, 2, 0, 1)


def residual(params: Params, x: Tensor, group_size: int) -> Tensor:
    def activated(y: Tensor, name: str) -> Tensor:
        return leaky_relu(y + params[name]["Bias_0"]["bias"][:, None, None], 0.2)

    y = activated(conv2d(x, oihw(params["Conv_0"])), "Activation_0")
    y = activated(conv2d(y, oihw(params["Conv_1"]), padding=1, groups=y.shape[1] // group_size), "Activation_1")
    return x + conv2d(y, oihw(params["Conv_2"]))


def filters(x: Tensor) -> Tensor:
    """The filter [1, 3, 3, 1] / 8 in both directions, for each channel `[C, 1, 4, 4]`."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    return torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)


def resample_up(x: Tensor) -> Tensor:
    return conv_transpose2d(x, 4 * filters(x), stride=2, padding=1, groups=x.shape[1])


def resample_down(x: Tensor) -> Tensor:
    return conv2d(x, filters(x), stride=2, padding=1, groups=x.shape[1])
