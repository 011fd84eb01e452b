import os
from pathlib import Path

import pytest
from test_cpus import system

from serving.runtime.memory import resident_memory, usable_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
V1 = "sys/fs/cgroup/memory"


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
def test_machine_and_cgroup(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    assert usable_memory(system(tmp_path, cgroup, files)) == expected


def test_resident_memory() -> None:
    before = resident_memory()
    block = b"x" * 50_000_000
    assert 45_000_000 < resident_memory() - before < 60_000_000 and block
