"""A file on the disk or in S3 as a stream for sequential reading with read-ahead."""

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from serving.runtime.storage import Location

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FIRST_BYTES = 256 * 2**10
PART_BYTES = 8 * 2**20
PARTS_AHEAD = 3


class RangeFile(io.RawIOBase):
    """Reads `size` bytes at a location. Parts grow while the reader reads on sequentially, and are then read ahead.

    Every part is a request of its own, so a broken connection costs one part. At most PARTS_AHEAD + 1 parts are in
    memory. Reading raises StorageError when a part cannot be read.
    """

    def __init__(self, location: Location, size: int) -> None:
        super().__init__()
        self._location = location
        self._size = size
        self._position = 0
        self._part, self._part_start = b"", 0
        self._ahead: deque[tuple[int, Future[bytes]]] = deque()
        self._next = 0
        self._step = FIRST_BYTES
        self._pool = ThreadPoolExecutor(PARTS_AHEAD, thread_name_prefix="parts")

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the current offset."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the offset. What was read ahead is dropped when the new offset is far away."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if not self._part_start <= self._position <= self._next + FIRST_BYTES:
            self._ahead.clear()
            self._part, self._part_start = b"", self._position
            self._next, self._step = self._position, FIRST_BYTES
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read up to one part; 0 bytes at the end."""
        view = memoryview(buffer).cast("B")
        while not 0 <= self._position - self._part_start < len(self._part):
            if self._position >= self._size:
                return 0
            self._to_next_part()
        index = self._position - self._part_start
        data = self._part[index : index + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _to_next_part(self) -> None:
        while self._next < self._size and len(self._ahead) < (PARTS_AHEAD if self._step == PART_BYTES else 1):
            length = min(self._step, self._size - self._next)
            self._ahead.append((self._next, self._pool.submit(self._location.read_range, self._next, length)))
            self._next += length
            self._step = min(2 * self._step, PART_BYTES)
        self._part_start, part = self._ahead.popleft()
        self._part = part.result()

    def close(self) -> None:
        """End the reading threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()
