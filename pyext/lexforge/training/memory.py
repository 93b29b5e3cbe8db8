"""How much memory there is, and keeping what has been got."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_MEMINFO = Path("/proc/meminfo")
# A container's limit, by version 2 and by version 1. What is in use does not count against it: most
# of that are cached files, which give way.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, at most a container's limit.

    Returns:
        None where the system does not tell.
    """
    found = []
    with suppress(OSError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    for limit in _LIMITS:
        with suppress(OSError, ValueError):  # "max" is no limit
            found.append(int(limit.read_text()))
    return min(found, default=None)


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_bytes(name: str, size: int | str) -> int:
    """A number of bytes: an int, or text like "2GB", "512 MB", "1.5G", "64MiB".

    K, M, G and T are powers of 1000, Ki, Mi, Gi and Ti of 1024.

    Raises:
        ValueError: Not such a text, or not above 0; ``name`` is what the message calls it.
        TypeError: Neither an int nor a str.
    """
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(f"{name} must be a number of bytes or a text like '2GB', got {size!r}")
    if isinstance(size, int):
        found = size
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?)B?|B)\s*", size.upper())
        if match is None:
            raise ValueError(f"{name} must be like '512MB' or '2GB', got {size!r}")
        number, prefix, binary = match.groups()
        unit = 1024 ** ("KMGT".index(prefix) + 1) if binary else _UNITS[prefix or ""]
        found = int(float(number) * unit)
    if found <= 0:
        raise ValueError(f"{name} must be above 0, got {size!r}")
    return found


def show_bytes(size: int) -> str:
    """A number of bytes as `parse_bytes` reads it: 812B, 45.3MB, 3.21GB."""
    for prefix in "TGMK":
        if size >= _UNITS[prefix]:
            return f"{size / _UNITS[prefix]:.3g}{prefix}B"
    return f"{size}B"


def check_free(owner: str, needed: int, sizes: Mapping[str, Any]) -> None:
    """Refuse what cannot be made here, before anything is allocated.

    Args:
        owner: whose sizes they are. needed: bytes. sizes: what makes them so many.

    Raises:
        MemoryError: with what is needed, what is free, and the sizes.
    """
    free = available_memory()
    if free is not None and needed > free:
        told = ", ".join(f"{name}={value}" for name, value in sizes.items())
        raise MemoryError(
            f"{owner}: {told} need {show_bytes(needed)}, and {show_bytes(free)} are free"
        )


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for good (glibc; elsewhere nothing happens).

    A training step frees some hundred megabytes that the next one asks for again. Large blocks
    would go back to the system each time, which clears every page before it gives it out again.
    """
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        # Some versions refuse more than 2^25.
        if set_option(_MMAP_THRESHOLD, 2**30) or set_option(_MMAP_THRESHOLD, 2**25):
            set_option(_TRIM_THRESHOLD, 2**31 - 1)
