"""Are the features of our Inception those of the TorchScript module that its weights come from, and how fast is each?

Noise and real images (two photographs that scikit-learn carries, two digits) of 28 to 299 pixels, with one and three channels,
through `make_inception` and through PyTorch: its own resize, a `grid_sample` at the points of TensorFlow 1, then the module as
the wheel has it. Then rates on images of 299 pixels, one implementation after the other: interleaved, their threads would
compete.

Command: python experiments/baselines/torch_inception.py --out=experiments/results/inception.jsonl (needs `pip install
-e '.[bench]'` and `make inception`; downloads the wheel again). Expect: differences below 1e-4; a minute on 2 cores.
"""

import io
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from absl import flags
from PIL import Image
from sklearn.datasets import load_sample_images

from gan_jax.data.digits import load_digits
from gan_jax.evaluation.features.inception import SIZE, make_inception
from gan_jax.evaluation.features.inception_weights import PACKAGE, download
from gan_jax.evaluation.results import append_row, hardware
from gan_jax.run import cli

_BATCHES = flags.DEFINE_multi_integer("batch", [1, 8, 32], "Batch sizes to time.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of timings of each batch size.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "File of JSON lines that the row is appended to.")

SIZES = (28, 32, 64, 256, 299)
TOLERANCE = 1e-4

Extract = Callable[[np.ndarray], np.ndarray]


def noise(count: int, size: int, channels: int) -> np.ndarray:
    """Return noise, uint8 `[N, S, S, C]`."""
    return np.random.default_rng(size + channels).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def real_images(size: int, channels: int) -> np.ndarray:
    """Return two photographs and two digits, uint8 `[4, S, S, C]`."""
    pictures = [Image.fromarray(photograph[:400, :400]) for photograph in load_sample_images().images]
    pictures += [Image.fromarray(digit[..., 0]) for digit in load_digits()[0][[0, 2500]]]
    mode = "L" if channels == 1 else "RGB"
    resized = [np.asarray(picture.convert(mode).resize((size, size))) for picture in pictures]
    return np.stack(resized).reshape(-1, size, size, channels)


def make_torch_inception() -> Extract:
    """Make PyTorch's extractor: uint8 `[N, S, S, C]` -> float32 `[N, 2048]`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False
    module = torch.jit.load(io.BytesIO(download()), map_location=device).eval()

    @torch.inference_mode()
    def extract(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        if x.shape[-1] != SIZE:
            points = torch.arange(SIZE, dtype=torch.float64, device=device) / SIZE * 2 + 1 / x.shape[-1] - 1
            grid = torch.stack(torch.meshgrid(points, points, indexing="xy"), -1).expand(len(x), -1, -1, -1)
            x = torch.nn.functional.grid_sample(x.double(), grid, padding_mode="border", align_corners=False)
        features: np.ndarray = module(((x.float() - 128) / 128).expand(-1, 3, -1, -1)).cpu().numpy()
        return features

    return extract


def differences(ours: Extract, theirs: Extract) -> list[dict[str, Any]]:
    """Return the largest difference for each kind, size and number of channels of images, and print it."""
    comparisons = []
    for size in SIZES:
        for channels in (1, 3):
            for kind, images in (("noise", noise(4, size, channels)), ("real", real_images(size, channels))):
                expected = theirs(images)
                largest = float(np.abs(ours(images) - expected).max())
                comparisons.append({"images": kind, "size": size, "channels": channels, "max_difference": largest})
                print(f"{kind} {size}×{size}×{channels}: max difference {largest:.1e}, max feature {expected.max():.1f}")
    return comparisons


def rates(extract: Extract, batch: int) -> list[float]:
    """Return the images per second of each round, after two that are not counted."""
    images, timings = noise(batch, SIZE, 3), []
    for _ in range(_ROUNDS.value + 2):
        began = time.perf_counter()
        extract(images)
        timings.append(batch / (time.perf_counter() - began))
    return timings[2:]


def main() -> None:
    print(hardware())
    theirs, ours = make_torch_inception(), make_inception()
    comparisons = differences(ours.extract, theirs)
    worst = max(each["max_difference"] for each in comparisons)
    row: dict[str, Any] = {
        "question": "Inception beside its TorchScript module",
        "reference": {"torch": version("torch"), "module": PACKAGE, "threads": torch.get_num_threads()},
        "digest": ours.digest,
        "max_difference": worst,
        "differences": comparisons,
        "images_per_second": [],
    }
    for batch in _BATCHES.value:
        for name, extract in (("gan_jax", make_inception(batch).extract), ("torch", theirs)):
            rounds = rates(extract, batch)
            row["images_per_second"].append({"of": name, "batch": batch, "rounds": rounds})
            print(f"{name}, batch {batch}: median {np.median(rounds):.1f} images/s, best {max(rounds):.1f}")
    print(f"largest difference {worst:.1e}")
    if _OUT.value:
        append_row(_OUT.value, row)
    if not worst < TOLERANCE:
        cli.fail(f"features differ by {worst:.1e}, more than {TOLERANCE}", 1)


if __name__ == "__main__":
    cli.run(main)
