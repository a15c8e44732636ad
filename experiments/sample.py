"""Sample from a trained generator, and save the samples as pictures.

Command: python experiments/sample.py --workdir=runs/mnist --num=64 --seed=1 --out=grid.png
Sample i depends on the seed and i alone, however many are asked for. --npz=FILE saves the samples as an array; without --out,
more than 1,024 are written in chunks, so that any number fits in memory, and the picture has 1,024 of them.
--seeds=0-7,11 draws one sample of each seed, the first that --seed would give, as single images in the folder --out (by default
WORKDIR/seeds): seed0000.png, …, as StyleGAN's generate.py does; --out=FILE.png puts them in one grid.
--interpolate draws a row of spherical interpolations for each pair of latents; with --out=FILE.gif it makes an animation in
which each of --num images goes through four latents of its own and back.
--truncation=0.7 draws each entry of a latent as if anew until it is within ±0.7. This is BigGAN's truncation; StyleGAN
truncates w, which these generators do not have. Variety falls; in one run a DCGAN's digits faded at 0.3, but not yet at 0.7.
A conditional generator's picture has a class in each row, by default every class, or those of --labels=0,1,2, and one latent
for each column, in as many whole columns as --num allows. The image in column i depends on the seed, i and its class alone.
"""

import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from gan_jax.errors import InputError, shorten
from gan_jax.files import write_atomic_bytes
from gan_jax.memory import check_fits
from gan_jax.run import cli
from gan_jax.run.animation import MAX_FRAMES, save_animation
from gan_jax.run.plots import save_image, save_samples
from gan_jax.run.restore import restore_run
from gan_jax.run.sizes import sample_bytes
from gan_jax.sampling import Grid, generate, generate_grid, grid_labels, slerp, truncate
from gan_jax.state import GAN, TrainState, generator_variables
from gan_jax.steps import example_keys, sample_latents

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_NUM = flags.DEFINE_integer("num", 64, "Number of samples.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the latents, without --seeds.", lower_bound=0, upper_bound=2**32 - 1)
_SEEDS = flags.DEFINE_string("seeds", None, "Draw one sample of each of these seeds, such as 0-7,11.")
_OUT = flags.DEFINE_string("out", None, "PNG file; with --interpolate also a GIF file, with --seeds also a folder.")
_NPZ = flags.DEFINE_string(
    "npz", None, "File for the samples, as arrays `samples`, uint8 [N, H, W, C] or float32 [N, D], and `labels`."
)
_LABELS = flags.DEFINE_list("labels", [], "Classes: one for each row of images; points take them in turn. Default: all.")
_INTERPOLATE = flags.DEFINE_boolean("interpolate", False, "Interpolate between latents, in rows of eight or in a GIF.")
_TRUNCATION = flags.DEFINE_float("truncation", None, "Largest absolute value of a latent's entries; default: none.")
_WHICH = flags.DEFINE_enum("which", "final", ["final", "best"], "The newest checkpoint, or the best by the selection metric.")
_RAW = flags.DEFINE_boolean("raw", False, "Use raw weights, although the run keeps an EMA of them.")

_COLUMNS = 8
_ENDS = 4  # latents of a walk
_MAX_SEEDS = 10_000
_SHOWN = 1024  # samples in the picture beside an array of more
_LABEL = 16  # bytes, of a label on its way to a file


def parse_labels() -> np.ndarray | None:
    """Return the labels that the flag asks for, or None."""
    if not _LABELS.value:
        return None
    if not all(label.isdecimal() and len(label) < 10 for label in _LABELS.value):
        raise InputError(f"--labels={shorten(','.join(_LABELS.value))} must be integers ≥ 0, such as 0,1,2")
    return np.array([int(label) for label in _LABELS.value])


def parse_seeds() -> list[int]:
    """Return the seeds that the flag asks for, none without it."""
    if _SEEDS.value is None:
        return []
    refusal = InputError(f"--seeds={shorten(_SEEDS.value)} must be at most {_MAX_SEEDS} seeds below 2**32, such as 0-7,11")
    seeds: list[int] = []
    for part in _SEEDS.value.split(","):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part.strip(), re.ASCII)
        if not match:
            raise refusal
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _MAX_SEEDS or last >= 2**32:
            raise refusal
        seeds += range(first, last + 1)
    if len(seeds) > _MAX_SEEDS:
        raise refusal
    return list(dict.fromkeys(seeds))


def parse_out(seeds: list[int]) -> Path:
    """Return where the pictures go, which must suit what is drawn."""
    out = Path(_OUT.value or Path(_WORKDIR.value or "") / ("seeds" if seeds else "grid.png"))
    suffixes = (".png", "") if seeds else (".png", ".gif") if _INTERPOLATE.value else (".png",)
    if out.suffix not in suffixes:
        must = {"": "be a folder", ".gif": "end in .gif", ".png": "end in .png"}
        raise InputError(f"--out={out} must {' or '.join(must[suffix] for suffix in suffixes)}")
    if seeds and _INTERPOLATE.value:
        raise InputError("--seeds and --interpolate: choose one of the two")
    return out


def draw_latents(rng: jax.Array, num: int, latent_dim: int, *, first: int = 0) -> jax.Array:
    """Draw the latents `first` to `first + num`, `[num, Z]`, truncated where the flag says so."""
    latents = sample_latents(example_keys(rng, "latents", num, first=first), latent_dim)
    return latents if _TRUNCATION.value is None else truncate(latents, _TRUNCATION.value)


def interpolations(rng: jax.Array, num: int, latent_dim: int) -> jax.Array:
    """Return latents `[num, Z]`: rows of eight from one to another."""
    ends = draw_latents(rng, 2 * -(-num // _COLUMNS), latent_dim)
    paths = jax.vmap(slerp, (0, 0, None))(ends[0::2], ends[1::2], jnp.linspace(0.0, 1.0, _COLUMNS))
    return paths.reshape(-1, latent_dim)[:num]


def walks(rng: jax.Array, num: int, latent_dim: int) -> jax.Array:
    """Return latents `[frames, num, Z]`: num walks, each through a few latents and back to its first."""
    ends = draw_latents(rng, num * _ENDS, latent_dim).reshape(num, _ENDS, latent_dim)
    fractions = jnp.linspace(0.0, 1.0, MAX_FRAMES // _ENDS, endpoint=False)
    paths = jax.vmap(jax.vmap(slerp, (0, 0, None)), (0, 0, None))(ends, jnp.roll(ends, -1, axis=1), fractions)
    return jnp.moveaxis(paths.reshape(num, -1, latent_dim), 0, 1)


def draw_rows(gan: GAN, variables: Any, rng: jax.Array, classes: np.ndarray | None) -> Grid:
    """Draw rows of interpolations, of a class each."""
    classes = np.arange(gan.num_classes) if classes is None and gan.num_classes else classes
    labels = None if classes is None else classes[np.arange(_NUM.value) // _COLUMNS % len(classes)]
    return Grid(generate(gan, variables, interpolations(rng, _NUM.value, gan.latent_dim), labels), labels, _COLUMNS)


def draw_picture(gan: GAN, variables: Any, rng: jax.Array, seeds: list[int], num: int, classes: np.ndarray | None) -> Grid:
    """Draw what the flags ask for: interpolations, a sample of each seed, or num samples."""
    if _INTERPOLATE.value:
        return draw_rows(gan, variables, rng, classes)
    columns = grid_labels(gan, num, classes)[1] or num
    of_seeds = [draw_latents(jax.random.key(seed), 1, gan.latent_dim) for seed in seeds]
    latents = jnp.concatenate(of_seeds) if seeds else draw_latents(rng, columns, gan.latent_dim)
    return generate_grid(gan, variables, latents, num, labels=classes)


def draw_in_batches(gan: GAN, variables: Any, rng: jax.Array, columns: int, labels: np.ndarray | None) -> Iterator[np.ndarray]:
    """Yield the samples of a grid in order, at most `_SHOWN` at a time; labels: of its places, or None for one row."""
    for row in range(0, columns if labels is None else len(labels), columns):
        for first in range(0, columns, _SHOWN):
            latents = draw_latents(rng, min(_SHOWN, columns - first), gan.latent_dim, first=first)
            start = row + first
            yield generate(gan, variables, latents, None if labels is None else labels[start : start + len(latents)])


def save_npz(path: Path, samples: Iterable[np.ndarray], shape: tuple[int, ...], labels: np.ndarray | None) -> None:
    """Save batches of samples, of this shape in all, as they come, and labels int `[N]`, if any: what `np.savez` writes."""
    dtype = np.dtype(np.uint8 if len(shape) == 4 else np.float32)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("samples.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for batch in samples:
                    member.write(batch.astype(dtype, copy=False).tobytes())
            if labels is not None:
                with archive.open("labels.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, labels)

    write_atomic_bytes(path, write)


def save_walk(frames: list[Grid], gan: GAN, state: TrainState, out: Path, dataset_name: str) -> None:
    """Save frames as a GIF that loops."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(len(frames))]
        for (samples, labels, columns), path in zip(frames, paths, strict=True):
            save_samples(gan, state, samples, path, dataset_name=dataset_name, labels=labels, columns=columns)
        save_animation(paths, out, holds=False)


def save_each(drawn: Grid, seeds: list[int], gan: GAN, state: TrainState, folder: Path, dataset_name: str) -> None:
    """Save what each seed has drawn in a file of its own; the classes of a conditional run side by side."""
    for index, seed in enumerate(seeds):
        path = folder / f"seed{seed:04d}.png"
        if gan.is_image:
            save_image(drawn.samples[index :: len(seeds)], path)
        else:
            labels = None if drawn.labels is None else drawn.labels[index : index + 1]
            save_samples(gan, state, drawn.samples[index : index + 1], path, dataset_name=dataset_name, labels=labels)


def main() -> None:
    if not _WORKDIR.value:
        raise InputError("--workdir must be the folder of a run, such as --workdir=runs/mnist")
    seeds = parse_seeds()
    if seeds and (_NUM.present or _SEED.present):
        raise InputError("--seeds: must be given without --num and --seed, as each seed draws one sample")
    out = parse_out(seeds)
    if _NPZ.value and not Path(_NPZ.value).name:
        raise InputError(f"--npz={_NPZ.value} must be a file, such as --npz=samples.npz")
    npz = Path(f"{str(Path(_NPZ.value)).removesuffix('.npz')}.npz") if _NPZ.value else None
    if npz and out.suffix == ".gif":
        raise InputError("--npz: an animation has no array; give --out=FILE.png")
    if _TRUNCATION.value is not None and not 0 < _TRUNCATION.value < float("inf"):
        raise InputError(f"--truncation={_TRUNCATION.value} must be a number > 0, such as 0.7; without it nothing is truncated")
    classes, rng = parse_labels(), jax.random.key(_SEED.value)
    config, gan, state = restore_run(_WORKDIR.value, _WHICH.value)
    num = _NUM.value
    if seeds:
        classes = np.arange(gan.num_classes) if classes is None and gan.num_classes else classes
        num = len(seeds) * (len(classes) if classes is not None and gan.is_image else 1)
    count = f"--seeds={_SEEDS.value}" if seeds else f"--num={num}"
    streams = npz is not None and num > _SHOWN and not (_OUT.value or seeds or _INTERPOLATE.value)
    shown = _SHOWN if streams else num
    size = sample_bytes(gan, shown * (MAX_FRAMES if out.suffix == ".gif" else 1))
    check_fits(size + (_LABEL * num if gan.num_classes else 0), count)
    ema = state.ema is not None and not _RAW.value
    variables, name = generator_variables(state, ema=ema), config.data.name
    if out.suffix == ".gif":
        columns = grid_labels(gan, num, classes)[1] or num
        of_frames = walks(rng, columns, gan.latent_dim)
        frames = [generate_grid(gan, variables, latents, num, labels=classes) for latents in of_frames]
        save_walk(frames, gan, state, out, name)
        drawn = frames[0]
    else:
        drawn = draw_picture(gan, variables, rng, seeds, shown, classes)
        if out.suffix:
            save_samples(gan, state, drawn.samples, out, dataset_name=name, labels=drawn.labels, columns=drawn.columns)
        else:
            save_each(drawn, seeds, gan, state, out, name)
    total, labels, batches = len(drawn.samples), drawn.labels, iter([drawn.samples])
    if streams:
        labels, of_grid = grid_labels(gan, num, classes)
        total = num if labels is None else len(labels)
        batches = draw_in_batches(gan, variables, rng, of_grid or num, labels)
    if npz:
        save_npz(npz, batches, (total, *gan.sample_shape), labels)
    weights = "EMA weights" if ema else "raw weights"
    files = ", ".join(str(path) for path in (out, npz) if path)
    of = f"seeds {_SEEDS.value}" if seeds else f"seed {_SEED.value}"
    print(f"{total} samples of step {int(state.step)}, {weights}, {of}: {files}")


if __name__ == "__main__":
    cli.run(main)
