"""Files of the control groups that this process is in, of version 1 or 2, from its own group up to the root."""

from collections.abc import Iterator
from pathlib import Path


def read_group_files(root: Path, *, version_2: str, controller: str, version_1: tuple[str, ...]) -> Iterator[str]:
    """Yield what stands in a file of this process's group and of every group above it; absent files are passed over.

    Args:
        root: the folder of /proc and /sys.
        version_2: the name of the file in version 2.
        controller: in version 1, the controller that has it.
        version_1: the names of the files in version 1, whose contents are joined by a blank.
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
