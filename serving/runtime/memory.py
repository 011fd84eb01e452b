"""The memory that this process may use: that of the machine, or what its cgroup leaves of it."""

import os
from collections.abc import Iterator
from pathlib import Path

from serving.runtime.cgroup import read_group_files


def usable_memory(root: Path = Path("/")) -> int:
    """Return the bytes that the machine has and the cgroup limits (v1 or v2) allow.

    Args:
        root: the folder of /proc and /sys.
    """
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits(root)])


def resident_memory() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limits(root: Path) -> Iterator[int]:
    files = ("memory.limit_in_bytes",)
    for content in read_group_files(root, version_2="memory.max", controller="memory", version_1=files):
        if content.strip().isdigit():
            yield int(content)
