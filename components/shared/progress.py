"""Progress of long work: a bar on a terminal, a log line every few seconds anywhere else."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

LINE_SECONDS = 5.0

_log = logging.getLogger(__name__)


def progress(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items unchanged and show how far the work is. `total` defaults to the length, where there is one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from tqdm(iterable, desc=description, total=total)
        return
    start = last = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= LINE_SECONDS:
            last = now
            of = f"/{total}" if total else ""
            _log.info("%s: %d%s, %.1f/s", description, done, of, done / (now - start))
    if last > start:
        _log.info("%s: %d done in %.0f s", description, done, time.monotonic() - start)
