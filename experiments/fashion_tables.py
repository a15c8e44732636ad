"""Define the tables of `fashion_mnist.py`: the recipes that each compares, the numbers of others, and the columns."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from games import GAMES
from gan_jax.evaluation.results import plus_minus
from gan_jax.run.table import Recipe

COLUMNS = {
    "fid": "FID",
    "class_fid": "FID, mean of the classes",
    "classifier_frechet": "classifier Fréchet distance",
    "classifier_class_frechet": "classifier Fréchet distance, mean of the classes",
    "kid": "KID × 10³",
    "pixels_frechet": "Fréchet distance of pixels",
    "pixels_kid": "kernel distance of pixels",
    "precision": "precision",
    "recall": "recall",
    "classes_covered": "classes covered",
    "accuracy": "accuracy of labels",
    "class_coverage": "coverage, mean of the classes",
}


class Table(NamedTuple):
    """What a table compares: its title, its recipes, what their runs have beyond the metrics of all, and numbers of others.

    data: the dataset. neighbours: whether samples are held against the images trained on. published: FID by recipe.
    lines: of samples in the picture.
    """

    title: str
    recipes: tuple[Recipe, ...]
    data: str = "tfds:fashion_mnist"
    neighbours: bool = False
    published: Mapping[str, str] = MappingProxyType({})
    lines: int = 1


def _few(share: str, split: str) -> tuple[Recipe, Recipe]:
    """Make the recipes of some of the images, without augmentation and with it."""
    entries = GAMES["relativistic + R1 + R2"] | {"data.split": split, "eval_every": 0}
    augmented = entries | {"augment": "translation,cutout"}
    return Recipe(share, entries, (1,)), Recipe(f"{share}, DiffAugment", augmented, (1,))


PUBLISHED_NOTE = """\
*Lucic et al.*: 10,000 samples after 20 epochs, other networks, the best of a wide search; fewer samples make FID larger. Their
WGAN with clipped weights (21.5 ± 1.6) and BEGAN (22.9 ± 0.9) are not implemented here."""

TABLES = {
    "losses": Table(
        "Nine games on Fashion-MNIST",
        tuple(Recipe(name, entries, (1, 2)) for name, entries in GAMES.items()),
        published={
            "minimax": "29.6 ± 1.6",
            "non-saturating": "26.5 ± 1.6",
            "least squares": "30.7 ± 2.2",
            "WGAN-GP": "24.5 ± 2.1",
            "DRAGAN": "27.7 ± 1.2",
        },
    ),
    "few_images": Table(
        "Few images: Fashion-MNIST with and without DiffAugment",
        (*_few("60,000", "train"), *_few("12,000", "train[:20%]"), *_few("6,000", "train[:10%]"), *_few("600", "train[:1%]")),
        neighbours=True,
    ),
    "digits": Table(
        "500 digits of MNIST, with and without DiffAugment", _few("500", "train[:500]"), data="mnist", neighbours=True
    ),
    "labels": Table(
        "Labels: Fashion-MNIST, conditional and unconditional",
        (
            Recipe("unconditional", GAMES["relativistic + R1 + R2"], (1, 2)),
            Recipe("conditional", GAMES["relativistic + R1 + R2"] | {"num_classes": 10}, (1, 2)),
        ),
        lines=4,
    ),
}


def tabulate(rows: list[dict[str, Any]], compared: Table) -> list[dict[str, str]]:
    """Tabulate rows of one kind of features, mean ± SE over training seeds."""
    metrics = [name for name in COLUMNS if any(name in row.get("mean", {}) for row in rows)]
    lines = []
    for name in [*(recipe.name for recipe in compared.recipes), "training images"]:
        runs = list({row.get("seed"): row for row in rows if row["recipe"] == name}.values())  # the newest of each seed
        if not runs:
            continue
        complete = [row for row in runs if "mean" in row]
        diverged = f", {len(runs) - len(complete)} diverged" if len(complete) < len(runs) else ""
        line = {"images" if compared.neighbours else "game": name}
        line |= {COLUMNS[metric]: _number([row["mean"].get(metric) for row in complete], metric) for metric in metrics}
        if any("best" in row for row in rows):
            best = [row.get("best", {}).get(metrics[0]) for row in complete]
            line[f"{COLUMNS[metrics[0]]}, best step"] = _number(best, metrics[0])
        if any("neighbours" in row for row in rows):
            distances = [row["neighbours"] for row in complete if "neighbours" in row]
            line["nearest training image: median of samples (test images)"] = "".join(
                f"{each['median']:.1f} ({each['real_median']:.1f})" for each in distances[:1]
            )
        if compared.published and "fid" in metrics:
            line["FID, Lucic et al. 2018"] = compared.published.get(name, "")
        lines.append(line | {"runs": f"{len(runs)}{diverged}" if name != "training images" else ""})
    return lines


def tabulate_classes(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Tabulate the metrics of each class, mean ± SE over training seeds; nothing where no run has labels."""
    runs = list({row["seed"]: row["mean"] for row in rows if "accuracy" in row.get("mean", {})}.values())
    known = [name for name in COLUMNS if runs and f"{name}/0" in runs[0]]
    count = sum(key.startswith(f"{known[0]}/") for key in runs[0]) if known else 0
    titles = {name: COLUMNS[name].removesuffix(", mean of the classes") for name in known}
    return [
        {"class": str(label)}
        | {title: _number([run[f"{name}/{label}"] for run in runs], name) for name, title in titles.items()}
        for label in range(count)
    ]


def _number(values: list[float | None], metric: str) -> str:
    known = [value * (1e3 if metric == "kid" else 1) for value in values if value is not None]
    return plus_minus(known) if known else "–"
