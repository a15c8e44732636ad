"""Workdirs as training leaves them, written without training, and what their comparison shows."""

import json
import re

import numpy as np
from PIL import Image

from configs import ring
from gan_jax.run import page
from gan_jax.run.config import resolve

HOSTILE = "a<script>document.title='hostile'<|script>"  # a file name has no slash
HOSTILE_ENTRY = "</script><script>document.title='hostile'</script>"


def write_rows(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_run(folder, *, module=ring, seed=0, js=(0.5, 0.2, 0.4), ended="complete", results=(), **entries):
    """A run of 30 steps, evaluated at 10, 20 and 30, with a picture there, as train.py leaves it."""
    config = module.get_config()
    config.update_from_flattened_dict({"seed": seed, "num_steps": 30} | entries)
    (folder / "samples").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(resolve(config)))
    write_rows(folder / "metrics.jsonl", [{"step": step, "value": -step, "steps_per_second": 2.0} for step in range(5, 31, 5)])
    steps = (10, 20, 30)
    rows = [{"step": step, "samples/diversity": step / 30, "eval/js": each} for step, each in zip(steps, js, strict=True)]
    write_rows(folder / "eval.jsonl", [{"step": 0, "samples/diversity": 0.0}, *rows])
    write_rows(folder / "runs.jsonl", [{"to_step": 30, "seconds": 60.0 * (seed + 1), "ended": ended}] if ended else [])
    write_rows(folder / "results.jsonl", results)
    for step in steps:
        Image.fromarray(np.full((8, 8), seed + step, np.uint8)).save(folder / "samples" / f"{step:08d}.png")
    return folder


def write_table(folder):
    """Two learning rates × two seeds; one name is hostile, and an entry that all share."""
    for seed in (0, 1):
        shared = {"seed": seed, "augment": HOSTILE_ENTRY}
        js = (0.5, 0.2 + 0.2 * seed, 0.6)
        write_run(folder / f"{HOSTILE}{seed}", js=js, **shared, **{"optimizer.learning_rate": 1e-3})
        write_run(folder / f"b{seed}", js=(0.9, 0.8, 0.7), **shared)
    return folder


def shown(groups):
    return page.as_text(page.tabulate(groups))


def data_of(text):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(data)
