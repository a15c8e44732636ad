"""Run all numerical checks of the theory, and write a page of their tables and figures.

The short forms write below runs/theory, and their page runs/theory.md; the long forms experiments/results/theory and theory.md.

Command: make theory, or make theory FULL=1 for the long forms (python experiments/theory/run_all.py [--full] [--redraw])
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import disc_steps
import divergences_of_objectives
import gradient_signal
import jensen_shannon
import local_convergence
import maximum_likelihood
import mixtures
import mode_landscape
import optimal_discriminator
import report
import saturation
import toys
from gan_jax.evaluation.results import markdown
from gan_jax.interrupts import follow_parent
from gan_jax.run import cli

SCRIPTS = (
    *(optimal_discriminator, divergences_of_objectives, jensen_shannon, disc_steps, saturation, gradient_signal),
    *(maximum_likelihood, local_convergence, mode_landscape, mixtures, toys),
)
EXPERIMENTS = tuple(script.EXPERIMENT for script in SCRIPTS)


def page(folder: Path) -> str:
    """Return the newest row of each experiment in a folder as Markdown."""
    scripts = os.path.relpath(Path(__file__).parent, folder.parent)
    parts = [
        "# Numerical checks of the theory",
        f"Made by `make theory` (FULL=1: long forms), newest row of each; [experiments/theory]({scripts}) explains them.",
    ]
    for number, experiment in enumerate(EXPERIMENTS, 1):
        row = report.newest_row(experiment, folder)
        name, link = experiment.name, f"{folder.name}/{experiment.name}"
        parts += [
            f"## {number}. {experiment.question}",
            *filter(None, (experiment.legend,)),
            markdown(experiment.table(row)),
            f"![{experiment.question}]({link}.png)",
            f"[{name}.py]({scripts}/{name}.py), {row['form']} form, {row['seconds']} s on {row['hardware']}, "
            f"commit {row['commit']}: [row]({link}.jsonl)",
        ]
    return "\n\n".join(parts) + "\n"


def _perform(index: int, full: bool, folder: Path) -> None:
    report.perform(EXPERIMENTS[index], full=full, folder=folder)


def main() -> None:
    folder = report.folder()
    if report.is_redrawn():
        for experiment in EXPERIMENTS:
            report.run(experiment)
    else:
        # Small networks and compiling take one core each; the last experiments are the longest, and begin first.
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), follow_parent) as pool:
            list(pool.map(partial(_perform, full=report.is_full(), folder=folder), reversed(range(len(EXPERIMENTS)))))
    path = folder.parent / f"{folder.name}.md"  # with_suffix would cut a name at its dot
    path.write_text(page(folder))
    print(f"\n{path}")


if __name__ == "__main__":
    cli.run(main)
