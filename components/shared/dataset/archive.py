"""The images artifact: a folder of uncompressed ZIP archives, written in order and read at random."""

import hashlib
import os
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from components.shared.dataset.zip_directory import LOCAL_HEADER, read_directory
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import whole_folder


class OtherPictureError(InputError):
    """An entry is not the picture that the annotations describe."""


def check_picture(data: bytes, sha256: str, images: Path, name: str) -> None:
    """Raise OtherPictureError when `sha256`, in hex, is not that of the bytes, which lie in `images`."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise OtherPictureError(
            f"{images}: '{name}' is another picture than the one of this name in the annotations (its sha256 differs): "
            "use the images and the annotations of one data set"
        )


def _shard_name(number: int) -> str:
    return f"images-{number:05d}.zip"


class ArchiveWriter:
    """Writes `images-00000.zip`, `images-00001.zip`, ... into a folder, as a context manager.

    The folder appears complete when the block ends, and not at all when it raises. Equal entries in equal order give
    equal bytes. A new shard begins before an entry that would take the current one over `shard_bytes`.
    """

    def __init__(self, folder: Path, *, shard_bytes: int = 2**31) -> None:
        """Raises InputError when `folder` exists and is not empty."""
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._names: set[str] = set()
        self._shards = 0
        self._filled = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._partial = stack.enter_context(whole_folder(self._folder))
            self._zip = self._next_shard()
            stack.callback(lambda: self._zip.close())
            self._stack = stack.pop_all()
        return self

    def _next_shard(self) -> zipfile.ZipFile:
        path = self._partial / _shard_name(self._shards)
        self._shards += 1
        self._filled = 0
        return zipfile.ZipFile(path, "x", zipfile.ZIP_STORED)

    def add(self, name: str, data: bytes) -> None:
        """Append one entry. Raises InputError on a name that was used before or leaves the archive's root."""
        if name in self._names:
            raise InputError(f"'{name}' is already in the archive; every image needs a name of its own")
        if not name or name.startswith("/") or name.endswith("/") or ".." in name.split("/") or "\0" in name:
            raise InputError(f"'{name}' cannot be a name in an archive; write a relative path to a file")
        if self._filled and self._filled + len(data) > self._shard_bytes:
            self._zip.close()
            self._zip = self._next_shard()
        entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system = 3
        entry.external_attr = 0o644 << 16
        try:
            self._zip.writestr(entry, data)
        except UnicodeEncodeError as error:
            raise InputError(f"{name!r}: the name is not valid UTF-8; rename the file") from error
        self._names.add(name)
        self._filled += len(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class ImageArchive:
    """Random access to the entries of all `images-*.zip` of a folder.

    The directories are read once. A read is one positioned read, so an archive may be shared by threads and by
    forked workers; pickled, it is only its path and opens again where it is unpickled. The checksum of an entry, and
    its digest where one is given, is checked when it is first read.
    """

    def __init__(self, folder: Path) -> None:
        """Raises NotFoundError when there is no archive, InputError on one that is damaged, compressed or encrypted."""
        self.folder = Path(folder)
        shards = sorted(self.folder.glob("images-*.zip"))
        if not shards:
            raise NotFoundError(f"{self.folder}: no image archive (images-00000.zip, ...) in this folder")
        if [path.name for path in shards] != [_shard_name(number) for number in range(len(shards))]:
            raise InputError(f"{self.folder}: an archive is missing, found {', '.join(path.name for path in shards)}")
        self._files: list[int] = []
        self._index: dict[str, int] = {}
        tables = [self._open(number, path) for number, path in enumerate(shards)]
        table = np.concatenate(tables)
        self._shard, self._offset, self._size, self._crc = (np.ascontiguousarray(column) for column in table.T)
        self._unchecked = np.ones(len(table), dtype=bool)
        self._unverified = np.ones(len(table), dtype=bool)
        self.names: tuple[str, ...] = tuple(self._index)

    def _open(self, number: int, path: Path) -> npt.NDArray[np.int64]:
        """Open a shard, put its names into the index, return (entries, 4): shard, offset, size, CRC."""
        if not path.is_file():
            raise InputError(f"{path}: is not a file; expected an image archive")
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._files.append(file)
        names, rows = read_directory(file, path)
        for name in names:
            if name in self._index:
                raise InputError(f"{path}: '{name}' occurs twice in the archives of this folder")
            self._index[name] = len(self._index)
        shard = np.full((len(rows), 1), number, dtype=np.int64)
        return np.concatenate([shard, rows], axis=1)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def digest(self) -> str:
        """Return a sha256, in hex, over the names, sizes and checksums of all entries; no picture is read."""
        rows = np.stack([self._size, self._crc], axis=1).tolist()
        lines = sorted(f"{name}\0{size}\0{crc}\n" for name, (size, crc) in zip(self.names, rows, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.folder,)

    def read(self, name: str, sha256: str | None = None) -> bytes:
        """Return the bytes of an entry.

        Raises NotFoundError on an unknown name, InputError on damaged bytes, OtherPictureError when `sha256`, in hex,
        is not that of the bytes.
        """
        index = self._index.get(name)
        if index is None:
            raise NotFoundError(f"{self.folder}: no image '{name}' in the archive ({len(self)} images)")
        file, offset, size = self._files[self._shard[index]], int(self._offset[index]), int(self._size[index])
        guess = LOCAL_HEADER + len(name.encode()) + size
        block = os.pread(file, guess, offset)
        if len(block) < LOCAL_HEADER or block[:4] != b"PK\3\4":
            raise InputError(f"{self.folder}: '{name}' has no entry where the archive says; it is damaged")
        start = LOCAL_HEADER + int.from_bytes(block[26:28], "little") + int.from_bytes(block[28:30], "little")
        if start + size > guess:
            block += os.pread(file, start + size - guess, offset + guess)
        data = block[start : start + size]
        if len(data) != size or (self._unchecked[index] and zlib.crc32(data) != self._crc[index]):
            raise InputError(f"{self.folder}: '{name}' does not match its checksum; the archive is damaged")
        self._unchecked[index] = False
        if sha256 and self._unverified[index]:
            check_picture(data, sha256, self.folder, name)
            self._unverified[index] = False
        return data

    def __del__(self) -> None:
        for file in getattr(self, "_files", ()):
            os.close(file)
