"""The number of CPUs that this process may use; onnxruntime counts those of the host and ignores cgroup quotas."""

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of whole CPUs that the affinity mask and the cgroup quotas (v1 or v2) allow, at least 1.

    Args:
        root: the folder of /proc and /sys.
    """
    return max(1, int(min([len(os.sched_getaffinity(0)), *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of this process's cgroup and of every group above it."""
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
                yield from _ratio(mount / group / "cpu.max")
            elif "cpu" in controllers.split(","):
                folder = mount / controllers / group
                yield from _ratio(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _ratio(*files: Path) -> Iterator[float]:
    """Yield quota / period from one file with both or from two files; nothing where there is no limit."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
    except (OSError, ValueError):
        return
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        yield int(quota) / int(period)
