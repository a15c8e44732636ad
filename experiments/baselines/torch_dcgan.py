"""The baseline in PyTorch: the same DCGAN, batch, schedule, optimiser and precision, our own text, as fast as PyTorch makes it.

What `gan_jax.steps` does with `gan_jax.networks.dcgan`: two passes of D in its update, fresh latents for each player, Adam on
both, and no gradient that nobody uses. `MODES` are the ways in which PyTorch can run it; the fastest one is the baseline.
Run by `experiments/benchmark.py --baseline=torch`; needs the extra `bench`.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus
from torch.utils.flop_counter import FlopCounterMode


class Mode(NamedTuple):
    """How PyTorch runs the step. compiled: `torch.compile` with this mode, or None; graph: the step as one CUDA graph."""

    channels_last: bool
    compiled: str | None = None
    graph: bool = False

    def __str__(self) -> str:
        parts = [f"compile {self.compiled}" if self.compiled else "eager"]
        return ", ".join(parts + ["channels_last"] * self.channels_last + ["cuda graph"] * self.graph)


def modes(cuda: bool) -> list[Mode]:
    """Every mode that the device has."""
    everywhere = [
        Mode(last, compiled) for compiled in (None, "default", "max-autotune-no-cudagraphs") for last in (False, True)
    ]
    return everywhere + [mode._replace(graph=True) for mode in everywhere if cuda]


class Generator(nn.Module):
    """Latents `[B, Z]` -> images `[B, C, S, S]` in [-1, 1]."""

    def __init__(self, image_size: int, channels: int, base_width: int, latent_dim: int):
        super().__init__()
        blocks = image_size.bit_length() - 3
        widths = [base_width * 2**block for block in reversed(range(blocks))]
        self.stem = nn.Linear(latent_dim, 4 * 4 * widths[0], bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        projected = self.stem(latents)
        return torch.tanh(self.body(projected.view(len(latents), -1, 4, 4)).float())


class Discriminator(nn.Module):
    """Images `[B, C, S, S]` -> logits `[B]`."""

    def __init__(self, image_size: int, channels: int, base_width: int):
        super().__init__()
        blocks = image_size.bit_length() - 3
        widths = [base_width * 2**block for block in range(blocks)]
        layers: list[nn.Module] = [nn.Conv2d(channels, base_width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(images)
        return logits.flatten().float()


class Recipe(NamedTuple):
    """What the baseline needs of a config.

    shape: image size S, channels C, base width, latent dimension. adam: learning rate, b1, b2 of G and of D.
    real: one batch `[B, S, S, C]` in [-1, 1].
    """

    shape: tuple[int, int, int, int]
    disc_steps: int
    objective: str
    dtype: str
    adam: list[tuple[float, float, float]]
    real: np.ndarray


class Trainer:
    """Networks, optimisers and the step of a recipe, in one mode. params: those of `gan_jax`, to begin where it begins."""

    def __init__(self, recipe: Recipe, mode: Mode, params: Any):
        self.recipe, self.mode = recipe, mode
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        self.gen = Generator(*recipe.shape).to(self.device)
        self.disc = Discriminator(*recipe.shape[:3]).to(self.device)
        for network, of_network in zip((self.gen, self.disc), params, strict=True):
            _load(network, of_network)
            network.to(memory_format=layout)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), rate, (b1, b2), eps=1e-8, fused=True, capturable=mode.graph)
            for network, (rate, b1, b2) in zip((self.gen, self.disc), recipe.adam, strict=True)
        ]
        real = torch.from_numpy(recipe.real.copy()).permute(0, 3, 1, 2)
        self.real = real.to(self.device).contiguous(memory_format=layout)
        self.run_gen, self.run_disc = self.gen, self.disc
        if mode.compiled:
            torch._dynamo.config.recompile_limit = 64  # every mode compiles the same code anew
            self.run_gen, self.run_disc = (torch.compile(network, mode=mode.compiled) for network in (self.gen, self.disc))

    def latents(self) -> torch.Tensor:
        return torch.randn(len(self.real), self.recipe.shape[-1], device=self.device)

    def step(self, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """k updates of D and one of G; the losses of the last of each. given: latents of each update, instead of drawn ones."""
        latents = iter(given) if given else iter(self.latents, None)
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.dtype == "bfloat16", cache_enabled=not self.mode.graph
        )
        gen_optimizer, disc_optimizer = self.optimizers
        self.disc.requires_grad_(True)
        for _ in range(self.recipe.disc_steps):
            with autocast:
                with torch.no_grad():
                    fake = self.run_gen(next(latents))
                loss_disc = softplus(-self.run_disc(self.real)).mean() + softplus(self.run_disc(fake)).mean()
            disc_optimizer.zero_grad()
            loss_disc.backward()
            disc_optimizer.step()
        self.disc.requires_grad_(False)  # no gradient that nobody uses
        with autocast:
            fake_logits = self.run_disc(self.run_gen(next(latents)))
            saturating = self.recipe.objective == "minimax"
            loss_gen = -softplus(fake_logits).mean() if saturating else softplus(-fake_logits).mean()
        gen_optimizer.zero_grad()
        loss_gen.backward()
        gen_optimizer.step()
        return loss_disc, loss_gen

    def make_timed(self) -> Callable[[int], float]:
        """`run(steps) -> seconds`, device synchronised; warmed up, and captured where the mode says so."""
        step: Callable[[], Any] = self.step
        if self.mode.graph:
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.step()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.step()
            step = graph.replay

        def run(steps: int) -> float:
            self.synchronize()
            began = time.perf_counter()
            for _ in range(steps):
                step()
            self.synchronize()
            return time.perf_counter() - began

        run(2)
        return run

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def flops(self) -> int:
        """Of the convolutions and products of one step, as PyTorch counts them: border positions in full."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops()


def _load(network: nn.Module, params: Any) -> None:
    """Copy the parameters of a Flax DCGAN into the network: layers in their order, kernels `[h, w, I, O]` -> `[O, I, h, w]`."""
    kernels = [params[name]["kernel"] for name in sorted(params) if name.startswith("Conv")]
    norms = [params[name] for name in sorted(params) if name.startswith("BatchNorm")]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):  # its outputs are the first [h, w, C] here, [C, h, w] there
                kernel = np.asarray(params["Dense_0"]["kernel"]).reshape(module.in_features, 4, 4, -1).transpose(3, 1, 2, 0)
                module.weight.copy_(torch.tensor(kernel.reshape(-1, module.in_features)))
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.copy_(torch.tensor(np.asarray(kernels.pop(0)).transpose(3, 2, 0, 1)))
            elif isinstance(module, nn.BatchNorm2d):
                norm = norms.pop(0)
                module.weight.copy_(torch.tensor(np.asarray(norm["scale"])))
                module.bias.copy_(torch.tensor(np.asarray(norm["bias"])))


def fastest(recipe: Recipe, params: Any, steps: int, only: str | None = None) -> tuple[Mode, float, Callable[[int], float]]:
    """Race the modes: the fastest one, its seconds until the first steps were done, and its `run(steps) -> seconds`.

    only: compare only the modes whose name has this in it. A mode that fails here is named and left out.
    """
    timed = {}
    for mode in modes(torch.cuda.is_available()):
        if only and only not in str(mode):
            continue
        began = time.perf_counter()
        try:
            run = Trainer(recipe, mode, params).make_timed()
        except Exception as error:  # whatever a compiler may raise: a mode that does not run is skipped
            print(f"  torch {mode}: left out, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            continue
        ready = time.perf_counter() - began
        seconds = min(run(steps) for _ in range(3)) / steps
        print(f"  torch {mode}: {1e3 * seconds:.2f} ms/step")
        timed[mode] = (seconds, ready, run)
    best = min(timed, key=lambda mode: timed[mode][0])
    return best, *timed[best][1:]
