"""Plot the rows of the benchmark: throughput over batch size, beside the baselines and under the roofline bound."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gan_jax.errors import InputError
from gan_jax.evaluation.results import name_rows_in_errors
from gan_jax.files import read_jsonl
from gan_jax.penalties import PENALTIES
from gan_jax.run.plots import save_figure

Panel = tuple[str, int, str, str]
LABELS = {"roofline": "roofline bound", "gan_jax": "gan_jax", "torch": "PyTorch", "flax": "Flax's own layers"}


def name_recipe(config: Mapping[str, Any]) -> str:
    """Name the objective, the penalties and D's network: 'relativistic + r1 + r2, dcgan 64'."""
    network = config["network"].get("disc", config["network"])  # the first rows have one network for both players
    options = network[network["name"]]
    size = next((f" {options[name]}" for name in ("base_width", "width", "widths", "hidden") if name in options), "")
    penalties = [name for name in PENALTIES if config.get("penalty", {}).get(name)]  # the first rows have none
    return f"{' + '.join([config['objective'].replace('_', ' '), *penalties])}, {network['name']}{size}"


def panels(rows: list[dict[str, Any]]) -> dict[Panel, dict[int, dict[str, float]]]:
    """Sort rows: (hardware, size, dtype, recipe) -> batch -> images/s by implementation, and of the roofline; one device.

    Of each, the newest row counts, whatever its number of steps per call.
    """
    chosen: dict[Panel, dict[int, dict[str, float]]] = {}
    for row in rows:
        if row["benchmark"] == "step" and row["data"] == "synthetic" and row.get("devices", 1) == 1:
            panel = chosen.setdefault((row["hardware"], row["size"], row["dtype"], name_recipe(row["config"])), {})
            bound = row["batch"] * row["config"]["disc_steps"] / max(row["bound_seconds"].values())
            panel.setdefault(row["batch"], {}).update(row["images_per_second"] | {"roofline": bound})
    return chosen


def save_throughput(path: Path) -> None:
    """Draw the rows of a file beside it, as a PNG; one panel for each hardware, size, dtype and recipe."""
    if not path.is_file():
        raise InputError(f"--plot={path}: no such file; make one with experiments/benchmark.py --out={path}")
    with name_rows_in_errors(path):
        chosen = panels(read_jsonl(path))
    if not chosen:
        raise InputError(f"--plot={path} has no row of synthetic data: measure with --data=synthetic --out={path}")
    figure = Figure(figsize=(4.5 * len(chosen), 4), layout="constrained")
    for axes, ((hardware, size, dtype, recipe), by_batch) in zip(
        figure.subplots(1, len(chosen), squeeze=False)[0], chosen.items(), strict=True
    ):
        batches = sorted(by_batch)
        for name, style in (("roofline", "--"), ("gan_jax", "o-"), ("torch", "s-"), ("flax", "^-")):
            known = [batch for batch in batches if name in by_batch[batch]]
            axes.plot(known, [by_batch[batch][name] for batch in known], style, label=LABELS[name])
        what = f"{size}×{size}, {dtype}, {recipe}"
        axes.set(title=f"{what}\n{hardware}", xlabel="batch size", ylabel="images/s")
        axes.set(xscale="log", yscale="log")
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.minorticks_off()
        axes.legend(fontsize=8)
    save_figure(figure, path.with_suffix(".png"))
    print(path.with_suffix(".png"))
