"""What scripts set for their process has an effect, and the user's own choice wins; imports need no POSIX."""

import subprocess
import sys

import pytest

CACHE = """
import jax, os, pathlib
from gan_jax.run.runtime import enable_compilation_cache
enable_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x * 2)(1.0)
print(sum(path.is_file() for path in pathlib.Path(jax.config.jax_compilation_cache_dir).rglob("*")))
print(jax.config.jax_compilation_cache_dir)
"""

FAULTS = """
import ctypes, resource
from gan_jax.run.runtime import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults():
    for number in range(20):
        if number == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = libc.malloc(64 * 2**20)
        ctypes.memset(block, 1, 64 * 2**20)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
keep_freed_memory()
print(faults())
"""


def run(code, *arguments, **environment):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("own", [True, False])
def test_compiled_programs_go_to_the_users_cache_folder_or_where_the_user_says(tmp_path, own):
    environment = {"XDG_CACHE_HOME": str(tmp_path / "xdg")}
    if own:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "own")
    files, folder = run(CACHE, **environment)
    assert int(files) > 0
    assert folder == str(tmp_path / "own" if own else tmp_path / "xdg" / "gan_jax" / "compiled")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept():
    """Ten times 64 MiB are 163,840 pages of 4 KiB when each is given back, and none when they are kept."""
    given_back, kept = map(int, run(FAULTS))
    assert kept < 100 < 1000 < given_back


def test_everything_is_imported_and_the_lock_falls_back_where_there_is_no_fcntl(tmp_path):
    code = """
import pathlib, sys, types
sys.modules["fcntl"] = None  # as on Windows
import gan_jax, gan_jax.run.loop, gan_jax.run.__main__
from gan_jax.run.runtime import StopSignals, lock_workdir
calls = []
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *arguments: calls.append(arguments[1:]))
with lock_workdir(pathlib.Path(sys.argv[1])):
    print(calls)
"""
    assert run(code, str(tmp_path)) == ["[(2,", "1)]"]
