"""Write the rows of `accelerator.py` as a page with tables for each device."""

from collections.abc import Callable
from typing import Any

from gan_jax.evaluation.results import format_metrics, markdown


def make_page(rows: list[dict[str, Any]]) -> str:
    """Write the rows as tables, one for each device and kind of measurement."""
    text = """# Speed, precision, determinism and quality, by device

Written by `experiments/accelerator.py` from [its rows](accelerator.jsonl). Rows marked "tiny" come from --tiny,
which tests the script and measures nothing.

- benchmark: medians over timings, on images that stay on the device. A ratio is the baseline's time over ours, pair by pair of
  timings: above 1, ours is faster. The roofline bound is that of `benchmark.py`; peak memory is that of the compiled step.
  float32 is JAX's default: on GPUs since Ampere its products are in TF32, PyTorch's as well.
- data path: medians, from `benchmark_data.py`.
- precision, quality: metrics of the last evaluation, and the seconds of the whole run.
- determinism: from `reproduce.py`, which trains the same run twice, and a third time with kill -9 in the middle.
"""
    for device in dict.fromkeys(row["device"] for row in rows):
        text += f"\n## {device}\n"
        for kind, make_line in KINDS.items():
            lines = [make_line(row) for row in rows if (row["device"], _kind(row)) == (device, kind)]
            text += f"\n### {kind}\n\n{markdown(lines)}\n" if lines else ""
    return text


def _kind(row: dict[str, Any]) -> str:
    return str(row["what"] if row["what"] == "data path" else row["part"])


def _name(row: dict[str, Any]) -> str:
    return f"{row['what']}{', tiny' if row['tiny'] else ''}"


def _benchmark_line(row: dict[str, Any]) -> dict[str, Any]:
    raced = row["row"]
    mode = raced["facts"].get("torch", {}).get("mode")
    return {
        "run": f"{_name(row)}: {row['recipe']}",
        "size, batch, dtype, steps per call": f"{raced['size']}, {raced['batch']}, {raced['dtype']}, {raced['steps_per_call']}",
        "images/s": f"{raced['images_per_second']['gan_jax']:.0f}",
        "ratio to baselines": ", ".join(f"{name} {ratio['median']:.2f}" for name, ratio in raced["ratio"].items()),
        "PyTorch's fastest mode": mode or "",
        "time / roofline bound": f"{raced['over_bound']:.2f}",
        "peak MB": f"{raced['facts']['gan_jax']['peak_bytes'] / 1e6:.0f}",
    }


def _data_path_line(row: dict[str, Any]) -> dict[str, Any]:
    return {"run": _name(row)} | {name: ratio["median"] for name, ratio in row["row"]["ratios"].items()}


def _trained_line(row: dict[str, Any]) -> dict[str, Any]:
    run, name = row["row"], ", ".join([_name(row), *([row["dtype"]] if "dtype" in row else [])])
    if "ended" in run:
        return {"run": name, "steps": "", "seconds": "", "at the end": run["ended"], "losses of D and G": ""}
    losses = ", ".join(f"{loss:.4f}" for loss in run["losses"][-1]) if run["losses"] else ""
    return {
        "run": name,
        "steps": run["to_step"],
        "seconds": f"{run['seconds']:.0f}, {run['compile_seconds']:.0f} until the first step",
        "at the end": format_metrics({name: number for name, number in run["evaluation"].items() if name.startswith("eval/")}),
        "losses of D and G": f"{losses} at step {len(run['losses'])}" if losses else "",
    }


def _determinism_line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": _name(row),
        "XLA flag": row["flag"] or "none",
        "same bits": "yes" if row["row"]["status"] == 0 else "no",
        "message": row["row"]["error"],
    }


KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "benchmark": _benchmark_line,
    "data path": _data_path_line,
    "precision": _trained_line,
    "determinism": _determinism_line,
    "quality": _trained_line,
}
