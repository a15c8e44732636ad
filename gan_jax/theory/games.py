"""A GAN near its equilibrium, where every way to play is a matrix: its spectral radius says whether the game converges.

One mode of the linearised game has a number for each player, θ of G and ψ of D, both 0 at the equilibrium:

    dθ = to_gen · ψ          dψ = -to_disc · θ - damping · ψ

A radius below 1 is convergence at that rate a step, above 1 the equilibrium repels (Mescheder et al. 2018, section 2.1).
"""

from typing import Any, NamedTuple

import numpy as np


class Slopes(NamedTuple):
    """The derivatives of an objective where D is constant and optimal.

    to_disc: -∂disc/∂fake_logit, how much D sees of a move of G. to_gen: -∂gen/∂fake_logit. curvature: minus the sum of disc's
    two own second derivatives, which damps D wherever its features vary; offset: the logit of that D.
    """

    to_disc: float
    to_gen: float
    curvature: float
    offset: float = 0.0


SLOPES: dict[str, Slopes] = {
    "minimax": Slopes(1 / 2, 1 / 2, 1 / 2),
    "non_saturating": Slopes(1 / 2, 1 / 2, 1 / 2),
    "least_squares": Slopes(1 / 2, 1 / 2, 2.0, offset=1 / 2),
    "wasserstein": Slopes(1.0, 1.0, 0.0),
    "hinge": Slopes(1.0, 1.0, 0.0),
    "relativistic": Slopes(1 / 2, 1 / 2, 1 / 2),
    "relativistic_average": Slopes(1.0, 1.0, 1 / 2),
}
"""Name of an objective -> its derivatives at the equilibrium. Seven objectives are four games: minimax, non-saturating and
relativistic pairs are the same one there, and so are hinge and Wasserstein."""


class Mode(NamedTuple):
    """One mode of the linearised game, see above. Numbers, not arrays."""

    to_disc: float
    to_gen: float
    damping: float


def make_mode(objective: str, *, coupling: float = 1.0, variance: float = 0.0, penalty: float = 0.0) -> Mode:
    """Return the mode of a feature φ of D whose ψ is its weight, and of the parameter θ of G that moves E φ.

    coupling: dE_q φ/dθ at the equilibrium. variance: of φ there, 0 where data and samples are points. penalty: the second
    derivative of the weighted penalties in ψ: for R1 and R2, the sum of their weights times E φ'^2.
    """
    slopes = SLOPES[objective]
    return Mode(slopes.to_disc * coupling, slopes.to_gen * coupling, slopes.curvature * variance + penalty)


def field(mode: Mode) -> np.ndarray:
    """Return the matrix `[2, 2]` of (dθ, dψ)."""
    return np.array([[0.0, mode.to_gen], [-mode.to_disc, -mode.damping]])


def simultaneous(mode: Mode, rate: float) -> np.ndarray:
    """Both players move from where both were."""
    return np.eye(2) + rate * field(mode)


def alternating(mode: Mode, rate: float, disc_steps: int = 1) -> np.ndarray:
    """D moves `disc_steps` times, then G, which sees the new D; without damping the determinant is 1: no convergence."""
    gen, disc = np.eye(2) + rate * field(mode) * [[1], [0]], np.eye(2) + rate * field(mode) * [[0], [1]]
    return gen @ np.linalg.matrix_power(disc, disc_steps)


def extra_gradient(mode: Mode, rate: float) -> np.ndarray:
    """Both players move from where they were, by the slopes of where a simultaneous step leads (Korpelevich 1976)."""
    ahead = rate * field(mode)
    return np.eye(2) + ahead @ (np.eye(2) + ahead)


def lazy(mode: Mode, penalty: float, rate: float, every: int, disc_steps: int = 1) -> np.ndarray:
    """Play `every` alternating steps, of which the first has a penalty of so many times the weight; `mode` is without it."""
    due = mode._replace(damping=mode.damping + every * penalty)
    later = np.linalg.matrix_power(alternating(mode, rate, disc_steps), every - 1)
    return later @ alternating(due, rate, disc_steps)


def adam(mode: Mode, rate: float, b1: float, epsilon: float = 1e-8) -> np.ndarray:
    """Alternate by Adam, of (θ, ψ, both first moments): at the equilibrium its second moments are 0, and its rate is rate/ε."""
    matrix = np.eye(4)
    for player, slopes in ((1, field(mode)[1]), (0, field(mode)[0])):
        step = np.eye(4)
        step[2 + player] = [*(-(1 - b1) * slopes), *(b1 * np.eye(2)[player])]
        step[player] = np.eye(4)[player] - rate / epsilon * step[2 + player]
        matrix = step @ matrix
    return matrix


def spectral_radius(matrix: Any, steps: int = 1) -> float:
    """Return the largest |eigenvalue| of a matrix, per step where it is of several."""
    return float(np.max(np.abs(np.linalg.eigvals(np.asarray(matrix))))) ** (1 / steps)
