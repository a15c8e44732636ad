"""R3GAN's networks in PyTorch, by the conventions of `torch_networks`."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

SLOPE = 0.2


class Resample(nn.Module):
    """The filter [1, 3, 3, 1] in both directions, on each channel: to twice the size, or to half."""

    def __init__(self, channels: int, *, up: bool):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        kernel = torch.outer(taps, taps) * (4 if up else 1)
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1))
        self.apply_filter = functional.conv_transpose2d if up else functional.conv2d
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.apply_filter(x, self.kernel.to(x.dtype), stride=2, padding=1, groups=self.channels)


class BottleneckBlock(nn.Module):
    """R3GAN's inverted bottleneck, with a grouped convolution inside."""

    def __init__(self, width: int, group_size: int):
        super().__init__()
        inner = 2 * width
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(width, inner, 1),
                nn.Conv2d(inner, inner, 3, padding=1, groups=inner // group_size),
                nn.Conv2d(inner, width, 1, bias=False),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.leaky_relu(self.convs[0](x), SLOPE, inplace=True)
        y = functional.leaky_relu(self.convs[1](y), SLOPE, inplace=True)
        return x + self.convs[2](y)


def bottleneck_stages(widths: Sequence[int], blocks: int, group_size: int, *, up: bool) -> list[nn.Module]:
    """The layers of R3GAN's resolutions in turn, from widths[0] channels to widths[-1]."""
    layers: list[nn.Module] = []
    for before, width in zip([widths[0], *widths[:-1]], widths, strict=True):
        change = [nn.Conv2d(before, width, 1, bias=False)] if before != width else []
        if layers:
            layers += [*change, Resample(width, up=True)] if up else [Resample(before, up=False), *change]
        layers += [BottleneckBlock(width, group_size) for _ in range(blocks)]
    return layers


class BottleneckGenerator(nn.Module):
    """R3GAN's generator; widths: from 4 × 4 to the image's size."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int, group_size: int, latent_dim: int, num_classes: int):
        super().__init__()
        self.embedding = nn.Linear(num_classes, 64, bias=False) if num_classes else None
        self.basis = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.project = nn.Linear(latent_dim + (64 if num_classes else 0), widths[0], bias=False)
        self.stages = nn.Sequential(*bottleneck_stages(widths, blocks, group_size, up=True))
        self.last = nn.Conv2d(widths[-1], channels, 1, bias=False)
        self.num_classes = num_classes

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        if self.embedding is not None:
            classes = functional.one_hot(labels, self.num_classes).to(latents.dtype)
            latents = torch.cat([latents, self.embedding(classes)], 1)
        return self.last(self.stages(self.basis * self.project(latents)[:, :, None, None]))


class BottleneckDiscriminator(nn.Module):
    """R3GAN's discriminator; widths: from the image's size to 4 × 4."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int, group_size: int, num_classes: int):
        super().__init__()
        self.first = nn.Conv2d(channels, widths[0], 1, bias=False)
        self.stages = nn.Sequential(*bottleneck_stages(widths, blocks, group_size, up=False))
        self.head = nn.Parameter(torch.randn(widths[-1], 4, 4) / 4)
        self.last = nn.Linear(widths[-1], widths[-1] if num_classes else 1, bias=False)
        self.embedding = nn.Linear(num_classes, widths[-1], bias=False) if num_classes else None
        self.num_classes = num_classes

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        features = self.last((self.stages(self.first(images)) * self.head).sum((2, 3)))
        if self.embedding is None:
            return features[:, 0]
        return (features * self.embedding(functional.one_hot(labels, self.num_classes).to(features.dtype))).sum(1)
