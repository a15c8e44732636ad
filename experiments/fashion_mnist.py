"""How do the loss, the number of images, and labels change samples? Four tables, three on Fashion-MNIST.

--table=losses: nine games beside those of Lucic et al. 2018 (arXiv 1711.10337, table 2). Their FIDs, from 10,000 samples after
20 epochs with networks of InfoGAN's size, are the best of a wide search: minimax 29.6 ± 1.6, non-saturating 26.5 ± 1.6. There
is no search here.
--table=few_images: relativistic + R1 + R2 with all images, a fifth, a tenth and a hundredth, with DiffAugment and without, for
the same number of updates; also the distance of samples to their nearest training image: are they copies?
--table=digits: the same with 500 MNIST digits, with DiffAugment and without.
--table=labels: the same game with labels and without.
Networks are DCGAN's at width 32, batches have 64 images, and the learning rate is 1e-3, ten_years.py's choice for its games.
Samples come from the averaged generator and are compared with as many test images: at the last step, and at the step with the
lowest classifier Fréchet distance, as evaluated during training.

Command: python experiments/fashion_mnist.py --table=losses --features=inception
All four have been run, with the classifier's features: a run took 4 to 16 minutes on one core, and 8 to 34 on two busy ones.
The games of `losses` have FID too: Inception takes 6 minutes on 2 cores, 11 on one, for each 5,000 images (`make inception`
first); --features=classifier takes seconds, but is not FID. --table=digits needs `make mnist`.
With an accelerator, losses in full: --seeds=5 --images=1200000 (20 epochs) --features=inception --results=DIR. Not run; expect
FIDs near 19 for minimax and non-saturating, which had 19.0 and 19.2 with other settings (results/fashion_mnist.md).
Writes fashion_TABLE.jsonl (for digits, mnist_digits.jsonl), .md, .png and _samples.npz in --results, and the runs below --runs.
Resumable: a run resumes from its checkpoint, and one that has its row is not run again; --redraw writes the page and the
picture from the rows alone.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from configs import fashion_mnist
from fashion_tables import PUBLISHED_NOTE, TABLES, tabulate, tabulate_classes
from gan_jax.errors import InputError
from gan_jax.evaluation.comparison import Reference, evaluate, make_reference
from gan_jax.evaluation.features import EXTRACTORS
from gan_jax.evaluation.images import draw_labels, real_images
from gan_jax.evaluation.neighbours import find_neighbours
from gan_jax.evaluation.results import append_row, find_row, hardware_of, markdown, name_rows_in_errors
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.run import cli, plots
from gan_jax.run.config import load_configured_images
from gan_jax.run.table import Recipe, add_samples, load_samples, make_row, restored_samples, save_table_picture, with_flags

_TABLE = flags.DEFINE_enum("table", "losses", list(TABLES), "Table to make.")
_FEATURES = flags.DEFINE_enum("features", "classifier", list(EXTRACTORS), "Features that the metrics compare.")
_NUM = flags.DEFINE_integer("num", 5_000, "Samples of each run, and as many test images.", lower_bound=2)
_IMAGES = flags.DEFINE_integer("images", 300_000, "Images that D sees in each run; 60,000 are an epoch.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 32, "Channels of both networks next to the image.", lower_bound=1)
_RECIPES = flags.DEFINE_string("recipes", "", "Run only the recipes whose names contain this.")
_SEEDS = flags.DEFINE_integer("seeds", None, "Runs of each recipe, with seeds 1, 2, …; default: its table's.", lower_bound=1)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of TFDS datasets.")
_RUNS = flags.DEFINE_string("runs", "runs/fashion_mnist", "Folder for the runs.")
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder for the rows, the page and the picture.")
_REDRAW = flags.DEFINE_boolean("redraw", False, "Train nothing: write the page and the picture from the rows.")

SHOWN = 10  # samples of each recipe in the picture


def make_config(recipe: Recipe, seed: int) -> ConfigDict:
    """Make the config of one run."""
    config = fashion_mnist.get_config()
    config.data.name, config.data.dir, config.ema_decay = TABLES[_TABLE.value].data, _DATA_DIR.value, 0.998
    config.data.resize = data_name() == "mnist"  # digits are padded in any case, clothes only so
    config.network.dcgan.base_width, config.optimizer.learning_rate = _WIDTH.value, 1e-3
    recipe.make_config(config, seed)
    config.num_steps = max(1, _IMAGES.value // (config.batch_size * config.disc_steps))
    config.checkpoint_every = config.sample_every = max(1, config.num_steps // 8)
    config.eval_every = recipe.entries.get("eval_every", config.checkpoint_every)
    return config


def data_name() -> str:
    """Return the short name of the table's dataset."""
    return TABLES[_TABLE.value].data.removeprefix("tfds:")


def stem() -> str:
    """Return the name of the table's files, without suffix."""
    return f"{data_name().removesuffix('_mnist')}_{_TABLE.value}"


def settings() -> dict[str, Any]:
    """Return the fields that the rows of one table share."""
    return {"images": _IMAGES.value, "width": _WIDTH.value, "num": _NUM.value}


def samples_name(recipe: Recipe) -> str:
    """Return the name of a recipe's samples for the picture."""
    return with_flags(recipe.name, _IMAGES, _WIDTH, _NUM)


def draw_shown(workdir: Path, num_classes: int) -> np.ndarray:
    """Return samples of the last step for the picture `[SHOWN, lines * H, W, C]`; with labels, a column has one class."""
    num = SHOWN * TABLES[_TABLE.value].lines
    samples = restored_samples(workdir, num, labels=np.arange(num) % num_classes if num_classes else None)
    return np.concatenate([samples[first : first + SHOWN] for first in range(0, num, SHOWN)], axis=1)


def run(recipe: Recipe, seed: int, references: dict[int, Reference], test_labels: np.ndarray, path: Path) -> None:
    """Make the row of a run. references: by the number of classes; test_labels: int `[N]`, whose frequencies samples have."""
    config = make_config(recipe, seed)
    workdir = Path(_RUNS.value) / _TABLE.value / f"{recipe.name.replace(' ', '_').replace(',', '')}-{seed}"
    reference = references[config.num_classes]

    def evaluate_run() -> dict[str, Any]:
        labels = draw_labels(test_labels, _NUM.value, seed=0) if config.num_classes else None
        samples = restored_samples(workdir, _NUM.value, labels=labels)
        row = evaluate(reference, [samples], workdir.name)
        if config.eval_every:
            best = restored_samples(workdir, _NUM.value, "best", labels=labels)
            is_final = int(best.state.step) == int(samples.state.step)
            row["best"] = row["mean"] if is_final else evaluate(reference, [best], workdir.name)["mean"]
        if TABLES[_TABLE.value].neighbours:
            training, test = load_configured_images(config)[0], load_configured_images(config, "test")[0]
            found = find_neighbours(samples[0 : min(2000, len(samples))], training, held_out=test[:2000], pairs=SHOWN)
            plots.save_pairs(found.samples, found.images, workdir / "neighbours.png")
            shown = np.concatenate([found.samples, found.images], axis=1)
            row["neighbours"] = found.distances
        else:
            shown = draw_shown(workdir, config.num_classes)
        if seed == recipe.seeds[0]:
            add_samples(path.with_name(f"{path.stem}_samples.npz"), samples_name(recipe), shown)
        return row

    fields = {"recipe": recipe.name, "seed": seed, **settings(), "features": reference.extractor.name}
    make_row(path, fields, config, workdir, evaluate_run)


def evaluate_training_images(images: Any, reference: Reference, path: Path) -> None:
    """Add the row of the real-vs-real baseline to the file, unless it is there."""
    fields = {"recipe": "training images", **settings(), "features": reference.extractor.name}
    if not find_row(path, fields):
        append_row(path, fields | evaluate(reference, [real_images(images, at_most=_NUM.value)], "train"))


def make_page(rows: list[dict[str, Any]], name: str) -> str:
    """Make the page: a table for each kind of features, and what they have in common."""
    compared = TABLES[name]
    tables = []
    for features in dict.fromkeys(row["features"] for row in rows):
        chosen = [row for row in rows if row["features"] == features]
        tables.append(f"Features: {features} ({chosen[-1].get('preparation', '')}).\n\n{markdown(tabulate(chosen, compared))}")
        if by_class := tabulate_classes(chosen):
            tables.append(f"Class by class, of the conditional runs:\n\n{markdown(by_class)}")
    pairs = ", above the training images nearest to them" if compared.neighbours else ""
    conditional = any("num_classes" in recipe.entries for recipe in compared.recipes)
    classes = ", conditional with a class in each column" if conditional else ""
    has_best = any("best" in row for row in rows)
    best = "The best step has the lowest classifier Fréchet distance during training. " if has_best else ""
    has_fid = any("fid" in row.get("mean", {}) for row in rows)
    theirs = f"{PUBLISHED_NOTE}\n" if compared.published and has_fid else ""
    return f"""# {compared.title}

{_NUM.value} samples of the averaged generator at the last step, against as many test images; {_IMAGES.value:,} images for D
({_IMAGES.value / 60_000:.3g} epochs of 60,000), DCGAN of width {_WIDTH.value}, batch 64, learning rate 1e-3, R1 and R2 at γ 1.
{best}± is the SE over training seeds; one run has none.
Images, generated and real, are 28 × 28 with a black border of 2. *Training images*: the real-vs-real
baseline, of images that the classifier has learned from.
{theirs}\
Hardware: {"; ".join(hardware_of(rows))}.

Rows: [{stem()}.jsonl]({stem()}.jsonl), by `experiments/fashion_mnist.py --table={name}`.

{(chr(10) * 2).join(tables)}

![Samples of the first seed of each{pairs}{classes}]({stem()}.png)
"""


def write_results(path: Path) -> None:
    """Write the page and the picture of the rows with these flags, and print the table."""
    rows = [row for row in read_jsonl(path) if settings().items() <= row.items()]
    if not rows:
        raise InputError(f"{path} has no run with these flags: run without --redraw")
    with name_rows_in_errors(path):
        page = make_page(rows, _TABLE.value)
    write_atomic(path.with_suffix(".md"), partial(Path.write_text, data=page))
    samples = load_samples(path.with_name(f"{path.stem}_samples.npz"))
    recipes = [recipe for recipe in TABLES[_TABLE.value].recipes if samples_name(recipe) in samples]
    save_table_picture(path.with_suffix(".png"), {recipe.name: samples[samples_name(recipe)] for recipe in recipes})
    newest = [row for row in rows if row["features"] == rows[-1]["features"]]
    print(markdown(tabulate(newest, TABLES[_TABLE.value])))


def main() -> None:
    path = Path(_RESULTS.value) / f"{stem()}.jsonl"
    if _REDRAW.value:
        write_results(path)
        return
    chosen = [recipe for recipe in TABLES[_TABLE.value].recipes if _RECIPES.value in recipe.name]
    if not chosen:
        names = "; ".join(recipe.name for recipe in TABLES[_TABLE.value].recipes)
        raise InputError(f"--recipes={_RECIPES.value}: must be in the name of one of: {names}")
    config = make_config(Recipe("", {}, ()), 0)
    (images, labels), (test, test_labels) = load_configured_images(config), load_configured_images(config, "test")
    if _NUM.value > len(test):
        raise InputError(f"--num={_NUM.value}: must be at most {len(test)}, the number of test images")
    extractor = EXTRACTORS[_FEATURES.value](images, labels)
    references = {}
    for num_classes in sorted({make_config(recipe, 0).num_classes for recipe in chosen} | {0}):
        compared = real_images(test, labels=test_labels if num_classes else None, at_most=_NUM.value)
        references[num_classes] = make_reference((), extractor, compared, f"{data_name()} test", num_classes=num_classes)
    evaluate_training_images(images, references[0], path)
    for recipe in chosen:
        for seed in range(1, _SEEDS.value + 1) if _SEEDS.value else recipe.seeds:
            run(recipe, seed, references, np.asarray(test_labels), path)
            write_results(path)


if __name__ == "__main__":
    cli.run(main, stopped=cli.KEEPS_ROWS)
