"""Both players of R3GAN against a second text, in PyTorch, with the same parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import Players, make_networks

SIZE, BATCH, CLASSES = 16, 4, 3
INPUTS = Players((BATCH, 5), (BATCH, SIZE, SIZE, 2))


@pytest.mark.parametrize("num_classes", [0, CLASSES])
@pytest.mark.parametrize("player", Players._fields)
def test_the_same_outputs_as_in_pytorch(player, num_classes):
    torch = pytest.importorskip("torch")
    import torch_r3gan

    options = {"blocks": 2, "group_size": 4}
    networks = make_networks("r3gan", (SIZE, SIZE, 2), widths=(6, 8, 8), num_classes=num_classes, **options)
    network = getattr(networks, player)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=getattr(INPUTS, player)).astype(np.float32)
    labels = rng.integers(0, CLASSES, BATCH) if num_classes else None
    variables = jax.jit(partial(network.init, train=True))(jax.random.key(0), inputs, labels)
    # What starts at 0 is drawn, so that it counts.
    variables = jax.tree.map(lambda a: a if np.any(a) else rng.normal(size=a.shape).astype(np.float32), variables)

    params = jax.tree.map(lambda a: torch.from_numpy(np.array(a)), variables["params"])
    classes = torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[labels]) if num_classes else None
    port = torch_r3gan.generate if player == "gen" else torch_r3gan.discriminate
    theirs = torch.from_numpy(inputs if player == "gen" else inputs.transpose(0, 3, 1, 2).copy())
    theirs = port(params, theirs, classes, stages=3, **options).numpy()
    theirs = theirs.transpose(0, 2, 3, 1) if player == "gen" else theirs
    ours = network.apply(variables, jnp.asarray(inputs), labels, train=True)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.max(np.abs(theirs)))
