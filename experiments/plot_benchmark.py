"""Draw the rows of the benchmark: throughput over batch size, beside the peers and under the roofline.

Command: python experiments/plot_benchmark.py --rows=experiments/results/benchmark.jsonl --out=experiments/results/benchmark.png
The newest row counts where a combination was measured more than once.
"""

import json
from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.figure import Figure

from gan_jax import cli
from gan_jax.errors import InputError

_ROWS = flags.DEFINE_string("rows", "experiments/results/benchmark.jsonl", "Rows of experiments/benchmark.py.")
_OUT = flags.DEFINE_string("out", "experiments/results/benchmark.png", "The picture.")

Panel = tuple[str, int, str]


def panels(rows: list[dict[str, Any]]) -> dict[Panel, dict[int, dict[str, Any]]]:
    """(hardware, size, dtype) -> batch -> the newest row of the fastest number of steps per call, synthetic data."""
    chosen: dict[Panel, dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["benchmark"] != "step" or row["data"] != "synthetic":
            continue
        panel = chosen.setdefault((row["hardware"], row["size"], row["dtype"]), {})
        other = panel.get(row["batch"], row)
        newer = other["steps_per_call"] == row["steps_per_call"]
        if newer or row["images_per_second"]["gan_jax"] > other["images_per_second"]["gan_jax"]:
            panel[row["batch"]] = row
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
        for name, marker in (("gan_jax", "o"), ("torch", "s"), ("flax", "^")):
            known = [batch for batch in batches if name in by_batch[batch]["images_per_second"]]
            axes.plot(known, [by_batch[batch]["images_per_second"][name] for batch in known], marker=marker, label=name)
        for bound in ("flops", "bytes"):
            ceiling = [
                batch * by_batch[batch]["config"]["disc_steps"] / by_batch[batch]["floor_seconds"][bound] for batch in batches
            ]
            axes.plot(
                batches, ceiling, linestyle="--", color="grey" if bound == "flops" else "silver", label=f"roofline: {bound}"
            )
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
