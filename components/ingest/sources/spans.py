"""Reads many parts of one file in parallel: neighbors in one request, ahead of the consumer, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from components.ingest.sources.members import DOWNLOADS
from serving.runtime.ordered_map import ordered_map
from serving.runtime.storage import Location

BATCH_BYTES = 4 * 2**20
AHEAD_BYTES = 128 * 2**20
_MAX_GAP = 64 * 2**10

Decode = Callable[[int, memoryview], bytes | None]


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` to `end` that hold the member at `index`; its content has `size` bytes."""

    index: int
    start: int
    end: int
    size: int


def read_spans(location: Location, spans: Iterable[Span], decode: Decode) -> Iterator[tuple[int, bytes | None]]:
    """Yield (index, content) of members in the order in which they lie in the file.

    `decode` turns the bytes of a span into the content, in the reading threads. What is read ahead stays below
    AHEAD_BYTES, or is a single batch. Raises StorageError when the file cannot be read.
    """
    batches = _batches(sorted(spans, key=lambda span: span.start))
    read = partial(_read_batch, location, decode=decode)
    for _, members in ordered_map(read, batches, workers=DOWNLOADS, ahead=AHEAD_BYTES, cost=_cost):
        yield from members


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
    """Bytes of a batch before and after decoding; at most 2 * DOWNLOADS batches are read ahead."""
    return max(batch[-1].end - batch[0].start + sum(span.size for span in batch), AHEAD_BYTES // (2 * DOWNLOADS))


def _read_batch(location: Location, batch: list[Span], decode: Decode) -> list[tuple[int, bytes | None]]:
    start = batch[0].start
    block = memoryview(location.read_range(start, max(span.end for span in batch) - start))
    return [(span.index, decode(span.index, block[span.start - start : span.end - start])) for span in batch]
