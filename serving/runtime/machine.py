"""What this process may use of the machine: CPUs and memory, within the limits of its control groups.

onnxruntime and torch count the CPUs of the host and ignore the quotas.
"""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that the affinity mask and the cgroup quotas (v1 or v2) allow, at least 1.

    A quota of one and a half counts as two: all of it is used, and the process pauses for a part of every period.

    Args:
        root: the folder of /proc and /sys.
    """
    quotas = []
    for content in _group_files(root, "cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        match content.split():
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                quotas.append(int(quota) / int(period))
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas]) + 0.5))


def usable_memory(root: Path = Path("/")) -> int:
    """Return the bytes that the machine has and the cgroup limits (v1 or v2) allow. `root` as for `usable_cpus`."""
    contents = _group_files(root, "memory", "memory.max", "memory.limit_in_bytes")
    limits = [int(content) for content in contents if content.strip().isdigit()]
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])


def resident_memory() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def release_memory() -> None:
    """Give memory that was freed back to the system, where the C library can: glibc keeps most of a model's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _group_files(root: Path, controller: str, version_2: str, *version_1: str) -> Iterator[str]:
    """Yield what stands in a file of this process's group and of every group above it; absent files are passed over.

    The file has one name in version 2 of control groups. Version 1 has a tree for each controller, and several files,
    whose contents are joined by a blank.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        below = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(below), -1, -1):
            group = "/".join(below[:depth])
            if not controllers:
                yield from _content(mount / group / version_2)
            elif controller in controllers.split(","):
                yield from _content(*(mount / controllers / group / name for name in version_1))


def _content(*files: Path) -> Iterator[str]:
    try:
        yield " ".join(file.read_text() for file in files)
    except OSError:
        return
