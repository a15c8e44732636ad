"""The peer: the same DCGAN, batch, schedule, optimiser and precision in PyTorch, our own text, as fast as PyTorch makes it.

What `gan_jax` does in `steps.py` with `networks/dcgan.py`, layer by layer: two passes of D in its update, fresh latents for G,
Adam on both, no gradient that nobody uses. Run by `experiments/benchmark.py --peer=torch`; needs the extra `bench`.
"""

import torch
from torch import nn

MODES = ("eager", "channels_last", "compile", "compile channels_last")


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Latents `[B, Z]` -> images `[B, C, S, S]` in [-1, 1]."""

    def __init__(self, image_size: int, channels: int, base_width: int, latent_dim: int):
        super().__init__()
        blocks = image_size.bit_length() - 3
        widths = [base_width * 2**block for block in reversed(range(blocks))]
        self.stem = nn.Linear(latent_dim, 4 * 4 * widths[0], bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for inputs, outputs in zip(widths, [*widths[1:], channels], strict=True):
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False))
            if outputs != channels or len(layers) < 3 * blocks - 1:
                layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Tanh())
        self.apply(_init)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.stem(latents)
        images: torch.Tensor = self.body(projected.view(len(latents), -1, 4, 4))
        return images.float()


class Discriminator(nn.Module):
    """Images `[B, C, S, S]` -> logits `[B]`."""

    def __init__(self, image_size: int, channels: int, base_width: int):
        super().__init__()
        blocks = image_size.bit_length() - 3
        layers: list[nn.Module] = [nn.Conv2d(channels, base_width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for block in range(1, blocks):
            width = base_width * 2**block
            layers += [
                nn.Conv2d(width // 2, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(base_width * 2 ** (blocks - 1), 1, 4, 1, 0, bias=False))
        self.apply(_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(images)
        return logits.flatten().float()
