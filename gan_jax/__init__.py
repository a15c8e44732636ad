"""GANs in JAX: pure functional players, ascent on D, descent on G.

The names here make a GAN of your own data without a config. `gan_jax.run.loop` has the loop with logs, pictures and checkpoints
(`train(config, workdir)`), `gan_jax.run.plots` the pictures.
"""

from gan_jax.data import from_arrays, make_dataset
from gan_jax.errors import InputError, NonFiniteError
from gan_jax.networks import NETWORKS
from gan_jax.objectives import OBJECTIVES, VALUE_AT_EQUILIBRIUM, Objective, js_lower_bound, value
from gan_jax.parallel import make_step
from gan_jax.sampling import generate, sample, slerp
from gan_jax.state import GAN, Players, TrainState, create_state, generator_variables
from gan_jax.steps import disc_update, draw_latents, gen_update, train_step

__version__ = "0.1.0"

__all__ = [
    "GAN",
    "NETWORKS",
    "OBJECTIVES",
    "VALUE_AT_EQUILIBRIUM",
    "InputError",
    "NonFiniteError",
    "Objective",
    "Players",
    "TrainState",
    "create_state",
    "disc_update",
    "draw_latents",
    "from_arrays",
    "gen_update",
    "generate",
    "generator_variables",
    "js_lower_bound",
    "make_dataset",
    "make_step",
    "sample",
    "slerp",
    "train_step",
    "value",
]
