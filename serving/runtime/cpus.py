"""The number of CPUs that this process may use; onnxruntime counts those of the host and ignores cgroup quotas."""

import os
from collections.abc import Iterator
from pathlib import Path

from serving.runtime.cgroup import read_group_files


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of whole CPUs that the affinity mask and the cgroup quotas (v1 or v2) allow, at least 1.

    Args:
        root: the folder of /proc and /sys.
    """
    return max(1, int(min([len(os.sched_getaffinity(0)), *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of this process's cgroup and of every group above it."""
    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for content in read_group_files(root, version_2="cpu.max", controller="cpu", version_1=files):
        match content.split():
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)
