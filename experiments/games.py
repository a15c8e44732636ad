"""The games from 2014 to 2024 on DCGAN's networks: config entries, with the usual Adam betas and norm of D for each."""

from typing import Any

DCGAN: dict[str, Any] = {
    "optimizer.b1": 0.5,
    "optimizer.b2": 0.999,
    "network.disc.dcgan.norm": "batch",
    "penalty.r1": 0.0,
    "penalty.r2": 0.0,
}
PENALISED = DCGAN | {"optimizer.b1": 0.0, "optimizer.b2": 0.99, "network.disc.dcgan.norm": "none"}

GAMES = {
    "minimax": DCGAN | {"objective": "minimax"},
    "non-saturating": DCGAN | {"objective": "non_saturating"},
    "least squares": DCGAN | {"objective": "least_squares"},
    "WGAN-GP": PENALISED | {"optimizer.b2": 0.9, "objective": "wasserstein", "penalty.gradient_penalty": 10.0, "disc_steps": 5},
    "DRAGAN": DCGAN | {"objective": "non_saturating", "penalty.dragan": 10.0, "network.disc.dcgan.norm": "none"},
    "hinge + spectral norm": DCGAN | {"objective": "hinge", "network.disc.dcgan.norm": "spectral"},
    "non-saturating + R1": PENALISED | {"objective": "non_saturating", "penalty.r1": 1.0},
    "relativistic + R1 + R2": PENALISED | {"objective": "relativistic", "penalty.r1": 1.0, "penalty.r2": 1.0},
    "relativistic average + R1 + R2": PENALISED | {"objective": "relativistic_average", "penalty.r1": 1.0, "penalty.r2": 1.0},
}
"""Name -> entries: the objective, its penalties and what goes with them."""
