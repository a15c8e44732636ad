"""Draw the rows of the benchmark: throughput over batch size, beside the peers and under the roofline.

Command: python experiments/plot_benchmark.py --rows=experiments/results/benchmark.jsonl --out=experiments/results/benchmark.png
"""

import json
from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.figure import Figure

from gan_jax.errors import InputError
from gan_jax.run import cli

_ROWS = flags.DEFINE_string("rows", "experiments/results/benchmark.jsonl", "Rows of experiments/benchmark.py.")
_OUT = flags.DEFINE_string("out", "experiments/results/benchmark.png", "The picture.")

Panel = tuple[str, int, str]


def panels(rows: list[dict[str, Any]]) -> dict[Panel, dict[int, dict[str, float]]]:
    """(hardware, size, dtype) -> batch -> images/s of each contender, and of the roofline; synthetic data, one device.

    Of each, the newest row counts, whatever its number of steps per call.
    """
    chosen: dict[Panel, dict[int, dict[str, float]]] = {}
    for row in rows:
        if row["benchmark"] == "step" and row["data"] == "synthetic" and row.get("devices", 1) == 1:
            panel = chosen.setdefault((row["hardware"], row["size"], row["dtype"]), {})
            bound = row["batch"] * row["config"]["disc_steps"] / max(row["floor_seconds"].values())
            panel.setdefault(row["batch"], {}).update(row["images_per_second"] | {"roofline": bound})
    return chosen


def save_throughput(rows: list[dict[str, Any]], path: Path) -> None:
    """One panel for each hardware, size and dtype."""
    chosen = panels(rows)
    if not chosen:
        raise InputError("--rows: no row of synthetic data to draw")
    figure = Figure(figsize=(4.5 * len(chosen), 4), layout="constrained")
    for axes, ((hardware, size, dtype), by_batch) in zip(
        figure.subplots(1, len(chosen), squeeze=False)[0], chosen.items(), strict=True
    ):
        batches = sorted(by_batch)
        for name, style in (("roofline", "--"), ("gan_jax", "o-"), ("torch", "s-"), ("flax", "^-")):
            known = [batch for batch in batches if name in by_batch[batch]]
            axes.plot(known, [by_batch[batch][name] for batch in known], style, label=name)
        axes.set(title=f"{size}×{size}, {dtype}\n{hardware}", xlabel="batch", ylabel="images/s", xscale="log", yscale="log")
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.minorticks_off()
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    path = Path(_ROWS.value)
    if not path.is_file():
        raise InputError(f"--rows={path}: no such file; make one with experiments/benchmark.py --out={path}")
    save_throughput([json.loads(line) for line in path.read_text().splitlines()], Path(_OUT.value))
    print(_OUT.value)


if __name__ == "__main__":
    cli.run(main)
