"""The memory of this machine, and whether something fits in it: checked before the work starts."""

import os
from contextlib import suppress
from pathlib import Path

import jax

from gan_jax.errors import InputError

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def host_bytes() -> int:
    """Return the host's memory in bytes, or the container's limit where there is one."""
    limits = [2**40]  # of a system that does not tell
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    return min(limit for limit in limits if limit > 0)


def device_bytes() -> int:
    """Return the memory of a device in bytes; a CPU's is the host's."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    return int((stats or {}).get("bytes_limit") or host_bytes())


def format_bytes(number: float) -> str:
    """Format a number of bytes as '1.5 GiB'."""
    number = min(number, 2**1000)  # what a float can have
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB" if number < 2**40 else f"{number:.1e} TiB"


def check_fits(number: int, what: str, *, memory: int | None = None, where: str = "this machine") -> None:
    """Raise `InputError` where so many bytes exceed the memory, by default the host's."""
    memory = host_bytes() if memory is None else memory
    if number > memory:
        raise InputError(f"{what} takes {format_bytes(number)}, and {where} has {format_bytes(memory)} of memory")
