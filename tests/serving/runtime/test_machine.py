import os
from pathlib import Path

import pytest

from serving.runtime.machine import resident_memory, usable_cpus, usable_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
V1 = "sys/fs/cgroup/memory"


def system(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": cgroup, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("", {}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "140000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 8),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "300000 100000", "sys/fs/cgroup/a/cpu.max": "max 100000"}, 3),
        ("0::/outside\n", {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ("0::/../other\n", {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "rubbish"}, 8),
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/x\n0::/\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            3,
        ),
        (
            "1:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            8,
        ),
    ],
)
def test_cpus_by_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert usable_cpus(system(tmp_path, cgroup, files)) == expected


def test_cpus_of_this_machine(tmp_path: Path) -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path / "no proc") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("", {}, MACHINE),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, MACHINE),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "1048576\n"}, 2**20),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "3000000"}, 3_000_000),
        ("0::/outside\n", {"sys/fs/cgroup/memory.max": "4000000"}, 4_000_000),
        ("4:memory:/m\n0::/\n", {f"{V1}/m/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("4:memory:/m\n0::/\n", {f"{V1}/m/memory.limit_in_bytes": "5000000\n"}, 5_000_000),
        ("4:memory:/m\n", {f"{V1}/memory.limit_in_bytes": "6000000\n"}, 6_000_000),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "rubbish"}, MACHINE),
    ],
)
def test_memory_of_machine_and_cgroup(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    assert usable_memory(system(tmp_path, cgroup, files)) == expected


def test_resident_memory() -> None:
    before = resident_memory()
    block = b"x" * 50_000_000
    assert 45_000_000 < resident_memory() - before < 60_000_000 and block
