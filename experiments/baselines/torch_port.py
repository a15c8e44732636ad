"""The PyTorch twin of a network of ours, with the same weights in PyTorch's layouts."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from flax import linen as nn

from baselines import torch_networks as theirs
from baselines import torch_r3gan


class Weights:
    """Weights of ours, put into the modules of a PyTorch network. stats: those of batch norm are PyTorch's own."""

    def __init__(self, variables: Mapping[str, Any]):
        self.params, self.stats = variables["params"], variables.get("batch_stats", {})

    def within(self, name: str) -> "Weights":
        return Weights({"params": self.params[name], "batch_stats": self.stats.get(name, {})})

    def fill(self, tensor: torch.Tensor, array: Any) -> None:
        array = torch.tensor(np.asarray(array))
        if tensor.shape != array.shape:
            raise ValueError(f"{tuple(tensor.shape)} in PyTorch is {tuple(array.shape)} here")
        with torch.no_grad():
            tensor.copy_(array)

    def layer(self, module: Any, name: str, kernel: Any, bias: Any = None) -> None:
        """Fill one that has a weight, and u where it is under spectral norm."""
        vectors = [leaf for norm in self.stats.values() for key, leaf in norm.items() if key == f"{name}_u"]
        self.fill(module.weight_orig if vectors else module.weight, kernel)
        if vectors:
            self.fill(module.weight_u, vectors[0])
        if bias is not None:
            self.fill(module.bias, bias)

    def conv(self, module: Any, index: int, bias: Any = None) -> None:
        """Fill a convolution: HWIO -> OIHW."""
        name = f"Conv_{index}"
        self.layer(module, name, np.transpose(self.params[name]["kernel"], (3, 2, 0, 1)), bias)

    def up(self, module: Any, index: int) -> None:
        """Fill a fractionally strided one: `[h, w, O, I]` -> IOHW."""
        self.layer(module, "", np.transpose(self.params[f"ConvTranspose_{index}"]["kernel"], (3, 2, 0, 1)))

    def dense(self, module: Any, index: int, *, convolution: bool = False) -> None:
        params = self.params[f"Dense_{index}"]
        kernel = np.transpose(params["kernel"])
        self.layer(module, f"Dense_{index}", kernel[:, :, None, None] if convolution else kernel, params.get("bias"))

    def stem(self, module: Any) -> None:
        """Fill the layer before the 4 × 4 grid, whose outputs are `[4, 4, C]` here and `[C, 4, 4]` there."""
        params = self.params["Dense_0"]

        def channels_first(array: Any) -> Any:
            return np.moveaxis(np.asarray(array).reshape(*array.shape[:-1], 4, 4, -1), -1, -3).reshape(array.shape)

        bias = channels_first(params["bias"]) if "bias" in params else None
        self.layer(module, "", np.transpose(channels_first(params["kernel"])), bias)

    def bias(self, index: int) -> Any:
        return self.params[f"Bias_{index}"]["bias"]

    def norm(self, module: Any, index: int) -> None:
        """Fill what follows a convolution, of whichever kind."""
        if isinstance(module, torch.nn.GroupNorm):
            self.layer(module, "", *(self.params[f"LayerNorm_{index}"][name] for name in ("scale", "bias")))
        elif isinstance(module, theirs.ConditionalBias):
            self.fill(module.bias, self.bias(index))
        elif isinstance(module, theirs.ConditionalBatchNorm) and module.num_classes:
            params = self.params[f"ConditionalBatchNorm_{index}"]
            self.fill(module.scale.weight, params["scale"])
            self.fill(module.bias.weight, params["bias"])
        else:
            params = self.params[f"BatchNorm_{index}"]
            self.layer(getattr(module, "plain", module), "", params["scale"], params["bias"])


def port(network: nn.Module, variables: Mapping[str, Any]) -> Any:
    """Make the PyTorch module of a player of ours for square images of side 4 · 2^n, from the player's Flax variables."""
    weights = Weights(variables)
    family, player = type(network).__module__.rpartition(".")[2], type(network).__name__
    if (family, player) not in _PORTS:
        raise ValueError(f"there is no PyTorch text of the {player.lower()} of {family}")
    module = _PORTS[family, player](network, weights)
    if getattr(module, "projection", None) is not None:
        weights.layer(module.projection.embedding, "embedding", weights.params["embedding"]["kernel"])
    return module


def _latents(weights: Weights) -> int:
    return int(weights.params["Dense_0"]["kernel"].shape[0])


def _dcgan_gen(ours: Any, weights: Weights) -> Any:
    sizes = ours.image_size[0], ours.channels, ours.base_width, _latents(weights)
    module = theirs.DCGANGenerator(*sizes, ours.norm, ours.num_classes)
    weights.stem(module.project)
    for index, (norm, up) in enumerate(zip(module.norms, module.ups, strict=True)):
        weights.norm(norm, index)
        weights.up(up, index)
    return module


def _dcgan_disc(ours: Any, weights: Weights) -> Any:
    channels = weights.params["Conv_0"]["kernel"].shape[2]
    module = theirs.DCGANDiscriminator(ours.image_size[0], channels, ours.base_width, ours.norm, ours.num_classes)
    convs = [layer for layer in module.features if isinstance(layer, torch.nn.Conv2d)]
    norms = [layer for layer in module.features if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.GroupNorm)]
    for index, conv in enumerate(convs):
        weights.conv(conv, index, None if conv.bias is None else weights.bias(index))
    for index, norm in enumerate(norms):
        weights.norm(norm, index)
    weights.conv(module.last, len(convs))
    return module


def _sndcgan_gen(ours: Any, weights: Weights) -> Any:
    sizes = ours.image_size[0], ours.channels, ours.base_width, _latents(weights)
    module = theirs.StandardGenerator(*sizes, ours.num_classes)
    weights.stem(module.project)
    for index, norm in enumerate(module.norms):
        weights.norm(norm, index)
    for index, up in enumerate(module.ups):
        weights.up(up, index)
    weights.conv(module.last, 0, weights.bias(0))
    return module


def _sndcgan_disc(ours: Any, weights: Weights) -> Any:
    channels = weights.params["Conv_0"]["kernel"].shape[2]
    module = theirs.StandardDiscriminator(ours.image_size[0], channels, ours.base_width, ours.norm, ours.num_classes)
    for index, conv in enumerate(layer for layer in module.features if isinstance(layer, torch.nn.Conv2d)):
        weights.conv(conv, index, weights.bias(index))
    weights.dense(module.last, 0)
    return module


def _resnet_gen(ours: Any, weights: Weights) -> Any:
    sizes = ours.image_size[0], ours.channels, ours.width, _latents(weights)
    module = theirs.ResidualGenerator(*sizes, ours.num_classes)
    weights.stem(module.project)
    for index, block in enumerate(module.blocks):
        inner = weights.within(f"GenBlock_{index}")
        for place in range(2):
            inner.norm(block.norms[place], place)
            inner.conv(block.convs[place], place, inner.bias(place))
        inner.dense(block.shortcut, 0, convolution=True)
    weights.norm(module.norm, 0)
    weights.conv(module.last, 0, weights.bias(0))
    return module


def _resnet_disc(ours: Any, weights: Weights) -> Any:
    channels = weights.params["DiscBlock_0"]["Conv_0"]["kernel"].shape[2]
    module = theirs.ResidualDiscriminator(ours.image_size[0], channels, ours.width, ours.norm, ours.num_classes)
    for index, block in enumerate(module.blocks):
        inner = weights.within(f"DiscBlock_{index}")
        for place in range(2):
            inner.conv(block.convs[place], place, inner.bias(place))
            if block.norms is not None:
                inner.norm(block.norms[place], place)
        if block.shortcut is not None:
            inner.dense(block.shortcut, 0, convolution=True)
    weights.dense(module.last, 0)
    return module


def _r3gan_gen(ours: Any, weights: Weights) -> Any:
    widths = ours.widths[::-1]
    latent_dim = _latents(weights) - (64 if ours.num_classes else 0)
    module = torch_r3gan.BottleneckGenerator(ours.channels, widths, ours.blocks, ours.group_size, latent_dim, ours.num_classes)
    weights.fill(module.basis, np.transpose(weights.params["basis"], (2, 0, 1)))
    weights.dense(module.project, 0)
    if module.embedding is not None:
        weights.layer(module.embedding, "", np.transpose(weights.params["embedding"]["kernel"]))
    weights.conv(module.last, _fill_stages(module.stages, weights, 0))
    return module


def _r3gan_disc(ours: Any, weights: Weights) -> Any:
    channels = weights.params["Conv_0"]["kernel"].shape[2]
    module = torch_r3gan.BottleneckDiscriminator(channels, ours.widths, ours.blocks, ours.group_size, ours.num_classes)
    weights.conv(module.first, 0)
    _fill_stages(module.stages, weights, 1)
    weights.fill(module.head, np.transpose(weights.params["head"], (2, 0, 1)))
    weights.dense(module.last, 0)
    if module.embedding is not None:
        weights.layer(module.embedding, "", np.transpose(weights.params["embedding"]["kernel"]))
    return module


def _fill_stages(stages: Any, weights: Weights, convs: int) -> int:
    """Fill R3GAN's layers of all resolutions; convs: those of the network before them. Returns those up to their end."""
    blocks = 0
    for layer in stages:
        if isinstance(layer, torch.nn.Conv2d):
            weights.conv(layer, convs)
            convs += 1
        elif isinstance(layer, torch_r3gan.BottleneckBlock):
            inner = weights.within(f"Block_{blocks}")
            blocks += 1
            for index, conv in enumerate(layer.convs):
                bias = None if conv.bias is None else inner.within(f"Activation_{index}").bias(0)
                inner.conv(conv, index, bias)
    return convs


_PORTS: dict[tuple[str, str], Callable[[Any, Weights], Any]] = {
    ("dcgan", "Generator"): _dcgan_gen,
    ("dcgan", "Discriminator"): _dcgan_disc,
    ("sndcgan", "Generator"): _sndcgan_gen,
    ("sndcgan", "Discriminator"): _sndcgan_disc,
    ("resnet", "Generator"): _resnet_gen,
    ("resnet", "Discriminator"): _resnet_disc,
    ("r3gan", "Generator"): _r3gan_gen,
    ("r3gan", "Discriminator"): _r3gan_disc,
}
