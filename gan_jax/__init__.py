"""GANs in JAX: pure functions, gradient ascent for D and descent for G.

The names here train a GAN on your own data without a config file. `gan_jax.run` has the training loop with logs, pictures and
checkpoints, `gan_jax.evaluation` has the metrics, and `gan_jax.theory` has densities and divergences in closed form.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gan_jax import interrupts as _interrupts  # noqa: F401  # first, for a signal during the imports below
from gan_jax.augment import diffaugment
from gan_jax.data import Batch, from_arrays, make_dataset
from gan_jax.errors import InputError, NonFiniteError
from gan_jax.networks import make_network, make_networks
from gan_jax.objectives import OBJECTIVES, VALUE_AT_EQUILIBRIUM, Objective, js_lower_bound, value
from gan_jax.parallel import make_step
from gan_jax.penalties import PENALTIES
from gan_jax.sampling import generate, sample, sample_grid, slerp
from gan_jax.schedules import constant, cosine, warmed_up_decay
from gan_jax.state import GAN, Players, TrainState, create_state, generator_variables, run_keys
from gan_jax.steps import disc_update, example_keys, gen_update, sample_latents, train_step

if TYPE_CHECKING:
    from gan_jax.run.api import curves, evaluate, fit, load, recipe, restore, save
    from gan_jax.run.plots import save_grid

__version__ = "0.2.0"

__all__ = [
    "GAN",
    "OBJECTIVES",
    "PENALTIES",
    "VALUE_AT_EQUILIBRIUM",
    "Batch",
    "InputError",
    "NonFiniteError",
    "Objective",
    "Players",
    "TrainState",
    "constant",
    "cosine",
    "create_state",
    "curves",
    "diffaugment",
    "disc_update",
    "evaluate",
    "example_keys",
    "fit",
    "from_arrays",
    "gen_update",
    "generate",
    "generator_variables",
    "js_lower_bound",
    "load",
    "make_dataset",
    "make_network",
    "make_networks",
    "make_step",
    "recipe",
    "restore",
    "run_keys",
    "sample",
    "sample_grid",
    "sample_latents",
    "save",
    "save_grid",
    "slerp",
    "train_step",
    "value",
    "warmed_up_decay",
]

_OF_RUNS = {"save_grid": "gan_jax.run.plots"} | dict.fromkeys(
    ("curves", "evaluate", "fit", "load", "recipe", "restore", "save"), "gan_jax.run.api"
)


def __getattr__(name: str) -> Any:
    """Import what needs Orbax and matplotlib when it is first used: `import gan_jax` stays light."""
    if name in _OF_RUNS:
        return getattr(import_module(_OF_RUNS[name]), name)
    raise AttributeError(f"module gan_jax has no attribute {name}")
