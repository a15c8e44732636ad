"""The networks compute what the same networks in PyTorch, a second text from the papers, compute from the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import drawn_variables

from gan_jax import make_network

torch = pytest.importorskip("torch", reason="the extra `bench`")

from baselines.torch_port import port  # noqa: E402  # imports torch

K, SIZE, CHANNELS, LATENT_DIM, BATCH = 3, 16, 2, 5, 6
LABELS = np.arange(BATCH, dtype=np.int32) % K
OPTIONS = {
    "dcgan": {"base_width": 4},
    "sndcgan": {"base_width": 4},
    "resnet": {"width": 4},
    "r3gan": {"widths": (6, 8, 8), "blocks": 2, "group_size": 4},
}
CASES = [
    *(("gen", "dcgan", norm) for norm in ("batch", "none")),
    *(("disc", "dcgan", norm) for norm in ("batch", "none", "layer", "spectral")),
    ("gen", "sndcgan", "spectral"),
    *(("disc", "sndcgan", norm) for norm in ("spectral", "none")),
    ("gen", "resnet", "spectral"),
    *(("disc", "resnet", norm) for norm in ("spectral", "layer", "none")),
    *((player, "r3gan", None) for player in ("gen", "disc")),
]


def both(player, name, norm, num_classes):
    """Our network with its variables, and theirs with the same weights; inputs and labels."""
    options = OPTIONS[name] | ({"norm": norm} if norm else {})
    network = make_network(player, name, (SIZE, SIZE, CHANNELS), num_classes=num_classes, **options)
    shape = (BATCH, LATENT_DIM) if player == "gen" else (BATCH, SIZE, SIZE, CHANNELS)
    inputs = jax.random.normal(jax.random.key(1), shape)
    labels = jnp.asarray(LABELS) if num_classes else None
    variables = drawn_variables(network, inputs, labels, amount=0.5 if name == "r3gan" else 0.1)
    module = port(network, variables)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == sum(parameter.numel() for parameter in module.parameters())
    return network, variables, inputs, labels, module


def run(module, player, inputs, labels):
    """Their outputs in our layout."""
    inputs = torch.tensor(np.asarray(inputs))
    labels = None if labels is None else torch.tensor(LABELS, dtype=torch.long)
    if player == "gen":
        return module(inputs, labels).permute(0, 2, 3, 1)
    return module(inputs.permute(0, 3, 1, 2), labels)


@pytest.mark.parametrize(("player", "name", "norm"), CASES)
@pytest.mark.parametrize("num_classes", [0, K])
def test_outputs_are_those_of_pytorch(player, name, norm, num_classes):
    """In train mode; under spectral norm three passes in turn, each from the u that the last one left."""
    network, variables, inputs, labels, module = both(player, name, norm, num_classes)
    apply = jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))
    for _ in range(3 if player == "disc" and norm == "spectral" else 1):
        outputs, updated = apply(variables, inputs, labels)
        variables = {**variables, **updated}
        expected = run(module, player, inputs, labels).detach().numpy()
        spread = float(np.std(outputs))
        assert spread > 0.01
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4 * spread)


def test_gradients_under_spectral_norm_are_those_of_pytorch():
    """They go through the norm, and not through u and v."""
    network, variables, inputs, labels, module = both("disc", "dcgan", "spectral", K)

    def total(params):
        return jnp.sum(jnp.sin(network.apply({**variables, "params": params}, inputs, labels, train=False)))

    gradients = jax.jit(jax.grad(total))(variables["params"])
    run(module, "disc", inputs, labels).sin().sum().backward()
    convs = [*(layer for layer in module.features if isinstance(layer, torch.nn.Conv2d)), module.last]
    for index, conv in enumerate(convs):
        expected = conv.weight_orig.grad.permute(2, 3, 1, 0).numpy()
        np.testing.assert_allclose(
            gradients[f"Conv_{index}"]["kernel"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )
    expected = module.projection.embedding.weight_orig.grad.numpy()
    np.testing.assert_allclose(gradients["embedding"]["kernel"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
