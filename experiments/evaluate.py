"""How good are the samples of a run, or any other images? Compute metrics of their features and of those of real images.

Command: python experiments/evaluate.py --workdir=runs/mnist
Evaluates the best and the final step, with EMA and with raw weights. For points in the plane it reports mode statistics
instead; for stacked digits, how many of the 1,000 modes 26,000 samples cover, and their reverse KL, beside those of a perfect
sampler.
--features=inception gives FID and KID (`make inception` first); classifier and pixels give numbers under their own names.
--npz=FILE or --folder=DIR: other images, compared with the dataset of the run or of --config.
Samples of a conditional run have the class frequencies of its data, and get metrics by class too.
--real: the baseline, real images other than those compared with. --neighbours: the samples nearest to a training image.

It first prints the expected time: on 2 cores two minutes with the classifier, and ten or more for each 10,000 images with
Inception (FID needs --num=2049 or more; KID and prdc need fewer). Then it prints a table: each metric with its standard error,
beside that of a perfect sampler, or of real images where --real was run with the same data and features. Each row goes to
results.jsonl in the workdir, or to --out=FILE, as soon as it is known. Until all rows are known, the features of a network are
kept in the user's cache: after Ctrl-C or a kill, the same command computes the rest.
"""

from collections.abc import Callable, Iterator, Sized
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from ml_collections import ConfigDict

from gan_jax.data import DENSITIES, DensityDataset, StackedDataset, Transform, has_splits, is_stacked, load_images, read_numpy
from gan_jax.errors import InputError
from gan_jax.evaluation.comparison import check_comparable, evaluate, make_reference
from gan_jax.evaluation.features import EXTRACTORS, Extractor, keeping_features, seconds_per_image
from gan_jax.evaluation.images import GeneratedImages, ImageSource, RealImages, draw_labels, draw_modes, hold_out, real_images
from gan_jax.evaluation.metrics import METRICS, find_metrics, mode_statistics
from gan_jax.evaluation.neighbours import find_neighbours
from gan_jax.evaluation.report import find_baseline, format_table
from gan_jax.evaluation.results import append_row, over_seeds
from gan_jax.evaluation.stacks import evaluate_stacks, make_judge
from gan_jax.memory import check_fits
from gan_jax.run import cli, plots
from gan_jax.run.config import check_recipe, entries_of, load_configured_images, make_configured_dataset
from gan_jax.run.evaluated import Restored, TrainedOn, as_classes, baseline_split, load_trained_on, restore_weights
from gan_jax.run.restore import restore_run, trust

_KEPT = 1024  # bytes of each sample that stay, at least: its features, label or distances

_CONFIG = cli.define_config(str(Path(__file__).parent / "configs" / "mnist.py"))
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run whose samples are evaluated.")
_DATA = flags.DEFINE_string("data", "", "The run's data.name, repeated to allow reading it, if a path.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "The run's data.dir, repeated to allow reading it, if any.")
_NPZ = flags.DEFINE_string("npz", None, "File of images to evaluate, .npy or .npz, uint8 [N, H, W, C].")
_FOLDER = flags.DEFINE_string("folder", None, "Folder of images to evaluate, read as the config says.")
_REAL = flags.DEFINE_boolean("real", False, "Evaluate other real images than those compared with: the baseline.")
_FEATURES = flags.DEFINE_enum("features", "classifier", list(EXTRACTORS), "Features of the metrics.")
_METRICS = flags.DEFINE_list(
    "metrics",
    [],
    f"Metrics; default: all that the features allow. {' '.join(f'{name}: {each.summary}' for name, each in METRICS.items())}",
)
_NUM = flags.DEFINE_integer("num", None, "Samples per seed, or other images; default: 10,000, stacks 26,000.", lower_bound=1)
_NUM_REAL = flags.DEFINE_integer("num_real", 10_000, "Real images to compare with, at most this many.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds of samples; rows have mean and SE.", lower_bound=1, upper_bound=1000)
_SPLIT = flags.DEFINE_string("split", None, "Split of the real images; default: the config's.")
_NEIGHBOURS = flags.DEFINE_boolean("neighbours", False, "Save the samples nearest to training images.")
_OUT = flags.DEFINE_string("out", None, "File that the rows are appended to; default: WORKDIR/results.jsonl.")

_MAX_QUERIES = 2000  # samples whose neighbours are searched
_LEARNED = ("classifier",)  # features that have learned from images: others may be compared with any, but for the baseline
_DEFAULT_NUM, _DEFAULT_NUM_STACKS = 10_000, 26_000  # the latter is that of VEEGAN and PacGAN
Draw = Callable[..., Any]


class Evaluated(NamedTuple):
    """Images to evaluate: their name, the fields of their row, and the images by seed."""

    name: str
    fields: dict[str, Any]
    sources: list[ImageSource]


def num_samples() -> int:
    """Return how many images of each kind are evaluated, but for stacked digits."""
    return _NUM.value or _DEFAULT_NUM


def choose_real(config: ConfigDict, trained_on: TrainedOn, *, baseline: bool) -> tuple[RealImages, str]:
    """Select real images, to compare with or for the baseline, and describe them; of a conditional run with their labels."""
    (images, labels, names), name, trained_split = trained_on, config.data.name, config.data.split
    split, at_most = _SPLIT.value or trained_split, num_samples() if baseline else _NUM_REAL.value
    if baseline and has_splits(name):
        split = baseline_split(split, trained_split)
    if split != trained_split:
        images, labels = load_configured_images(config, split)
        labels = as_classes(labels, names) if config.num_classes and names is not None else None
    select = partial(real_images, images, labels=labels, at_most=at_most)
    if has_splits(name):
        return select(), f"{name} {split}"
    if _FEATURES.value not in _LEARNED and not _REAL.value:
        chosen = select()
        return chosen, f"{name}, {len(chosen)} images of {len(images)}"
    learned, held_out = hold_out(len(images))
    if baseline:
        return select(held_out), f"{name}, {len(held_out)} held-out images of {len(images)}"
    return select(learned), f"{name}, {len(learned)} training images of {len(images)}"


def generated(restored: Restored, num: int, draw: Draw | None) -> list[ImageSource]:
    """Make the num samples of each seed; draw: the labels of those of a conditional run, by `(num, seed=)`."""
    _, _, gan, state, ema = restored
    drawn = [draw(num, seed=seed) if draw and gan.num_classes else None for seed in range(_SEEDS.value)]
    return [GeneratedImages(gan, state, seed, num, ema=ema, labels=each) for seed, each in enumerate(drawn)]


def choose_evaluated(config: ConfigDict, num: int, draw: Draw | None) -> list[Evaluated]:
    """Make the images that the flags name, samples of a run by default; num, draw: as in `generated`."""
    if _NPZ.value:
        array = read_numpy(_NPZ.value)[0]
        if array[:_MAX_QUERIES].max() <= 1:
            raise InputError(f"--npz={_NPZ.value}: grey levels must be from 0 to 255, not from {array.min()} to {array.max()}")
        return [Evaluated(_NPZ.value, {}, [real_images(array, at_most=num)])]
    if _FOLDER.value:
        data = config.data
        transform = Transform(data.image_size, data.channels, data.resize, data.background)
        array = load_images(f"folder:{_FOLDER.value}", transform)[0]
        return [Evaluated(_FOLDER.value, {"transform": transform.describe()}, [real_images(array, at_most=num)])]
    return [Evaluated(each.name, each.fields, generated(each, num, draw)) for each in restore_weights(_WORKDIR.value)]


def print_expected_time(extractor: Extractor, real: Sized, evaluated: list[Evaluated]) -> None:
    """Print how long images and features will take on this machine, by the rate of a first batch."""
    sources = [source for each in evaluated for source in each.sources]
    num, seconds = len(real) + sum(map(len, sources)), seconds_per_image(extractor, sources[0])
    time = f"{num * seconds:.0f} s" if num * seconds < 120 else f"{num * seconds / 60:.0f} min"
    print(f"features={extractor.name}: {num} images at {1 / seconds:.1f} images/s, about {time}; then the metrics", flush=True)


def evaluate_points(config: ConfigDict) -> Iterator[dict[str, Any]]:
    """Yield rows of the mode statistics of a run on points in the plane."""
    density = DENSITIES[config.data.name]()
    draw = partial(draw_modes, DensityDataset(density, 1))

    def statistics(points: Any) -> dict[str, float]:
        return mode_statistics(points, *density)._asdict()

    perfect = [statistics(density.sample(jax.random.key(seed), (num_samples(),))) for seed in range(_SEEDS.value)]
    of_perfect = {"draws": len(perfect)} | {key: over_seeds(perfect).get(key, {}) for key in ("mean", "standard_error")}
    for restored in restore_weights(_WORKDIR.value):
        points = [source[0 : len(source)] for source in generated(restored, num_samples(), draw)]
        row = restored.fields | {"samples": restored.name, "num": num_samples(), "real": config.data.name}
        yield row | over_seeds([statistics(each) for each in points]) | {"perfect_sampler": of_perfect}


def evaluate_images(config: ConfigDict, path: Path) -> Iterator[dict[str, Any]]:
    """Yield rows of the images that the flags name; the first with the distances of its neighbours, with --neighbours."""
    num_classes = 0 if _NPZ.value or _FOLDER.value else config.num_classes  # images of others have no labels
    classes = _FEATURES.value == "classifier"
    find_metrics(_METRICS.value, _FEATURES.value, classes=classes, labelled=num_classes > 0)  # refused before anything slow
    trained_on = load_trained_on(config)
    real, description = choose_real(config, trained_on, baseline=False)
    if _REAL.value:
        source, name = choose_real(config, trained_on, baseline=True)
        evaluated = [Evaluated(name, {"baseline": True}, [source])]
    else:
        draw = None if trained_on.labels is None else partial(draw_labels, trained_on.labels)
        evaluated = choose_evaluated(config, num_samples(), draw)
    others = {each.name: each.sources for each in evaluated}
    check_comparable(_METRICS.value, _FEATURES.value, real, others, description, num_classes=num_classes)
    extractor = EXTRACTORS[_FEATURES.value](*trained_on[:2])
    check_fits(4 * extractor.dimensions * num_samples(), f"--num={num_samples()}: the features")
    print_expected_time(extractor, real, evaluated)
    with keeping_features(extractor, str(path.absolute())) as keeping:
        reference = make_reference(_METRICS.value, keeping, real, description, num_classes=num_classes)
        for index, (name, fields, sources) in enumerate(evaluated):
            row = fields | evaluate(reference, sources, name)
            if _NEIGHBOURS.value and index == 0:
                row["neighbours"] = save_neighbours(sources[0], trained_on.images, path.with_name("neighbours.png"))
            yield row


def evaluate_stacked_digits(config: ConfigDict) -> Iterator[dict[str, Any]]:
    """Yield rows of the stacks that the flags name."""
    config.parallel = "jit"  # no batch is drawn, and none has to be split over the devices of this machine
    dataset, num = make_configured_dataset(config), _NUM.value or _DEFAULT_NUM_STACKS
    assert isinstance(dataset, StackedDataset)
    judge = make_judge(dataset)
    if _REAL.value:
        name = f"stacks of {len(judge.held_out)} digits that the classifier has not learned from"
        evaluated = [Evaluated(name, {}, [judge.real_stacks(num, seed) for seed in range(_SEEDS.value)])]
    else:
        evaluated = choose_evaluated(config, num, partial(draw_modes, dataset))
    print(f"the classifier is right on {judge.extractor.accuracy:.2%} of {len(judge.held_out)} held-out digits", flush=True)
    print_expected_time(judge.extractor, (), evaluated)
    for name, fields, sources in evaluated:
        row = fields | evaluate_stacks(judge, dataset, sources, name, f"{config.data.name} {config.data.split}")
        yield row


def save_neighbours(source: ImageSource, images: Any, path: Path) -> dict[str, float]:
    """Save the samples nearest to a training image, each beside it; return the distances, beside those of real images."""
    found = find_neighbours(source[0 : min(len(source), _MAX_QUERIES)], images)
    plots.save_pairs(found.samples, found.images, path)
    print(f"{path}: the {len(found.samples)} samples nearest to a training image, each beside it", flush=True)
    return found.distances


def evaluate_configured(config: ConfigDict, path: Path, *, other_images: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of what the config is about."""
    stacked, points = is_stacked(config.data.name), config.data.name in DENSITIES and not other_images
    for flag in (_FEATURES, _METRICS, _SPLIT, _NEIGHBOURS, _NUM_REAL) if stacked or points else ():
        if flag.value != flag.default:
            raise InputError(f"--{flag.name}: must be left out for {config.data.name}, of which modes are counted")
    if _SEEDS.present and other_images and not (stacked and _REAL.value):  # real stacks are drawn
        raise InputError("--seeds: must be left out with --npz, --folder and --real, which draw no samples")
    if stacked:
        return evaluate_stacked_digits(config)
    return evaluate_points(config) if points else evaluate_images(config, path)


def main() -> None:
    given = [flag.name for flag in (_REAL, _NPZ, _FOLDER) if flag.value]
    if not (_WORKDIR.value or given):
        raise InputError("--workdir: must be the folder of a run, or give images by --npz, --folder or --real, and --config")
    if _REAL.value and _NEIGHBOURS.value:
        raise InputError("--real and --neighbours: only one can be given, as real images are their own neighbours")
    if len(given) > 1:
        raise InputError(f"--{given[0]} and --{given[1]}: only one can be given")
    if not (_WORKDIR.value or _OUT.value):
        raise InputError("--out: must be a file for the rows, such as --out=results.jsonl")
    if not _WORKDIR.value and (_DATA.value or _DATA_DIR.value):
        raise InputError("--data, --data_dir: must be left out without --workdir; set --config.data.name, --config.data.dir")
    if _WORKDIR.value and cli.config_is_given():
        raise InputError("--config: must be left out with --workdir, whose run has its own")
    check_fits(_KEPT * (_NUM.value or 0), f"--num={_NUM.value}")
    path = Path(_OUT.value or Path(_WORKDIR.value) / "results.jsonl")
    if _WORKDIR.value:
        config = trust(restore_run(_WORKDIR.value)[0], _DATA.value, _DATA_DIR.value)
    else:
        config = _CONFIG.value
        check_recipe(entries_of(config))
    for row in evaluate_configured(config, path, other_images=bool(given)):
        append_row(path, row)
        images = f"{row['num']} images" if row["seeds"] == 1 else f"{row['seeds']} × {row['num']} images"
        baseline = find_baseline(path, row)
        print(f"{row['samples']}, {images}; real: {row['real']}\n{format_table(row, baseline)}", flush=True)
        print(*(f"warning: {warning}\n" for warning in row.get("warnings", ())), sep="", end="", flush=True)
    print(f"rows: {path}")


if __name__ == "__main__":
    cli.run(main)
