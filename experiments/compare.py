"""Which setting is better, and is the difference larger than that between seeds? Compare runs.

Command: python experiments/compare.py runs/mnist runs/mnist_dcgan --html=compare.html, or one folder of workdirs
Runs that differ in the seed alone share one line: mean ± SE over training seeds. "best" is the step with the lowest selection
metric, whose checkpoint is kept; "final" is the last step. Columns without eval/ or samples/ come from evaluate.py: each run's
mean over latents, from the averaged generator where there is one. Runs may still be running. It takes seconds.
"""

import csv
import io

from absl import flags

from gan_jax.evaluation.results import markdown
from gan_jax.files import write_atomic_bytes
from gan_jax.run import cli
from gan_jax.run.compare import group_runs, read_runs
from gan_jax.run.page import as_numbers, as_text, make_page, tabulate, tabulate_runs

_CSV = flags.DEFINE_string("csv", "", "CSV file for the table, with a line for each setting.")
_HTML = flags.DEFINE_string("html", "", "HTML file for a page with sortable tables, curves, and samples over training.")


def write(path: str, text: str) -> None:
    """Write a file as UTF-8, and print its name."""
    write_atomic_bytes(path, lambda file: file.write(text.encode()))
    print(f"\n{path}", flush=True)


def as_csv(rows: list[dict[str, str | float]]) -> str:
    """Format the rows of a table as CSV."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def main(paths: list[str]) -> None:
    groups = group_runs(read_runs(paths))
    lines = tabulate(groups)
    print(f"Mean ± SE over training seeds.\n\n{markdown(as_text(lines))}\n\n{markdown(as_text(tabulate_runs(groups)))}")
    if _CSV.value:
        write(_CSV.value, as_csv(as_numbers(lines)))
    if _HTML.value:
        write(_HTML.value, make_page(groups))


if __name__ == "__main__":
    cli.run(main, positional=True)
