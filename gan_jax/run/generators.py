"""What sampling and evaluation need of a saved config, which may be an old one or a stranger's: the generator, and the data."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gan_jax.run.checks import check_entries
from gan_jax.run.config import OPTIMIZERS, configured_shape, make_configured_network, refusing_what_no_array_has
from gan_jax.run.entries import as_config, select
from gan_jax.run.sizes import check_state
from gan_jax.state import GAN, Players, TrainState, abstract_generator


def check_generator(saved: Mapping[str, Any], *, ema: bool) -> tuple[GAN, TrainState]:
    """Return the generator of a saved config, as a recipe that has None for all else, and shapes and dtypes of its state.

    Only what makes the generator is read: an objective, an optimiser or a discriminator that is not known here, or no longer,
    does not matter. ema: whether there is an average of it.

    Raises:
        InputError: there can be no such generator.
    """
    name = as_config(saved)["network"]["gen"]["name"]
    of_network = ("network.gen.name", "network.gen.dtype", f"network.gen.{name}.")
    entries = select(saved, ("latent_dim", "num_classes", "data.name", "data.image_size", "data.channels", *of_network))
    check_entries(entries, OPTIMIZERS)
    with refusing_what_no_array_has():
        config = ConfigDict(entries)
        sample_shape = configured_shape(config)
        networks, nothing = Players(make_configured_network(config, "gen", sample_shape), None), Players(None, None)
        objective: Any = None
        gan = GAN(networks, nothing, objective, sample_shape, config.latent_dim, config.num_classes)
        state = abstract_generator(gan, ema=ema)
    check_state(state)
    return gan, state


def check_data(config: ConfigDict) -> None:
    """Raise `InputError` where a saved config has data that cannot be loaded; its other entries do not matter."""
    entries = select(config.to_dict(), ("data.", "batch_size", "num_classes", "parallel"))
    check_entries(entries, OPTIMIZERS)
    with refusing_what_no_array_has():
        configured_shape(ConfigDict(entries))
