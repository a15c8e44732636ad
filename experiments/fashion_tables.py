"""Define the tables of `fashion_mnist.py`: the recipes that each compares, and the published numbers beside them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from games import GAMES
from gan_jax.run.table import Recipe


class Table(NamedTuple):
    """What a table compares: its title, its recipes, what their runs have beyond the metrics of all, and numbers of others.

    data: the dataset. neighbours: whether samples are held against the images trained on. published: FID by recipe.
    """

    title: str
    recipes: tuple[Recipe, ...]
    data: str = "tfds:fashion_mnist"
    neighbours: bool = False
    published: Mapping[str, str] = MappingProxyType({})


def _few(share: str, split: str) -> tuple[Recipe, Recipe]:
    """Make the recipes of some of the images, without augmentation and with it."""
    entries = GAMES["relativistic + R1 + R2"] | {"data.split": split, "eval_every": 0}
    augmented = entries | {"augment": "translation,cutout"}
    return Recipe(share, entries, (1,)), Recipe(f"{share}, DiffAugment", augmented, (1,))


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
    ),
}
