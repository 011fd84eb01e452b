"""Whether files have changed."""

from pathlib import Path


def stamp_of(*files: Path) -> tuple[int, ...]:
    """Return numbers that are others when one of the files has been written, replaced or removed."""
    stamp: list[int] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamp += [0, 0, 0]
        else:
            stamp += [status.st_mtime_ns, status.st_size, status.st_ino]
    return tuple(stamp)
