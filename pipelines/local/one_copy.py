"""One copy on the disk of files that are equal: a run's outputs, and what the local servers keep of them."""

import filecmp
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.runtime.output import whole_file

LEAST_BYTES = 2**16


def link_equal(folders: Iterable[Path], *, since: float = 0.0) -> int:
    """Replaces files that equal an earlier one by hard links to it, and returns the number of bytes that this frees.

    A program that writes such a file anew must replace it, as rclone and ours do; one that writes into it would
    change them all.

    Args:
        folders: where the files are; the first ones stay.
        since: only files that were changed after this time, in seconds since the epoch.
    """
    freed = 0
    originals: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for file in _files(folders, since):
        facts = file.stat()
        known = originals[facts.st_dev, facts.st_size]
        same = next((one for one in known if one.samefile(file) or filecmp.cmp(one, file, shallow=False)), None)
        if same is None:
            known.append(file)
        elif not same.samefile(file) and _link(same, file) and facts.st_nlink == 1:
            freed += facts.st_size
    return freed


def disk_bytes(folders: Iterable[Path]) -> int:
    """The bytes of all files, those with several names once."""
    facts = [file.lstat() for file in _files(folders, 0.0, least=0)]
    return sum({(one.st_dev, one.st_ino): one.st_size for one in facts}.values())


def _files(folders: Iterable[Path], since: float, *, least: int = LEAST_BYTES) -> Iterator[Path]:
    for folder in folders:
        for root, _, names in os.walk(folder):
            for file in (Path(root, name) for name in sorted(names)):
                if file.is_file() and not file.is_symlink():
                    facts = file.stat()
                    if facts.st_size >= least and facts.st_mtime >= since:
                        yield file


def _link(original: Path, file: Path) -> bool:
    """Whether the file system could."""
    try:
        with whole_file(file) as partial:
            os.link(original, partial)
    except OSError:
        return False
    return True
