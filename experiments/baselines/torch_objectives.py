"""The objectives in PyTorch, our own code from the papers' formulas."""

from collections.abc import Callable

import torch
from torch.nn.functional import relu, softplus

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _average_disc(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()


OBJECTIVES: dict[str, tuple[Loss, Loss]] = {
    "minimax": (lambda real, fake: (softplus(-real) + softplus(fake)).mean(), lambda real, fake: -softplus(fake).mean()),
    "non_saturating": (lambda real, fake: (softplus(-real) + softplus(fake)).mean(), lambda real, fake: softplus(-fake).mean()),
    "least_squares": (
        lambda real, fake: ((real - 1) ** 2 / 2 + fake**2 / 2).mean(),
        lambda real, fake: ((fake - 1) ** 2 / 2).mean(),
    ),
    "wasserstein": (lambda real, fake: (fake - real).mean(), lambda real, fake: -fake.mean()),
    "hinge": (lambda real, fake: (relu(1 - real) + relu(1 + fake)).mean(), lambda real, fake: -fake.mean()),
    "relativistic": (lambda real, fake: softplus(fake - real).mean(), lambda real, fake: softplus(real - fake).mean()),
    "relativistic_average": (_average_disc, lambda real, fake: _average_disc(fake, real)),
}
"""Name -> the losses of D and of G, functions of (real_logits, fake_logits); each player descends its own."""
