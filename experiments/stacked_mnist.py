"""Which game covers the 1,000 modes of Stacked MNIST? R3GAN's ablation and PacGAN's packing, on networks for a laptop.

In Huang et al. 2024 (R3GAN, table 1), with small ResNets without normalisation, RpGAN + R1 + R2 finds 1000 modes with a reverse
KL of 0.078, GAN + R1 + R2 finds 693 with 0.927, and with R1 alone both diverge. In Lin et al. 2018 (PacGAN, table 2), DCGAN
finds 99 modes with 3.40, and 1000 with 0.06 when it judges packs of two; with a D of a quarter of G's width (table 3), 79 and
485. Here each recipe has batches of 64 and 4,000 updates of D. Unless its name says otherwise, it has the networks of
configs/stacked_mnist.py, and with R1 a learning rate of 1e-3, without DCGAN's 2e-4. Adam's betas and D's norm are those usual
for each. RpGAN is the relativistic loss on pairs, GAN the non-saturating loss. Metrics are of the averaged generator at the
last step.

Command: python experiments/stacked_mnist.py --num=26000      after `make mnist`
A run took 3 to 25 minutes on 1 or 2 busy cores, pauses left out, with R3GAN's networks 40 to 50. Writes rows, page, picture and
samples in --results, and runs below --runs. Resumable: a run resumes from its checkpoint, and one that has its row is not run
again; --recipes=R1 runs those whose names contain it; --redraw writes the page and the picture from the rows alone.
"""

from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from configs import stacked_mnist
from games import GAMES
from gan_jax.data import StackedDataset
from gan_jax.errors import InputError
from gan_jax.evaluation.results import hardware_of, markdown, name_rows_in_errors, plus_minus
from gan_jax.evaluation.stacks import StackJudge, evaluate_stacks, make_judge
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.run import cli
from gan_jax.run.config import make_configured_dataset
from gan_jax.run.table import (
    Recipe,
    add_samples,
    load_samples,
    make_curve,
    make_row,
    restored_samples,
    save_table_picture,
    with_flags,
)

_NUM = flags.DEFINE_integer("num", 26_000, "Samples of each run; 26,000 is VEEGAN's and PacGAN's number.", lower_bound=1)
_UPDATES = flags.DEFINE_integer("updates", 4_000, "Discriminator updates of each run.", lower_bound=4)
_WIDTH = flags.DEFINE_integer("width", 32, "Channels of both networks next to the image.", lower_bound=1)
_DATA = flags.DEFINE_string("data", "stacked:mnist", "Dataset: stacked:mnist, or stacked:mnist5k without `make mnist`.")
_RECIPES = flags.DEFINE_string("recipes", "", "Run only the recipes whose names contain this.")
_RUNS = flags.DEFINE_string("runs", "runs/stacked_table", "Folder for the runs.")
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder for the rows, the page and the picture.")
_REDRAW = flags.DEFINE_boolean("redraw", False, "Train nothing: write the page and the picture from the rows.")

SHOWN = 10  # samples of each recipe in the picture
OBJECTIVES = {"RpGAN": "relativistic", "GAN": "non_saturating"}
DCGAN_RATE = {"optimizer.learning_rate": 2e-4}
NARROW = "D of a quarter of the width"
PUBLISHED = {
    "RpGAN + R1 + R2": "1000, 0.078",
    "GAN + R1 + R2": "693, 0.927",
    "RpGAN + R1": "diverges",
    "GAN + R1": "diverges",
    "DCGAN": "99, 3.40",
    "PacDCGAN2": "1000, 0.06",
    "WGAN-GP": "959, 0.73",
    f"DCGAN, {NARROW}": "78.5, 5.21",
    f"PacDCGAN2, {NARROW}": "484.5, 2.61",
}
"""Modes and KL of other networks, as R3GAN's and PacGAN's papers print them, by a recipe's name or the first part of it."""


def _penalised(game: str, penalties: tuple[str, ...], gamma: float, seeds: tuple[int, ...], norm: str = "batch") -> Recipe:
    """Make a recipe of R3GAN's ablation. norm: of G."""
    name = f"{' + '.join([game, *(each.upper() for each in penalties)])}, γ {gamma:g}"
    name += ", no norm in G" if norm == "none" else ""
    weights = {f"penalty.{each}": gamma if each in penalties else 0.0 for each in ("r1", "r2")}
    return Recipe(name, {"objective": OBJECTIVES[game], "network.gen.dcgan.norm": norm, **weights}, seeds)


def _residual(game: str, learning_rate: float) -> Recipe:
    """Make a recipe of that ablation on R3GAN's networks, narrow: residual, with four resolutions and no normalisation."""
    recipe = _penalised(game, BOTH, 1.0, (1,))
    networks = {"network.name": "r3gan", "network.r3gan.widths": (8, 16, 32, 64), "network.r3gan.blocks": 1}
    entries = recipe.entries | networks | {"optimizer.learning_rate": learning_rate}
    return Recipe(f"{recipe.name}, R3GAN's networks, rate {learning_rate:g}", entries, recipe.seeds)


def _narrow(recipe: Recipe) -> Recipe:
    """Make the same recipe with a D of a quarter of G's width, as in PacGAN's table 3, for one seed."""
    return Recipe(f"{recipe.name}, {NARROW}", recipe.entries, (1,))


BOTH, R1 = ("r1", "r2"), ("r1",)
DCGAN = Recipe("DCGAN", GAMES["non-saturating"] | DCGAN_RATE, (1, 2))
PACKED = Recipe("PacDCGAN2", DCGAN.entries | {"packing": 2}, (1, 2))
RECIPES = (
    _penalised("RpGAN", BOTH, 1.0, (1, 2, 3)),
    _penalised("GAN", BOTH, 1.0, (1, 2, 3)),
    _penalised("RpGAN", R1, 1.0, (1,)),
    _penalised("GAN", R1, 1.0, (1,)),
    *(_penalised(game, BOTH, 1.0, (1, 2), "none") for game in OBJECTIVES),
    *(_penalised(game, R1, 1.0, (1,), "none") for game in OBJECTIVES),
    *(_residual(game, rate) for rate in (1e-3, 2e-4) for game in OBJECTIVES),
    DCGAN,
    PACKED,
    *map(_narrow, (DCGAN, PACKED, _penalised("RpGAN", BOTH, 1.0, (1,)), _penalised("GAN", BOTH, 1.0, (1,)))),
    Recipe("WGAN-GP", GAMES["WGAN-GP"] | DCGAN_RATE, (1,)),
    Recipe("hinge + spectral norm", GAMES["hinge + spectral norm"] | DCGAN_RATE, (1,)),
    *(_penalised(game, BOTH, gamma, (1,)) for gamma in (0.1, 10.0) for game in OBJECTIVES),
    *(_penalised(game, R1, gamma, (1,)) for gamma in (0.1, 10.0) for game in OBJECTIVES),
)


def make_config(recipe: Recipe, seed: int) -> ConfigDict:
    """Make the config of one run."""
    config = stacked_mnist.get_config()
    config.data.name = _DATA.value
    config.network.dcgan.base_width = config.network.disc.dcgan.base_width = _WIDTH.value
    recipe.make_config(config, seed)
    if NARROW in recipe.name:
        config.network.disc.dcgan.base_width = max(1, _WIDTH.value // 4)
    config.num_steps = _UPDATES.value // config.disc_steps
    config.eval_every = config.checkpoint_every = config.sample_every = max(1, config.num_steps // 8)
    return config


def settings() -> dict[str, Any]:
    """Return the fields that the rows of one table share."""
    return {"data": _DATA.value, "updates": _UPDATES.value, "width": _WIDTH.value, "num": _NUM.value}


def samples_name(recipe: Recipe) -> str:
    """Return the name of a recipe's samples for the picture."""
    return with_flags(recipe.name, _DATA, _UPDATES, _WIDTH, _NUM)


def run(recipe: Recipe, seed: int, judge: StackJudge, dataset: StackedDataset, path: Path) -> None:
    """Make the row of a run, and of a first run the samples in the picture."""
    config = make_config(recipe, seed)
    workdir = Path(_RUNS.value) / f"{recipe.name.replace(' ', '_').replace('+', 'and')}-{seed}"

    def evaluate() -> dict[str, Any]:
        samples = restored_samples(workdir, _NUM.value)
        if seed == recipe.seeds[0]:
            shown = samples[0 : min(SHOWN, len(samples))]
            add_samples(path.with_name("stacked_table_samples.npz"), samples_name(recipe), shown)
        return evaluate_stacks(judge, dataset, [samples], workdir.name, f"{config.data.name} {config.data.split}")

    make_row(path, {"recipe": recipe.name, "seed": seed, **settings()}, config, workdir, evaluate)


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Tabulate the runs of each recipe that has any, mean ± SE over training seeds."""
    columns = {"modes": "modes", "kl": "reverse KL", "modes_twice": "seen twice", "modes_confident": "confident"}
    lines = []
    for recipe in RECIPES:
        runs = list({row["seed"]: row for row in rows if row["recipe"] == recipe.name}.values())  # the newest of each seed
        complete = [row for row in runs if row["ended"] == "complete"]
        if runs:
            numbers = {title: _number([row["mean"][key] for row in complete]) for key, title in columns.items()}
            alike = not any(words in recipe.name for words in ("no norm", NARROW))
            published = PUBLISHED.get(recipe.name, PUBLISHED.get(recipe.name.partition(",")[0], "") if alike else "")
            minutes = _number([row["training_seconds"] / 60 for row in complete])
            diverged = f", {len(runs) - len(complete)} diverged" if len(complete) < len(runs) else ""
            lines.append({"game": recipe.name, **numbers, "runs": f"{len(runs)}{diverged}", "published": published})
            lines[-1] |= {"minutes": minutes.partition(" ")[0]}
    return lines


def _number(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{values[0]:.0f}" if set(values) == {1000} else plus_minus(values)


def make_page(rows: list[dict[str, Any]]) -> str:
    """Make the page: the table, the picture, and what all runs share."""
    first = next(row for row in rows if row["ended"] == "complete")
    perfect, error = (first["perfect_sampler"][key] for key in ("mean", "standard_error"))
    longest = "; ".join(f"{row['recipe']}, seed {row['seed']}" for row in rows if row.get("training_seconds", 0) > 3600)
    paused = f"; more than an hour: {longest}" if longest else ""
    return f"""# Stacked MNIST: R3GAN's ablation and PacGAN's packing on networks for a laptop

{_NUM.value} samples of each run by the averaged generator at the last step, after {_UPDATES.value} discriminator updates with
batches of 64. Where the name does not say otherwise: DCGAN of width {_WIDTH.value}, G with batch norm; games with R1: no norm
in D, Adam(0, 0.99) at 1e-3; the others: Adam(0.5, 0.999) at 2e-4 (WGAN-GP: no norm in D, (0, 0.9), λ 10, k = 5). ± is the SE
over training seeds; one run has none. The classifier of single digits is right on {first["classifier_accuracy"]:.2%} of
{first["num_held_out"]} digits that it has not seen. As many samples of a perfect sampler have {perfect["modes"]:.4g} modes,
KL {perfect["kl"]:.4f} ± {error["kl"]:.1g} (SE over {first["perfect_sampler"]["draws"]} draws). *Seen twice*: modes with two
samples or more; *confident*: modes with a sample all of whose digits have a probability above 1/2.
*Published*: modes and KL reported in the papers of R3GAN (table 1) and PacGAN (table 2; with a D of a quarter of the width,
table 3; WGAN-GP: R3GAN's table 3), with other networks (R3GAN's have no normalisation) and training lengths. *R3GAN's networks*
here: residual blocks, one at each of four resolutions, 8 to 64 channels, no normalisation.
Hardware: {", or ".join(hardware_of(rows))};
minutes are wall time of training, pauses included{paused}.

Rows: [stacked_table.jsonl](stacked_table.jsonl), by `experiments/stacked_mnist.py`.

{markdown(table(rows))}

![Samples of each game, and its reverse KL over the updates](stacked_table.png)
"""


def write_results(path: Path) -> None:
    """Write the page and the picture of the rows with these flags, and print the table."""
    rows = [row for row in read_jsonl(path) if settings().items() <= row.items()]
    with name_rows_in_errors(path):
        complete = [row for row in rows if row["ended"] == "complete"]
    if not complete and not _REDRAW.value:
        print("no run with these flags is complete yet", flush=True)
        return
    if not complete:
        raise InputError(f"{path} has no complete run with these flags: run without --redraw")
    with name_rows_in_errors(path):
        page = make_page(rows)
    write_atomic(path.with_suffix(".md"), partial(Path.write_text, data=page))
    samples, curves = load_samples(path.with_name("stacked_table_samples.npz")), {}
    lines = {recipe.name: samples[samples_name(recipe)] for recipe in RECIPES if samples_name(recipe) in samples}
    with name_rows_in_errors(path):
        baseline = complete[0]["real_baseline"]["eval/kl"]
        for recipe in RECIPES:
            if runs := list({row["seed"]: row for row in complete if row["recipe"] == recipe.name}.values()):  # as in the table
                curve = make_curve(runs, "eval/kl")
                curves[recipe.name] = curve._replace(times=curve.times * recipe.entries.get("disc_steps", 1))
    labels = ("discriminator updates", "reverse KL of 6,000 samples, nats")
    save_table_picture(path.with_suffix(".png"), lines, curves, labels=labels, baseline=("real stacks", baseline))
    print(markdown(table(rows)))


def main() -> None:
    path = Path(_RESULTS.value) / "stacked_table.jsonl"
    chosen = [recipe for recipe in RECIPES if _RECIPES.value in recipe.name]
    if not chosen:
        raise InputError(f"--recipes={_RECIPES.value}: must be in the name of one of: {'; '.join(r.name for r in RECIPES)}")
    if not _REDRAW.value:
        dataset = make_configured_dataset(make_config(chosen[0], 1))
        if not isinstance(dataset, StackedDataset):
            raise InputError(f"--data={_DATA.value}: must be stacked:NAME, such as stacked:mnist5k")
        judge = make_judge(dataset)
        for recipe in chosen:
            for seed in recipe.seeds:
                run(recipe, seed, judge, dataset, path)
                write_results(path)
    write_results(path)


if __name__ == "__main__":
    cli.run(main, stopped=cli.KEEPS_ROWS)
