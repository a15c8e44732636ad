"""Two configs differ in the entries that change the experiment, and in no others."""

import pytest
from ml_collections import ConfigDict
from small import small_config

from gan_jax.configs import default
from gan_jax.run.checks import flatten
from gan_jax.run.config import resolve
from gan_jax.run.entries import changes, describe


def test_differences_name_what_would_change_the_experiment():
    saved = resolve(small_config())
    changed = resolve(small_config(objective="minimax", **{"network.disc.dcgan.base_width": 3}))
    named = "network.disc.dcgan.base_width: 4 -> 3, objective: non_saturating -> minimax"
    assert describe(changes(saved, changed)) == named


@pytest.mark.parametrize("key", [*flatten(default.loop()), *flatten(default.host())])
def test_how_a_run_is_run_is_free_on_resume(key):
    saved = resolve(small_config())
    assert changes(saved, {**saved, **_with(saved, key, "another")}) == {}


def test_every_entry_of_the_experiment_makes_a_difference():
    """Those of both players through the players' own, and a network's options where it is used."""
    saved = resolve(small_config(**{"network.disc.name": "mlp"}))
    for key in flatten(resolve(ConfigDict(default.experiment()))):
        section, _, rest = key.partition(".")
        unused = (
            section == "network" and key.count(".") == 3 and not key.startswith(("network.gen.dcgan.", "network.disc.mlp."))
        )
        for_both = section in ("network", "optimizer") and not rest.startswith(("gen", "disc"))
        changed = changes(saved, {**saved, **_with(saved, key, "another")})
        assert bool(changed) != (for_both or unused), (key, changed)
        assert all(each.startswith((key, f"{key.removesuffix('.name')}.")) for each in changed), (key, changed)


def _with(nested, key, entry):
    """The section of a nested config in which this key has another entry."""
    first, _, rest = key.partition(".")
    return {first: {**nested[first], **_with(nested[first], rest, entry)}} if rest else {first: entry}


def test_options_of_a_network_that_is_not_used_make_no_difference():
    assert changes(resolve(small_config()), resolve(small_config(**{"network.mlp.hidden": (3,)}))) == {}
