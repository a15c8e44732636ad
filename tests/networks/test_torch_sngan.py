"""The networks of the SNGAN family compute what the same networks in PyTorch compute from the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import drawn_variables

from gan_jax import make_network

torch = pytest.importorskip("torch")

import torch_sngan as theirs  # noqa: E402  # imports torch

K, SIZE, CHANNELS, LATENT_DIM, WIDTH, BATCH = 3, 16, 2, 5, 4, 6
LABELS = np.arange(BATCH, dtype=np.int32) % K


class Ported:
    """Weights of ours in the modules of a PyTorch network: each in its own layout."""

    def __init__(self, variables):
        self.params, self.stats = variables["params"], variables.get("batch_stats", {})

    def within(self, name):
        return Ported({"params": self.params[name], "batch_stats": self.stats.get(name, {})})

    def _fill(self, tensor, array):
        array = torch.tensor(np.asarray(array))
        assert tensor.shape == array.shape, (tensor.shape, array.shape)
        with torch.no_grad():
            tensor.copy_(array)

    def layer(self, module, name, kernel, bias=None):
        """One with a weight, a kernel of ours in its layout, and u, where it is under spectral norm."""
        vectors = [leaf for norm in self.stats for key, leaf in self.stats[norm].items() if key == f"{name}_u"]
        assert len(vectors) == hasattr(module, "weight_u")
        self._fill(module.weight_orig if vectors else module.weight, kernel)
        if vectors:
            self._fill(module.weight_u, vectors[0])
        assert (getattr(module, "bias", None) is None) == (bias is None)
        if bias is not None:
            self._fill(module.bias, bias)

    def conv(self, module, index, bias=None):
        """HWIO -> OIHW; the bias is a layer of its own."""
        name = f"Conv_{index}"
        bias = None if bias is None else self.params[f"Bias_{bias}"]["bias"]
        self.layer(module, name, np.transpose(self.params[name]["kernel"], (3, 2, 0, 1)), bias)

    def up(self, module, index):
        """`[h, w, O, I]` -> IOHW."""
        name = f"ConvTranspose_{index}"
        self.layer(module, name, np.transpose(self.params[name]["kernel"], (3, 2, 0, 1)))

    def dense(self, module, index, *, convolution=False):
        params = self.params[f"Dense_{index}"]
        kernel = np.transpose(params["kernel"])
        self.layer(module, f"Dense_{index}", kernel[:, :, None, None] if convolution else kernel, params.get("bias"))

    def project(self, module, index=0):
        """Ours makes `[4, 4, C]` by a matrix; theirs by a 4 × 4 kernel over one pixel, IOHW."""
        kernel = np.asarray(self.params[f"Dense_{index}"]["kernel"]).reshape(LATENT_DIM, 4, 4, -1)
        self.layer(module, f"Dense_{index}", np.transpose(kernel, (0, 3, 1, 2)))

    def projection(self, module):
        self.layer(module.embedding, "embedding", self.params["embedding"]["kernel"])

    def norm(self, module, index, num_classes=0):
        """What follows a convolution, of whichever kind."""
        if isinstance(module, torch.nn.GroupNorm):
            self.layer(module, "", *(self.params[f"LayerNorm_{index}"][name] for name in ("scale", "bias")))
        elif isinstance(module, theirs.ConditionalBias):
            bias = self.params[f"Bias_{index}"]["bias"]
            self._fill(module.bias.weight, bias if num_classes else bias[None])
        elif num_classes:
            params = self.params[f"ConditionalBatchNorm_{index}"]
            self._fill(module.scale.weight, params["scale"])
            self._fill(module.bias.weight, params["bias"])
        else:
            params = self.params[f"BatchNorm_{index}"]
            self.layer(getattr(module, "plain", module), "", params["scale"], params["bias"])


def port_dcgan_gen(module, ported, norm, num_classes):
    ported.project(module.project)
    for index, follow in enumerate(module.norms):
        ported.norm(follow, index, num_classes)
        ported.up(module.ups[index], index)


def port_dcgan_disc(module, ported, norm, num_classes):
    convs = [layer for layer in module.features if isinstance(layer, torch.nn.Conv2d)]
    norms = [layer for layer in module.features if isinstance(layer, (torch.nn.BatchNorm2d, torch.nn.GroupNorm))]
    for index, conv in enumerate(convs):
        ported.conv(conv, index, bias=index if norm in ("none", "spectral") else None)
    for index, follow in enumerate(norms):
        ported.norm(follow, index)
    ported.conv(module.last, len(convs))


def port_sndcgan_gen(module, ported, norm, num_classes):
    ported.project(module.project)
    for index, follow in enumerate(module.norms):
        ported.norm(follow, index, num_classes)
    for index, up in enumerate(module.ups):
        ported.up(up, index)
    ported.conv(module.last, 0, bias=0)


def port_sndcgan_disc(module, ported, norm, num_classes):
    for index, conv in enumerate(layer for layer in module.features if isinstance(layer, torch.nn.Conv2d)):
        ported.conv(conv, index, bias=index)
    ported.dense(module.last, 0)


def port_resnet_gen(module, ported, norm, num_classes):
    bias = ported.params["Dense_0"]["bias"]
    ported._fill(module.project_bias, np.transpose(np.asarray(bias).reshape(4, 4, -1), (2, 0, 1)))
    ported.project(module.project)
    for index, block in enumerate(module.blocks):
        inner = ported.within(f"GenBlock_{index}")
        for place in range(2):
            inner.norm(block.norms[place], place, num_classes)
            inner.conv(block.convs[place], place, bias=place)
        inner.dense(block.shortcut, 0, convolution=True)
    ported.norm(module.norm, 0)
    ported.conv(module.last, 0, bias=0)


def port_resnet_disc(module, ported, norm, num_classes):
    for index, block in enumerate(module.blocks):
        inner = ported.within(f"DiscBlock_{index}")
        for place in range(2):
            inner.conv(block.convs[place], place, bias=place)
            if block.norms is not None:
                inner.norm(block.norms[place], place)
        if block.shortcut is not None:
            inner.dense(block.shortcut, 0, convolution=True)
    ported.dense(module.last, 0)


def their_module(player, name, norm, num_classes):
    if name == "dcgan":
        if player == "gen":
            return theirs.DCGANGenerator(SIZE, CHANNELS, WIDTH, LATENT_DIM, norm, num_classes)
        return theirs.DCGANDiscriminator(SIZE, CHANNELS, WIDTH, norm, num_classes)
    gen, disc = {
        "sndcgan": (theirs.StandardGenerator, theirs.StandardDiscriminator),
        "resnet": (theirs.ResidualGenerator, theirs.ResidualDiscriminator),
    }[name]
    if player == "gen":
        return gen(SIZE, CHANNELS, WIDTH, LATENT_DIM, num_classes)
    return disc(SIZE, CHANNELS, WIDTH, norm, num_classes)


PORT = {
    ("gen", "dcgan"): port_dcgan_gen,
    ("disc", "dcgan"): port_dcgan_disc,
    ("gen", "sndcgan"): port_sndcgan_gen,
    ("disc", "sndcgan"): port_sndcgan_disc,
    ("gen", "resnet"): port_resnet_gen,
    ("disc", "resnet"): port_resnet_disc,
}
CASES = [
    *(("gen", "dcgan", norm) for norm in ("batch", "none")),
    *(("disc", "dcgan", norm) for norm in ("batch", "none", "layer", "spectral")),
    ("gen", "sndcgan", "spectral"),
    *(("disc", "sndcgan", norm) for norm in ("spectral", "none")),
    ("gen", "resnet", "spectral"),
    *(("disc", "resnet", norm) for norm in ("spectral", "layer", "none")),
]


def both(player, name, norm, num_classes):
    """Our network with its variables, and theirs with the same weights; inputs and labels."""
    options = {"width": WIDTH} if name == "resnet" else {"base_width": WIDTH}
    network = make_network(player, name, (SIZE, SIZE, CHANNELS), num_classes=num_classes, norm=norm, **options)
    shape = (BATCH, LATENT_DIM) if player == "gen" else (BATCH, SIZE, SIZE, CHANNELS)
    inputs = jax.random.normal(jax.random.key(1), shape)
    labels = jnp.asarray(LABELS) if num_classes else None
    variables = drawn_variables(network, inputs, labels)
    module, ported = their_module(player, name, norm, num_classes), Ported(variables)
    PORT[player, name](module, ported, norm, num_classes)
    if player == "disc" and num_classes:
        ported.projection(module.projection)
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
