"""The cache of the steps on this machine, see `components.shared.cache`: where it is, and what is removed from it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.local.kfp_docker import own_folder
from pipelines.local.one_copy import disk_bytes

KEPT_DAYS = 30
"""Entries that no run has used for so many days are removed."""


def cache_folder(home: Path) -> Path:
    """The folder of the cache, made when it is missing; containers can write there too."""
    folder = (home / "cache").absolute()
    if not folder.exists():
        folder.mkdir(parents=True)
        own_folder(folder)
    return folder


def prune_cache(home: Path, *, yes: bool, echo: Callable[[str], None] = print) -> int:
    """Removes the entries that were not used for KEPT_DAYS, and returns how many; without `yes` it only says so."""
    before = time.time() - KEPT_DAYS * 86_400
    entries = [entry for entry in (home / "cache").glob("*/*") if entry.is_dir() and entry.stat().st_mtime <= before]
    if entries:
        freed = disk_bytes(entries) / 2**20
        echo(
            f"{'removed' if yes else 'would remove'}  {len(entries)} results in {home / 'cache'}, {freed:.1f} MB, "
            f"not used for {KEPT_DAYS} days"
        )
    for entry in entries if yes else []:
        shutil.rmtree(entry)
    return len(entries)
