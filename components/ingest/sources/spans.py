"""Many parts of one file, read in parallel and ahead, with neighbors in one request and little in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from components.ingest.sources.members import DOWNLOADS
from serving.runtime.storage import Location

BATCH_BYTES = 4 * 2**20
AHEAD_BYTES = 128 * 2**20
_MAX_GAP = 64 * 2**10

Decode = Callable[[int, memoryview], bytes | None]


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` to `end` that hold member `at`; its content has `size` bytes."""

    at: int
    start: int
    end: int
    size: int


def read_spans(location: Location, spans: Iterable[Span], decode: Decode) -> Iterator[tuple[int, bytes | None]]:
    """Give (position, content) of members in the order in which they lie in the file.

    `decode` turns the bytes of a span into the content, in the reading threads. What is read but not yet given stays
    below AHEAD_BYTES, apart from one batch. Raises StorageError when the file cannot be read.
    """
    waiting: deque[tuple[int, Future[list[tuple[int, bytes | None]]]]] = deque()
    ahead = 0
    pool = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="spans")
    try:
        for batch in _batches(sorted(spans, key=lambda span: span.start)):
            cost = _cost(batch)
            while waiting and (ahead + cost > AHEAD_BYTES or len(waiting) >= 2 * DOWNLOADS):
                done, result = waiting.popleft()
                yield from result.result()
                ahead -= done
            waiting.append((cost, pool.submit(_read_batch, location, batch, decode)))
            ahead += cost
        while waiting:
            yield from waiting.popleft()[1].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Group neighbors; a batch is at most BATCH_BYTES long, before and after decoding, unless it is a single span."""
    batch: list[Span] = []
    size = 0
    for span in spans:
        near = bool(batch) and span.start - batch[-1].end <= _MAX_GAP
        if batch and not (near and max(span.end - batch[0].start, size + span.size) <= BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += span.size
    if batch:
        yield batch


def _cost(batch: list[Span]) -> int:
    return batch[-1].end - batch[0].start + sum(span.size for span in batch)


def _read_batch(location: Location, batch: list[Span], decode: Decode) -> list[tuple[int, bytes | None]]:
    start = batch[0].start
    block = memoryview(location.read_range(start, max(span.end for span in batch) - start))
    return [(span.at, decode(span.at, block[span.start - start : span.end - start])) for span in batch]
