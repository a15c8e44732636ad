"""Run all numerical checks of the theory, and write a page of their tables and figures: experiments/results/theory.md.

Command: make theory, or make theory FULL=1 for the long forms (python experiments/theory/run_all.py [--full] [--redraw])
"""

from pathlib import Path

import disc_steps
import divergences_of_objectives
import jensen_shannon
import local_convergence
import maximum_likelihood
import mixtures
import optimal_discriminator
import report
import saturation
from gan_jax.evaluation.results import markdown
from gan_jax.run import cli

SCRIPTS = (
    *(optimal_discriminator, divergences_of_objectives, jensen_shannon, disc_steps, saturation),
    *(maximum_likelihood, local_convergence, mixtures),
)
EXPERIMENTS = tuple(script.EXPERIMENT for script in SCRIPTS)


def page(folder: Path) -> str:
    """Return the newest row of each experiment in a folder as Markdown."""
    parts = [
        "# Numerical checks of the theory",
        "Made by `make theory` from the newest row of each experiment; [experiments/theory](../theory) explains them.",
    ]
    for number, experiment in enumerate(EXPERIMENTS, 1):
        row = report.newest_row(experiment, folder)
        name, link = experiment.name, f"{folder.name}/{experiment.name}"
        parts += [
            f"## {number}. {experiment.question}",
            markdown(experiment.table(row)),
            f"![{experiment.question}]({link}.png)",
            f"[{name}.py](../theory/{name}.py), {row['form']} form, {row['seconds']} s on {row['hardware']}, "
            f"commit {row['commit']}: [row]({link}.jsonl)",
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    folder = report.folder()
    for experiment in EXPERIMENTS:
        report.run(experiment)
    path = folder.with_suffix(".md")
    path.write_text(page(folder))
    print(f"\n{path}")


if __name__ == "__main__":
    cli.run(main)
