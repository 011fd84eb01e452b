"""The files of a data source under the names that people gave them."""

from collections.abc import Collection, Iterator

from components.ingest.found import Tally
from serving.runtime.storage import Location, read_many

DOWNLOADS = 16


class Source:
    """All files below a folder or an `s3://` prefix.

    Attributes:
        uri: the place as the user wrote it.
        paths: the names of all files, relative to the source, sorted.
        left_out: files that have no usable name, counted by reason.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.left_out = Tally()
        self._location = Location(uri)
        self.paths: tuple[str, ...] = tuple(entry.path for entry in self._location.list())

    def read(self, path: str) -> bytes:
        """Read one file of `paths`. Raises StorageError when it cannot be read."""
        return self._location.read(path)

    def stream(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Give (path, content) of the wanted files, each once, in an order that only the source decides.

        Raises StorageError when one of them cannot be read.
        """
        yield from read_many(self._location, sorted(paths), workers=DOWNLOADS)
