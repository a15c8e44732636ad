"""The baseline in PyTorch: the same recipe from the same weights, our own code, as fast as PyTorch makes it.

It does what `gan_jax.steps` does: D's update with its penalties, fresh latents for each player, Adam for both, the generator's
average, and no unused gradient. `modes` are the ways in which PyTorch can run it; the fastest one is the baseline.
Run by `experiments/benchmark.py --baseline=torch`; needs the extra `bench`.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.func import functional_call, grad
from torch.utils.flop_counter import FlopCounterMode

from baselines.torch_objectives import OBJECTIVES
from baselines.torch_port import port
from gan_jax.errors import InputError, RunError
from gan_jax.state import GAN, TrainState, has_batch_norm


class Mode(NamedTuple):
    """How PyTorch runs the step.

    joined: D judges real and fake images in one pass. functional: the slope that a penalty takes is by `torch.func.grad`, which
    can be compiled, rather than by double backward. compiled: `torch.compile` with this mode, or None. graph: the step as one
    CUDA graph.
    """

    channels_last: bool
    joined: bool = False
    functional: bool = False
    compiled: str | None = None
    graph: bool = False

    def __str__(self) -> str:
        parts = [f"compile {self.compiled}" if self.compiled else "eager"]
        named = {name.replace("_", " "): getattr(self, name) for name in ("channels_last", "joined", "functional", "graph")}
        return ", ".join(parts + [name for name, there in named.items() if there])


class Recipe(NamedTuple):
    """What the baseline needs of ours.

    adam: learning rate, b1, b2 of G and of D. penalties: weights of r1 and r2. real: the batches of one step `[N, B, S, S, C]`
    in [-1, 1]. ema: decay of G's average, or None.
    """

    gan: GAN
    objective: str
    dtype: str
    adam: list[tuple[float, float, float]]
    penalties: Mapping[str, float]
    real: np.ndarray
    ema: float | None = None

    def modes(self, state: TrainState, cuda: bool, task: str = "step") -> list[Mode]:
        """List every mode that the device, the recipe and the task, "step" or "sample", have."""
        # Batch norm takes the statistics of each pass; spectral norm takes one step in each, so that only one is our update.
        passes = (False,) if has_batch_norm(state.stats.disc) else (True,) if state.stats.disc else (False, True)
        slopes = (False, True) if self.penalties else (False,)
        if task == "sample":
            passes, slopes = (False,), (False,)
        everywhere = [
            Mode(last, joined, functional, compiled)
            for compiled in (None, "default", "max-autotune-no-cudagraphs")
            for functional in (slopes[-1:] if compiled else slopes)  # what is compiled has no double backward
            for joined in passes
            for last in (False, True)
        ]
        return everywhere + [mode._replace(graph=True) for mode in everywhere if cuda]


class Trainer:
    """Networks, optimisers and the step of a recipe, in one mode, from our state."""

    def __init__(self, recipe: Recipe, mode: Mode, state: TrainState):
        self.recipe, self.mode = recipe, mode
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        self.gen, self.disc = (
            port(network, {"params": params, "batch_stats": stats}).to(self.device).to(memory_format=self.layout)
            for network, params, stats in zip(recipe.gan.networks, state.params, state.stats, strict=True)
        )
        self.average = copy.deepcopy(self.gen) if recipe.ema is not None else None
        self.optimizers = [
            torch.optim.Adam(network.parameters(), rate, (b1, b2), eps=1e-8, fused=True, capturable=mode.graph)
            for network, (rate, b1, b2) in zip((self.gen, self.disc), recipe.adam, strict=True)
        ]
        self.real = [self._on_device(batch) for batch in recipe.real]
        self.losses = OBJECTIVES[recipe.objective]
        self.disc_loss, self.gen_loss, self.generate = self._disc_loss, self._gen_loss, self.gen
        if mode.compiled:
            torch._dynamo.config.recompile_limit = 64  # every mode compiles the same code anew
            parts = (self._disc_loss, self._gen_loss, self.gen)
            self.disc_loss, self.gen_loss, self.generate = (torch.compile(part, mode=mode.compiled) for part in parts)

    def _on_device(self, images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).to(self.device).contiguous(memory_format=self.layout)

    def latents(self) -> torch.Tensor:
        return torch.randn(self.recipe.real.shape[1], self.recipe.gan.latent_dim, device=self.device)

    def _autocast(self) -> Any:
        enabled = self.recipe.dtype == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=not self.mode.graph)

    def _judge(self, params: Mapping[str, torch.Tensor], real: torch.Tensor, fake: torch.Tensor) -> Any:
        """Return the logits of both; in one pass or in two."""

        def judge(images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = functional_call(self.disc, params, (images, None)) if params else self.disc(images, None)
            return logits.float()

        return judge(torch.cat([real, fake])).chunk(2) if self.mode.joined else (judge(real), judge(fake))

    def _disc_loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        if not self.recipe.penalties:
            return self.losses[0](*self._judge({}, real, fake))
        penalised = {name: images for name, images in (("r1", real), ("r2", fake)) if name in self.recipe.penalties}
        if self.mode.functional:
            params = dict(self.disc.named_parameters())

            def total(real: torch.Tensor, fake: torch.Tensor) -> Any:
                logits = self._judge(params, real, fake)
                return logits[0].sum() + logits[1].sum(), logits

            which = tuple(index for index, name in enumerate(("r1", "r2")) if name in penalised)
            slopes, logits = grad(total, argnums=which, has_aux=True)(real, fake)
        else:
            for images in penalised.values():
                images.requires_grad_(True)
            logits = self._judge({}, real, fake)
            slopes = torch.autograd.grad(logits[0].sum() + logits[1].sum(), list(penalised.values()), create_graph=True)
        norms = {name: slope.square().sum((1, 2, 3)).mean() / 2 for name, slope in zip(penalised, slopes, strict=True)}
        penalty = sum(self.recipe.penalties[name] * norm for name, norm in norms.items())
        loss: torch.Tensor = self.losses[0](*logits) + penalty
        return loss

    def _gen_loss(self, latents: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        fake = self.gen(latents, None).float()
        if not self.recipe.gan.objective.paired:
            return self.losses[1](torch.zeros(()), self.disc(fake, None).float())
        if self.mode.joined:
            return self.losses[1](*self._judge({}, real, fake))
        with torch.no_grad():  # no gradient of G goes through the logits of real images
            real_logits = self.disc(real, None).float()
        return self.losses[1](real_logits, self.disc(fake, None).float())

    def step(self, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """k updates of D and one of G; the losses of the last of each. given: latents of each update, instead of drawn ones."""
        latents: Iterator[torch.Tensor] = iter(given) if given else iter(self.latents, None)
        gen_optimizer, disc_optimizer = self.optimizers
        self.disc.requires_grad_(True)
        for update in range(self.recipe.gan.disc_steps):
            with self._autocast():
                with torch.no_grad():
                    fake = self.generate(next(latents), None).float()
                loss_disc = self.disc_loss(self.real[update].detach(), fake)
            disc_optimizer.zero_grad()
            loss_disc.backward()
            disc_optimizer.step()
        self.disc.requires_grad_(False)  # no gradient that nobody uses
        with self._autocast():
            loss_gen = self.gen_loss(next(latents), self.real[-1].detach())
        gen_optimizer.zero_grad()
        loss_gen.backward()
        gen_optimizer.step()
        if self.average is not None and self.recipe.ema is not None:
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.gen.parameters()), 1 - self.recipe.ema)
        return loss_disc, loss_gen

    def sample(self) -> torch.Tensor:
        """Draw a batch by the generator as it is after training."""
        self.gen.eval()
        with torch.no_grad(), self._autocast():
            images: torch.Tensor = self.generate(self.latents(), None)
        return images.float()

    def make_timed(self, task: str) -> Callable[[int], float]:
        """`run(steps) -> seconds` of a task, "step" or "sample": synchronised, warmed up, captured where the mode says so."""
        step: Callable[[], Any] = getattr(self, task)
        if self.mode.graph:
            (side := torch.cuda.Stream()).wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    step()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
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
        """Count those of the convolutions and products of one step, border positions in full. Not for two passes and a penalty.

        Of a double backward PyTorch makes, and counts, more products than there are.
        """
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops()


def fastest(
    recipe: Recipe, state: TrainState, steps: int, *, task: str = "step", only: str | None = None
) -> tuple[Mode, float, Callable[[int], float]]:
    """Race the modes: the fastest one, its seconds until the first steps were done, and its `run(steps) -> seconds`.

    task: "step" or "sample". only: compare only the modes whose name has this in it. A mode that fails here is named and left
    out.
    """
    timed, modes = {}, recipe.modes(state, torch.cuda.is_available(), task)
    chosen = [mode for mode in modes if not only or only in str(mode)]
    if not chosen:
        parts = dict.fromkeys(part for mode in modes for part in str(mode).split(", "))
        raise InputError(f"--torch_mode={only}: must be in the name of a mode: {', '.join(parts)}")
    for mode in chosen:
        began = time.perf_counter()
        try:
            run = Trainer(recipe, mode, state).make_timed(task)
        except Exception as error:  # whatever a compiler may raise: a mode that does not run is skipped
            print(f"  torch {mode}: skipped, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            continue
        ready = time.perf_counter() - began
        few = max(1, min(steps, round(1.0 / run(1))))
        seconds = min(run(few) for _ in range(3)) / few
        print(f"  torch {mode}: {1e3 * seconds:.2f} ms a {task}")
        timed[mode] = (seconds, ready, run)
    if not timed:
        raise RunError("--baseline=torch: no mode of PyTorch runs here, see the lines above; leave the baseline out")
    best = min(timed, key=lambda mode: timed[mode][0])
    return best, *timed[best][1:]
