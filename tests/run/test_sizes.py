"""Sizes that no machine has are one line with the bytes, at once: from shapes, before anything is computed."""

import jax
import pytest
from small import small_config

from gan_jax import create_state
from gan_jax.errors import InputError
from gan_jax.memory import check_fits, format_bytes, host_bytes
from gan_jax.run.checkpoints import Checkpoints
from gan_jax.run.config import check_config, check_recipe, make_gan, resolve
from gan_jax.run.sizes import largest_layer_bytes, tree_bytes
from gan_jax.state import abstract_state

MLP = {"network.name": "mlp"}
WIDE = {"network.name": "r3gan", "network.r3gan.widths": (8,)}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"data.image_size": 2**20}, "TiB"),
        ({"data.image_size": 2**20, **MLP}, "TiB"),
        ({"data.image_size": 2**20, "network.name": "r3gan"}, "batches of 8 32.0 TiB"),
        ({"data.image_size": 2**61, **MLP}, "the state of this recipe takes"),
        (
            {"data.image_size": 2048, "batch_size": 256, "network.name": "r3gan", "network.r3gan.widths": (8,)},
            "largest layer 64 GiB",
        ),
        ({"latent_dim": 10**9}, "the state of this recipe takes"),
        ({"latent_dim": 2**40}, "config.latent_dim=1099511627776 must be an integer below"),
        ({"network.mlp.hidden": (10**6, 10**6), **MLP}, "the state of this recipe takes"),
        ({"network.mlp.hidden": (2**62,), **MLP}, "config: "),
        ({"disc_steps": 10**8}, "100000000 batches of 8"),
        ({"batch_size": 2**30}, "batches of 1073741824"),
        ({"num_classes": 10**12, **MLP}, "TiB"),
        ({"num_samples": 10**9}, "config.num_samples=1000000000 takes"),
        ({"eval_num": 10**12, "eval_every": 5}, "config.eval_num=1000000000000 takes"),
        ({"steps_per_call": "999999999", "num_steps": 10**9, "sample_every": 10**9, "checkpoint_every": 10**9}, "GiB"),
        ({"num_steps": 2**40}, "config.num_steps=1099511627776 must be an integer below 2\\*\\*31"),
        ({"data.workers": 10**9}, "config.data.workers=1000000000 must be an integer ≤ 1024"),
    ],
)
def test_a_size_that_no_machine_has_is_one_line(entries, message, monkeypatch):
    monkeypatch.setattr("gan_jax.memory.host_bytes", lambda: 2**33)
    with pytest.raises(InputError, match=message) as error:
        check_config(small_config(**entries))
    assert "\n" not in str(error.value)


def test_bytes_are_those_of_the_arrays():
    gan = make_gan(small_config(ema_decay=0.5))
    state = create_state(gan, jax.random.key(0))
    assert tree_bytes(abstract_state(gan)) == sum(leaf.nbytes for leaf in jax.tree.leaves(state)) > 0


@pytest.mark.parametrize(("entries", "numbers"), [({}, 8 * 8 * 8), ({"packing": 2}, 8 * 8 * 8), (MLP, 16 * 16)])
def test_the_largest_layer_is_that_of_the_batch(entries, numbers):
    """Of a DCGAN of width 8 for 16 × 16, the output of G's last norm; of an MLP with a narrow hidden layer, the samples."""
    config = small_config(**entries, **{"network.dcgan.base_width": 8, "network.mlp.hidden": (16,), "data.image_size": 16})
    gan = make_gan(config)
    assert largest_layer_bytes(gan, abstract_state(gan), 6) == 4 * 6 * numbers


def test_what_fits_is_not_refused():
    check_config(small_config())
    check_recipe(small_config().to_dict())
    check_fits(host_bytes(), "all")
    with pytest.raises(InputError, match=r"all takes 3 KiB, and this machine has 2 KiB of memory"):
        check_fits(3072, "all", memory=2048)
    assert [format_bytes(number) for number in (5, 1536, 2**30, 10**30)] == ["5 bytes", "1.5 KiB", "1 GiB", "9.1e+17 TiB"]


def test_more_samples_than_fit_are_one_line(run_script, tmp_path):
    config, flag = small_config(**MLP, **{"data.name": "ring"}), "--num=1000000000000"
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(create_state(make_gan(config), jax.random.key(0)), resolve(config))
    for script in ("sample.py", "evaluate.py"):
        done = run_script(script, f"--workdir={tmp_path}", flag, status=2, fast=True)
        assert done.stderr.startswith(f"error: {flag} takes ")
        assert done.stderr.count("\n") == 1
