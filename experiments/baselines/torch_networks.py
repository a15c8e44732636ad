"""The networks in PyTorch, our own code from the papers' tables: NCHW, in train mode, with PyTorch's own layers.

A generator maps `(latents [B, Z], labels [B] or None)` to images `[B, C, S, S]`, a discriminator `(images, labels)` to logits
`[B]`. Tests hold them to ours with ported weights (`torch_port`), and the benchmark races them. Spectral norm is
`torch.nn.utils.spectral_norm`, whose iteration begins at u, as in the paper; that of `parametrizations` begins at v. Layer norm
is group norm of one group.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import spectral_norm


def with_norm(layer: nn.Module, norm: str) -> nn.Module:
    output_axis = 1 if isinstance(layer, nn.Embedding) else 0
    return spectral_norm(layer, n_power_iterations=1, eps=1e-12, dim=output_axis) if norm == "spectral" else layer


class ConditionalBatchNorm(nn.Module):
    """γ[y] BN(x) + β[y]; without classes, plain batch norm."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.plain = nn.BatchNorm2d(channels, affine=not num_classes)
        if num_classes:
            self.scale = nn.Embedding(num_classes, channels)
            self.bias = nn.Embedding(num_classes, channels)
        self.num_classes = num_classes

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        x = self.plain(x)
        return x * self.scale(labels)[:, :, None, None] + self.bias(labels)[:, :, None, None] if self.num_classes else x


class ConditionalBias(nn.Module):
    """x + b[y]; without classes, x + b."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_classes, channels) if num_classes else torch.zeros(channels))
        self.num_classes = num_classes

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return x + (self.bias[labels] if self.num_classes else self.bias[None])[:, :, None, None]


class Projection(nn.Module):
    """The dot product of a vector of the class and the features summed over the image."""

    def __init__(self, num_classes: int, channels: int, norm: str):
        super().__init__()
        self.embedding = with_norm(nn.Embedding(num_classes, channels), norm)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (self.embedding(labels) * features.sum((2, 3))).sum(1)


class Stem(nn.Linear):
    """`[B, Z]` -> `[B, C, 4, 4]`."""

    def __init__(self, latent_dim: int, channels: int, bias: bool):
        super().__init__(latent_dim, 16 * channels, bias=bias)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return super().forward(latents).view(len(latents), -1, 4, 4)


def widths_of(size: int, base_width: int) -> list[int]:
    """Doubling, one for each side of size / 2, size / 4, ..., 4."""
    widths: list[int] = []
    while size > 4:
        widths.append(base_width * 2 ** len(widths))
        size //= 2
    return widths


class DCGANGenerator(nn.Module):
    def __init__(self, size: int, channels: int, base_width: int, latent_dim: int, norm: str, num_classes: int):
        super().__init__()
        widths = widths_of(size, base_width)[::-1]
        follow = ConditionalBatchNorm if norm == "batch" else ConditionalBias
        self.project = Stem(latent_dim, widths[0], bias=False)
        self.norms = nn.ModuleList(follow(width, num_classes) for width in widths)
        outputs = [*widths[1:], channels]
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 4, stride=2, padding=1, bias=False) for i, o in zip(widths, outputs, strict=True)
        )

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        x = self.project(latents)
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(norm(x, labels).relu())
        return x.tanh()


class DCGANDiscriminator(nn.Module):
    def __init__(self, size: int, channels: int, base_width: int, norm: str, num_classes: int):
        super().__init__()
        widths = widths_of(size, base_width)
        biased = norm in ("none", "spectral")
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
            layers.append(with_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=biased), norm))
            if index and norm == "batch":
                layers.append(nn.BatchNorm2d(outputs))
            if index and norm == "layer":
                layers.append(nn.GroupNorm(1, outputs))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.features = nn.Sequential(*layers)
        self.last = with_norm(nn.Conv2d(widths[-1], 1, 4, bias=False), norm)
        self.projection = Projection(num_classes, widths[-1], norm) if num_classes else None

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        features = self.features(images)
        logits = self.last(features).flatten()
        return logits if self.projection is None else logits + self.projection(features, labels)


class StandardGenerator(nn.Module):
    """SNGAN's table 3a."""

    def __init__(self, size: int, channels: int, base_width: int, latent_dim: int, num_classes: int):
        super().__init__()
        widths = widths_of(2 * size, base_width)[::-1]
        self.project = Stem(latent_dim, widths[0], bias=False)
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, num_classes) for width in widths)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 4, stride=2, padding=1, bias=False) for i, o in itertools.pairwise(widths)
        )
        self.last = nn.Conv2d(base_width, channels, 3, padding=1)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        x = self.norms[0](self.project(latents), labels).relu()
        for up, norm in zip(self.ups, self.norms[1:], strict=True):
            x = norm(up(x), labels).relu()
        return self.last(x).tanh()


class StandardDiscriminator(nn.Module):
    """SNGAN's table 3b."""

    def __init__(self, size: int, channels: int, base_width: int, norm: str, num_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for width in widths_of(size, base_width):
            for kernel, stride, before in ((3, 1, inputs), (4, 2, width)):
                layers.append(with_norm(nn.Conv2d(before, width, kernel, stride, padding=1), norm))
                layers.append(nn.LeakyReLU(0.1, inplace=True))
            inputs = width
        layers += [with_norm(nn.Conv2d(inputs, 2 * inputs, 3, padding=1), norm), nn.LeakyReLU(0.1, inplace=True)]
        self.features = nn.Sequential(*layers)
        self.last = with_norm(nn.Linear(2 * inputs * 4 * 4, 1), norm)
        self.projection = Projection(num_classes, 2 * inputs, norm) if num_classes else None

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        features = self.features(images)
        logits = self.last(features.permute(0, 2, 3, 1).flatten(1)).flatten()  # in the order of a channels-last network
        return logits if self.projection is None else logits + self.projection(features, labels)


class ResidualGenBlock(nn.Module):
    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, num_classes) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        def doubled(x: torch.Tensor) -> torch.Tensor:
            return functional.interpolate(x, scale_factor=2, mode="nearest")

        hidden = self.convs[0](doubled(self.norms[0](x, labels).relu()))
        hidden = self.convs[1](self.norms[1](hidden, labels).relu())
        return hidden + self.shortcut(doubled(x))


class ResidualGenerator(nn.Module):
    """SNGAN's table 4a."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int, num_classes: int):
        super().__init__()
        self.project = Stem(latent_dim, width, bias=True)
        self.blocks = nn.ModuleList(ResidualGenBlock(width, num_classes) for _ in widths_of(size, 1))
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        x = self.project(latents)
        for block in self.blocks:
            x = block(x, labels)
        return self.last(self.norm(x).relu()).tanh()


class ResidualDiscBlock(nn.Module):
    def __init__(self, inputs: int, width: int, norm: str, *, down: bool, first: bool):
        super().__init__()
        self.convs = nn.ModuleList(with_norm(nn.Conv2d(i, width, 3, padding=1), norm) for i in (inputs, width))
        self.norms = nn.ModuleList(nn.GroupNorm(1, i) for i in (inputs, width)) if norm == "layer" and not first else None
        self.shortcut = with_norm(nn.Conv2d(inputs, width, 1), norm) if down else None
        self.first = first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = x
        for index, conv in enumerate(self.convs):
            if self.norms is not None:
                hidden = self.norms[index](hidden)
            hidden = conv(hidden if self.first and index == 0 else hidden.relu())
        if self.shortcut is None:
            return hidden + x
        return functional.avg_pool2d(hidden, 2) + functional.avg_pool2d(self.shortcut(x), 2)


class ResidualDiscriminator(nn.Module):
    """SNGAN's table 4b."""

    def __init__(self, size: int, channels: int, width: int, norm: str, num_classes: int):
        super().__init__()
        downs = [True] * max(1, len(widths_of(size, 1)) - 1) + [False, False]
        self.blocks = nn.Sequential(
            *(
                ResidualDiscBlock(width if index else channels, width, norm, down=down, first=index == 0)
                for index, down in enumerate(downs)
            )
        )
        self.last = with_norm(nn.Linear(width, 1, bias=False), norm)
        self.projection = Projection(num_classes, width, norm) if num_classes else None

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        features = self.blocks(images).relu()
        logits = self.last(features.sum((2, 3))).flatten()
        return logits if self.projection is None else logits + self.projection(features, labels)
