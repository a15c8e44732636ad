"""How far does data parallelism scale, on paper? Communication of a step against its compute, for named interconnects.

The formula is that of `costs.py`. Command: python experiments/scaling.py --out=experiments/results/scaling.md
"""

from pathlib import Path

import optax
from absl import flags

from costs import Interconnect, communication, efficiency, model_flops
from gan_jax.networks import NETWORKS
from gan_jax.objectives import OBJECTIVES
from gan_jax.run import cli
from gan_jax.state import GAN, Players

_OUT = flags.DEFINE_string("out", None, "Write the page to this file, instead of showing it.")

ASSUMED_FLOPS = 200e12
"""FLOP/s of one device in the step: a fifth of an H100's bfloat16 peak of 989e12. Assumed, not measured."""

INTERCONNECTS = (
    Interconnect("NVLink 4, 450 GB/s", 450e9, 3e-6),
    Interconnect("InfiniBand NDR, 400 Gb/s", 50e9, 5e-6),
    Interconnect("Ethernet, 100 Gb/s", 12.5e9, 30e-6),
)


def page() -> str:
    """The tables of scaling.md."""
    lines = [
        "# Scaling, on paper",
        "",
        "Made by `experiments/scaling.py` with the formula of `experiments/costs.py`: predictions, nothing here is measured.",
        "DCGAN, width 64, k = 1, bfloat16 arithmetic, gradients sent in float32; the batch is each device's own. Compute is",
        f"the model's FLOPs at an assumed {ASSUMED_FLOPS / 1e12:.0f} TFLOP/s a device; latencies are assumed (3, 5 and 30 µs a",
        "hop), bandwidths are those of the data sheets. Nothing overlaps.",
    ]
    for size, batch in ((32, 256), (64, 64), (64, 256), (64, 1024)):
        optimizer = optax.adam(2e-4)
        networks = NETWORKS["dcgan"]((size, size, 3), base_width=64, dtype="bfloat16")
        gan = GAN(networks, Players(optimizer, optimizer), OBJECTIVES["non_saturating"], (size, size, 3))
        compute = model_flops(size, 3, 64, gan.latent_dim, batch) / ASSUMED_FLOPS
        lines += ["", f"## {size}×{size}, batch {batch} a device: compute {1e3 * compute:.2f} ms", ""]
        lines += ["| batch norm | sent in a step | interconnect | 8 devices | 64 | 512 |", "|---|---|---|---|---|---|"]
        for synchronised in (False, True):
            sent = communication(gan, 1, synchronised=synchronised)
            what = f"{'synchronised' if synchronised else 'local'} | {sent.bytes / 1e6:.1f} MB in {sent.messages}"
            for interconnect in INTERCONNECTS:
                shares = (f"{100 * efficiency(compute, sent, devices, interconnect):.0f} %" for devices in (8, 64, 512))
                lines.append(f"| {what} | {interconnect.name} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if _OUT.value:
        Path(_OUT.value).write_text(page())
    else:
        print(page())


if __name__ == "__main__":
    cli.run(main)
