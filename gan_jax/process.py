"""What a process that trains sets once: a cache of compiled programs, and memory that is kept for the next step."""

import ctypes
import os
import sys
from pathlib import Path

import jax

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # glibc, malloc.h


def cache_dir() -> Path:
    """The user's cache folder for gan_jax: `$XDG_CACHE_HOME/gan_jax`, by default `~/.cache/gan_jax`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_jax"


def keep_compiled_programs() -> None:
    """Let a second start find what the first one compiled; the user's own `JAX_COMPILATION_CACHE_DIR` goes first."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: given back and asked for again, every page of it would be cleared at every step.

    XLA:CPU allocates its buffers anew at each call: up to a fifth of a DCGAN step. Without glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**28)
        mallopt(_M_ARENA_MAX, 1)  # XLA's own threads too: their arenas give large blocks back whatever the threshold
