"""What have ten years of objectives and regularisers bought? Generator, data and time stay the same; the game changes.

Each recipe has its paper's objective and regulariser, and the Adam betas usual for it. Its learning rate is the better of
two, by the final distance of a run with seed 0; seed 0 is not reported, the other seeds are. Only training steps count towards
the time: the step times of all recipes are measured once, interleaved, and kept in a row, and give the number of steps of each.
The distance is the Fréchet distance, in a classifier's features, of 2,000 samples of the averaged generator to 3,000 digits.

Command: python experiments/ten_years.py --seconds=60 --seeds=3
There are 21 reported and 14 tuning runs of 60 s: about an hour on 2 cores with their evaluations. Writes ten_years.jsonl, .md,
.png and _samples.npz in --results, and the runs below --runs. Resumable: a run resumes from its checkpoint, and one that has
its row is not run again; --redraw writes the page and the picture from the rows alone.
"""

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from configs import mnist_dcgan
from games import GAMES
from gan_jax.errors import InputError, NonFiniteError
from gan_jax.evaluation.results import append_row, find_row, hardware, markdown, name_rows_in_errors, plus_minus
from gan_jax.files import read_jsonl, write_atomic
from gan_jax.parallel import make_step
from gan_jax.run import cli
from gan_jax.run.config import make_configured_dataset, make_gan, resolve
from gan_jax.run.loop import train
from gan_jax.run.table import Curve, add_samples, load_samples, save_table_picture, with_flags
from gan_jax.sampling import sample
from gan_jax.state import create_state, run_keys

_SECONDS = flags.DEFINE_integer("seconds", 60, "Training time of each run in seconds, from measured step times.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Reported runs of each recipe, with seeds 1, 2, ….", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 32, "Channels of G's layer next to the image; D has half as many.", lower_bound=2)
_RUNS = flags.DEFINE_string("runs", "runs/ten_years", "Folder for the runs.")
_RESULTS = flags.DEFINE_string("results", "experiments/results", "Folder for the rows, the page and the picture.")
_REDRAW = flags.DEFINE_boolean("redraw", False, "Train nothing: write the page and the picture from the rows.")

LEARNING_RATES = (2e-4, 1e-3)
TUNING_SEED = 0
DISTANCE = "eval/classifier_frechet"
REAL_DISTANCE = 5.4  # of digits that the classifier has not seen, `evaluate.py --real`
COLUMNS = {"distance": "classifier Fréchet distance", "classes": "classes covered", "confidence": "confidence"}
NUM_SAMPLES = 14  # of each recipe in the picture


class Recipe(NamedTuple):
    """What a year changed: the name of one of `GAMES`."""

    year: int
    name: str
    paper: str


RECIPES = (
    Recipe(2014, "minimax", "Goodfellow et al."),
    Recipe(2014, "non-saturating", "Goodfellow et al."),
    Recipe(2017, "least squares", "Mao et al."),
    Recipe(2017, "WGAN-GP", "Gulrajani et al."),
    Recipe(2018, "hinge + spectral norm", "Miyato et al."),
    Recipe(2018, "non-saturating + R1", "Mescheder et al."),
    Recipe(2024, "relativistic + R1 + R2", "Huang et al."),
)


def make_config(recipe: Recipe, learning_rate: float, seed: int, num_steps: int) -> ConfigDict:
    """Make the config of one run."""
    config = mnist_dcgan.get_config()
    shared = {"ema_decay": 0.998, "optimizer.learning_rate": learning_rate}
    shared |= {"network.gen.dcgan.base_width": _WIDTH.value, "network.disc.dcgan.base_width": _WIDTH.value // 2}
    evaluate_every = max(1, num_steps // 6)
    shared |= {"seed": seed, "num_steps": num_steps, "eval_every": evaluate_every, "checkpoint_every": evaluate_every}
    config.update_from_flattened_dict(shared | {"sample_every": evaluate_every} | GAMES[recipe.name])
    return config


def measure_steps(rounds: int = 5, steps: int = 20) -> dict[str, float]:
    """Return the median seconds of a step of each recipe, all measured in turn on this machine."""
    running: list[list[Any]] = []
    for recipe in RECIPES:
        config = make_config(recipe, LEARNING_RATES[0], 0, 1000)
        dataset, gan = make_configured_dataset(config), make_gan(config)
        running.append([dataset, make_step(gan, dataset, 0), create_state(gan, run_keys(0).init), 0])
    seconds: dict[str, list[float]] = {recipe.name: [] for recipe in RECIPES}
    for _ in range(rounds + 1):
        for recipe, each in zip(RECIPES, running, strict=True):
            _, step_fn, state, step = each
            began = time.perf_counter()
            for _ in range(steps):
                state, _ = step_fn(state, step)
                step += 1
            jax.block_until_ready(state)
            seconds[recipe.name].append((time.perf_counter() - began) / steps)
            each[2:] = state, step
    for dataset, *_ in running:
        dataset.close()
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}  # the first round compiles


def num_steps(recipe: Recipe, path: Path) -> int:
    """Return how many steps of a recipe fit into the seconds, by the row of step times, which is made where there is none."""
    fields = {"row": "step seconds", "width": _WIDTH.value, "hardware": hardware()}
    if not find_row(path, fields):
        append_row(path, fields | {"seconds": measure_steps()})
    row = find_row(path, fields)
    assert row is not None
    return max(1, round(_SECONDS.value / row["seconds"][recipe.name]))


def run(recipe: Recipe, learning_rate: float, seed: int, path: Path) -> dict[str, Any]:
    """Return the row of a run; train it where there is none."""
    config = make_config(recipe, learning_rate, seed, num_steps(recipe, path))  # as many steps as this machine makes
    fields = {"row": "run", "recipe": recipe.name, "learning_rate": learning_rate, "seed": seed, "width": _WIDTH.value}
    fields |= {"training_seconds": _SECONDS.value, "num_steps": config.num_steps}
    if row := find_row(path, fields):
        return row
    name = f"{recipe.name.replace(' ', '_')}-{learning_rate:g}-{seed}-width_{_WIDTH.value}-{config.num_steps}_steps"
    workdir, fields = Path(_RUNS.value) / name, fields | {"config": resolve(config)}
    try:
        state = train(config, workdir)
    except NonFiniteError as error:
        append_row(path, fields | {"ended": str(error), "distance": None})
    else:
        evaluations = {row["step"]: row for row in read_jsonl(workdir / "eval.jsonl", of_steps=True) if DISTANCE in row}
        distances, final = {str(step): row[DISTANCE] for step, row in evaluations.items()}, evaluations[config.num_steps]
        others = {"classes": final["eval/classes_covered"], "confidence": final["eval/confidence"]}
        if seed == TUNING_SEED + 1:
            samples = sample(make_gan(config), state, jax.random.key(0), NUM_SAMPLES)
            add_samples(path.with_name("ten_years_samples.npz"), with_flags(recipe.name, _WIDTH, _SECONDS), samples)
        append_row(path, fields | {"ended": "complete", "distance": final[DISTANCE], "distances": distances, **others})
    row = find_row(path, fields)
    assert row is not None
    return row


def tuned_learning_rate(rows: list[dict[str, Any]], recipe: Recipe) -> float:
    """Return the learning rate whose run with the tuning seed ended nearer to the data."""
    tuning = [row for row in rows if row["recipe"] == recipe.name and row["seed"] == TUNING_SEED]
    if not tuning:
        return LEARNING_RATES[0]
    return float(min(tuning, key=lambda row: float("inf") if row["distance"] is None else row["distance"])["learning_rate"])


def reported(rows: list[dict[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """Select the rows of a recipe that the table is made of."""
    rate = tuned_learning_rate(rows, recipe)
    runs = [row for row in rows if row["recipe"] == recipe.name and row["learning_rate"] == rate and row["seed"] != TUNING_SEED]
    return list({row["seed"]: row for row in runs}.values())  # the newest of each seed


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tabulate the runs of each recipe, mean ± SE over training seeds."""
    lines = []
    for recipe in RECIPES:
        runs = reported(rows, recipe)
        finished = [row for row in runs if row["distance"] is not None]
        diverged = f", {len(runs) - len(finished)} diverged" if len(finished) < len(runs) else ""
        numbers = {key: plus_minus([row[key] for row in finished]) if finished else "" for key in COLUMNS}
        lines.append(
            {
                "year": recipe.year,
                "game": f"{recipe.name} ({recipe.paper})",
                **{title: numbers[key] for key, title in COLUMNS.items()},
                "runs": f"{len(runs)}{diverged}",
                "steps": runs[0]["num_steps"],
                "learning rate": f"{runs[0]['learning_rate']:g}",
            }
        )
    return lines


def make_page(rows: list[dict[str, Any]]) -> str:
    """Make the page: the table, the picture and what all runs share."""
    first = rows[0]
    tuning = [
        {"game": row["recipe"], "learning rate": f"{row['learning_rate']:g}", "distance": row["distance"] or "diverged"}
        for row in rows
        if row["seed"] == TUNING_SEED
    ]
    return f"""# Ten years of objectives in the same training time

Every generator is a DCGAN with batch norm, width {first["width"]}, trained in batches of 32 on the 5,000 embedded digits at
32 × 32. Each run has {first["training_seconds"]} s of training steps on {first["hardware"]}. Its samples come from the averaged
generator (decay 0.998). The discriminator is a DCGAN of half the width, with batch norm, with spectral norm, or, where there is
a penalty, with neither. Numbers are mean ± SE over training seeds 1, 2, …; seed {TUNING_SEED} was for tuning only.
Adam's betas are those usual for each recipe. γ of R1 and R2 is 1; λ of WGAN-GP is 10, with five discriminator updates per
generator update. Real digits that the classifier has not seen have a distance of {REAL_DISTANCE} from the other digits, and a
confidence of 0.995.

Rows: [ten_years.jsonl](ten_years.jsonl), by `experiments/ten_years.py`.

{markdown(table(rows))}

![Samples of each recipe from the same latents, seed 1; below, the distance over seconds of training](ten_years.png)

The learning rates were chosen with seed {TUNING_SEED}:

{markdown(tuning)}
"""


def save_picture(rows: list[dict[str, Any]], samples: dict[str, np.ndarray], path: Path) -> None:
    """Save a row of samples for each recipe, and the distances over the seconds of training."""
    lines, curves = {}, {}
    for recipe in RECIPES:
        name = f"{recipe.year}\n{recipe.name}"
        if (key := with_flags(recipe.name, _WIDTH, _SECONDS)) in samples:  # not where the run with seed 1 diverged
            lines[name] = samples[key]
        runs = [row for row in reported(rows, recipe) if row["distance"] is not None]
        if runs:
            steps = np.array([int(step) for step in runs[0]["distances"]])
            seconds = steps * runs[0]["training_seconds"] / runs[0]["num_steps"]
            curves[name] = Curve(seconds, np.array([list(row["distances"].values()) for row in runs]))
    axes = ("seconds of training", "classifier Fréchet distance")
    save_table_picture(path, lines, curves, labels=axes, baseline=("real digits", REAL_DISTANCE))


def write_results(path: Path) -> None:
    """Write the page and the picture of the rows with these flags, and print the table."""
    settings = {"row": "run", "width": _WIDTH.value, "training_seconds": _SECONDS.value}
    rows = [row for row in read_jsonl(path) if settings.items() <= row.items()]
    with name_rows_in_errors(path):
        newest = {row["recipe"]: row["num_steps"] for row in rows}  # another machine makes other numbers of steps
        rows = [row for row in rows if row["num_steps"] == newest[row["recipe"]]]
        if missing := [recipe.name for recipe in RECIPES if not rows or not reported(rows, recipe)]:
            raise InputError(f"{path} has no reported run of {', '.join(missing)} with these flags: run without --redraw")
        text = make_page(rows)
        save_picture(rows, load_samples(path.with_name("ten_years_samples.npz")), path.with_suffix(".png"))
    write_atomic(path.with_suffix(".md"), lambda file: file.write_text(text))
    print(markdown(table(rows)))


def main() -> None:
    path = Path(_RESULTS.value) / "ten_years.jsonl"
    if not _REDRAW.value:
        tuning = [run(recipe, rate, TUNING_SEED, path) for recipe in RECIPES for rate in LEARNING_RATES]
        for seed in range(1, _SEEDS.value + 1):
            for recipe in RECIPES:
                run(recipe, tuned_learning_rate(tuning, recipe), TUNING_SEED + seed, path)
    write_results(path)


if __name__ == "__main__":
    cli.run(main, stopped=cli.KEEPS_ROWS)
