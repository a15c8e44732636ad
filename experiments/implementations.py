"""The implementations that the benchmark compares: our step, the same with Flax's own convolutions, and PyTorch's."""

import importlib.util
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from baselines.plain_flax import with_plain_layers
from costs import count_flops
from gan_jax import Batch
from gan_jax.data import Dataset, Fetched
from gan_jax.errors import InputError, RunError
from gan_jax.networks import dcgan
from gan_jax.parallel import make_step
from gan_jax.state import GAN, Players, abstract_state, create_state, generator_variables
from gan_jax.steps import example_keys, sample_latents, train_step


@dataclass(frozen=True)
class Implementation:
    """Something that trains. ready_seconds: until its first step was done, compilation included."""

    name: str
    ready_seconds: float
    run: Callable[[int], float]
    """Seconds for that many steps, device synchronised."""
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class SyntheticImages:
    """A dataset of one step's batches, which lie on the device as the step wants them: no gather, no conversion."""

    arrays: Batch
    num_classes: int

    @property
    def batch_size(self) -> int:
        return self.arrays.images.shape[1]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.arrays.images.shape[2:]

    def fetch(self, seed: int, step: int, num_batches: int) -> Fetched:
        return {"index": np.broadcast_to(np.arange(self.batch_size), (num_batches, self.batch_size))}

    def load(self, arrays: Any, fetched: Mapping[str, Any]) -> Batch:
        # A device's part; XLA drops a slice of the whole.
        first, num = fetched["index"][0, 0], fetched["index"].shape[1]
        part: Batch = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, num, axis=1), arrays)
        return part

    def batches(self, seed: int, step: int, num_batches: int = 1) -> Batch:
        return self.load(self.arrays, self.fetch(seed, step, num_batches))

    def close(self) -> None:
        pass


def make_synthetic(gan: GAN, config: ConfigDict) -> SyntheticImages:
    """Make the batches of a step: uniform noise in [-1, 1], and labels where the recipe has them."""
    images, labels = jax.random.split(jax.random.key(config.seed))
    shape = (gan.batches_per_step, config.batch_size)
    noise = jax.random.uniform(images, (*shape, *gan.sample_shape), minval=-1.0)
    classes = jax.random.randint(labels, shape, 0, gan.num_classes) if gan.num_classes else None
    return SyntheticImages(Batch(noise, classes), gan.num_classes)


def make_implementation(
    name: str, gan: GAN, dataset: Dataset, config: ConfigDict, steps_per_call: int, devices: int
) -> Implementation:
    """Compile the step and run it once."""
    over = {"parallel": config.parallel, "sync_batch_norm": config.sync_batch_norm, "devices": jax.devices()[:devices]}
    step_fn, seed = make_step(gan, dataset, config.seed, **over), config.seed
    state = create_state(gan, jax.random.key(seed))
    step = 0

    def call() -> None:
        nonlocal state, step
        state, _ = step_fn(state, step, steps_per_call)
        step += steps_per_call

    def run(steps: int) -> float:
        jax.block_until_ready(state)
        began = time.perf_counter()
        for _ in range(steps // steps_per_call):
            call()
        jax.block_until_ready(state)
        return time.perf_counter() - began

    ready_seconds = run(steps_per_call)
    run(steps_per_call)  # the first steps of a process are slower
    compiled = step_fn.lower(state, 0, steps_per_call).compile()  # the one that has just run
    memory: Any = compiled.memory_analysis()
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes - memory.alias_size_in_bytes
    batch = jax.eval_shape(lambda: dataset.batches(seed, 0, gan.batches_per_step).images)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    least = 2 * state_bytes + batch.size * batch.dtype.itemsize // devices
    facts = {"flops": flops_of(gan, config.batch_size, border=False), "peak_bytes": peak, "least_bytes": least}
    return Implementation(name, ready_seconds, run, facts)


def make_plain(gan: GAN, dataset: Dataset, config: ConfigDict, steps_per_call: int, devices: int) -> Implementation:
    """Make the same step with Flax's own convolutions."""
    return make_implementation("flax", with_plain_layers(gan), dataset, config, steps_per_call, devices)


def make_sampler(gan: GAN, config: ConfigDict) -> Implementation:
    """Compile the drawing of a batch by the generator as it is after training, and run it once."""
    state, rng = create_state(gan, jax.random.key(config.seed)), jax.random.key(0)
    variables = generator_variables(state)

    @jax.jit
    def draw(variables: Any, number: int) -> jax.Array:
        keys = example_keys(jax.random.fold_in(rng, number), "latents", config.batch_size)
        labels = jnp.zeros(config.batch_size, jnp.int32) if gan.num_classes else None
        images: jax.Array = gan.networks.gen.apply(variables, sample_latents(keys, gan.latent_dim), labels, train=False)
        return images

    def run(steps: int) -> float:
        began = time.perf_counter()
        for number in range(steps):
            images = draw(variables, number)
        jax.block_until_ready(images)
        return time.perf_counter() - began

    ready_seconds = run(1)
    run(1)
    flops = count_flops(draw, variables, 0, border=False)
    bytes_moved = sum(leaf.nbytes for leaf in jax.tree.leaves(variables)) + draw(variables, 0).nbytes
    return Implementation("gan_jax", ready_seconds, run, {"flops": flops, "least_bytes": bytes_moved})


def check_baselines(config: ConfigDict, gan: GAN, baselines: Collection[str]) -> None:
    """Raise `InputError` where a baseline has no such recipe, or is not installed."""
    if "flax" in baselines and not all(isinstance(each, dcgan.Generator | dcgan.Discriminator) for each in gan.networks):
        raise InputError("--baseline=flax is a dcgan with Flax's own convolutions: set --config.network.name=dcgan")
    if "torch" not in baselines:
        return
    size = config.data.image_size
    players = [config.network[player].name for player in Players._fields]
    optimizers = {config.optimizer[player].name for player in Players._fields}
    penalties = {penalty.__name__ for penalty, _ in gan.penalties}
    extras = config.augment or gan.num_classes or gan.packing > 1 or gan.penalty_every > 1 or not penalties <= {"r1", "r2"}
    square = isinstance(size, int) and size & (size - 1) == 0
    if extras or "mlp" in players or optimizers != {"adam"} or not square:
        raise InputError(
            "--baseline=torch must have an unconditional network of square images whose side is a power of two, adam, no "
            "augmentation, no packing, and no penalties but r1 and r2 at every step"
        )
    if importlib.util.find_spec("torch") is None:
        raise InputError("--baseline=torch: PyTorch is not installed; install the extra: pip install -e '.[bench]'")


def make_torch(config: ConfigDict, gan: GAN, steps: int, *, task: str, only: str | None) -> Implementation:
    """Make PyTorch's own in its fastest mode, or of those with `only` in their name, once it is shown to do the same work.

    task: "step" or "sample".
    """
    from baselines import torch_step

    recipe = torch_step.Recipe(
        gan=gan,
        objective=config.objective,
        dtype=config.network.dtype,
        adam=[(player.learning_rate, player.b1, player.b2) for player in (config.optimizer.gen, config.optimizer.disc)],
        penalties={penalty.__name__: float(weight(jnp.zeros((), jnp.int32))) for penalty, weight in gan.penalties},
        real=np.asarray(make_synthetic(gan, config).arrays.images),
        ema=float(gan.ema(jnp.zeros((), jnp.int32))) if gan.ema else None,
    )
    state = create_state(gan, jax.random.key(config.seed))
    _set_torch(exact=True)
    with jax.default_matmul_precision("highest"):
        facts = same_work(recipe, state)
    _set_torch(exact=False)
    mode, ready_seconds, run = torch_step.fastest(recipe, state, steps, task=task, only=only)
    return Implementation("torch", ready_seconds, run, facts | {"mode": str(mode)})


def _set_torch(*, exact: bool) -> None:
    """Let PyTorch compile anew; on CUDA compute in float32 itself, to be compared, or as JAX does: TF32, kernels by timing."""
    import torch

    torch._dynamo.reset()  # what earlier races compiled counts towards a limit, beyond which the rest would run eagerly
    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = not exact, not exact
        torch.set_float32_matmul_precision("highest" if exact else "high")


def flops_of(gan: GAN, batch_size: int, *, border: bool = True) -> int:
    """Count the FLOPs of one step. border: see `count_flops`."""
    shape = (gan.batches_per_step, batch_size)
    images: Any = jax.ShapeDtypeStruct((*shape, *gan.sample_shape), jnp.float32)
    labels: Any = jax.ShapeDtypeStruct(shape, jnp.int32) if gan.num_classes else None
    step = partial(train_step, gan)
    return count_flops(step, abstract_state(gan), Batch(images, labels), jax.random.key(0), border=border)


def same_work(recipe: Any, state: Any) -> dict[str, Any]:
    """Hold parameters, losses and FLOPs of a step from equal weights to one another, or raise `RuntimeError`.

    Parameters are equal, losses to 1e-4 in float32, FLOPs to 5 %: spectral norm and R3GAN's filters are products on one side
    alone, and the shortcut of a ResNet's block comes here before its pixels are copied. With penalties FLOPs are noted only:
    PyTorch's double backward makes more products than there are.
    """
    import torch

    from baselines import torch_step

    gan = recipe.gan
    mode = next(mode for mode in recipe.modes(state, False) if mode.joined or not recipe.penalties)
    baseline = torch_step.Trainer(recipe, mode, state)
    counts = [sum(leaf.size for leaf in jax.tree.leaves(params)) for params in state.params]
    baseline_counts = [sum(leaf.numel() for leaf in network.parameters()) for network in (baseline.gen, baseline.disc)]
    rng = jax.random.key(0)
    step_rng = jax.random.fold_in(rng, 0)
    keys = [jax.random.fold_in(step_rng, update) for update in range(gan.disc_steps + 1)]
    latents = [np.array(sample_latents(example_keys(key, "latents", recipe.real.shape[1]), gan.latent_dim)) for key in keys]
    baseline_losses = [loss.item() for loss in baseline.step(*(torch.from_numpy(z).to(baseline.device) for z in latents))]
    batches = Batch(jnp.asarray(recipe.real))
    _, metrics = jax.jit(partial(train_step, gan))(state, batches, rng)
    penalty = sum(weight * float(metrics[f"penalty/{name}"]) for name, weight in recipe.penalties.items())
    losses = [float(metrics["loss/disc"]) + penalty, float(metrics["loss/gen"])]
    flops, baseline_flops = flops_of(gan, recipe.real.shape[1]), baseline.flops()
    facts = {
        "version": torch.__version__,
        "parameters": baseline_counts,
        "flops": {"ours": flops, "baseline": baseline_flops},
        "losses": {"ours": losses, "baseline": baseline_losses},
    }
    other = not recipe.penalties and abs(baseline_flops / flops - 1) > 0.05
    tolerance = 1e-4 if recipe.dtype == "float32" else 3e-2
    if counts != baseline_counts or other or not np.allclose(losses, baseline_losses, rtol=tolerance, atol=tolerance):
        raise RunError(f"the baseline does different work: {counts} parameters here, {facts}")
    return facts
