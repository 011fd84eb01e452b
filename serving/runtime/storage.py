"""One interface to S3 and local files: list, read, write, delete, download, upload."""

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.runtime import s3
from serving.runtime.addresses import public_address
from serving.runtime.errors import InputError, StorageError
from serving.runtime.output import whole_file
from serving.runtime.s3 import make_bucket

__all__ = ["Entry", "Location", "digest", "download", "is_s3", "make_bucket", "upload"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


def is_s3(uri: str) -> bool:
    """Tell whether a URI names something in S3 (`s3://bucket/...`)."""
    return uri.startswith("s3://")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its path below the location that was listed ("" for the location itself), size in bytes and ETag.

    Local files have no ETag; theirs is "". `fault` says why a local one cannot be read: `link` (it leads nowhere) or
    `device` (also a pipe or a socket); its size is 0 then.
    """

    path: str
    size: int
    etag: str
    fault: str | None = None


class Location:
    """A file, a folder, an S3 object or all that is below an S3 prefix.

    `uri` is `s3://bucket`, `s3://bucket/prefix`, `file:///path` or a local path. A prefix ends at a slash:
    `s3://b/faces` holds `faces/1.jpg` but not `faces2/1.jpg`.

    Raises:
        InputError: the URI is empty, names no bucket, holds a user or password, or has another scheme.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.bucket = ""
        self.key = ""
        self.folder = Path()
        if is_s3(uri):
            self.bucket, _, key = uri.removeprefix("s3://").partition("/")
            self.key = key.rstrip("/")
            if not self.bucket:
                raise InputError(f"'{uri}' names no bucket; expected s3://bucket/path")
            if "@" in self.bucket:
                raise InputError(
                    f"'{public_address(uri)}' is written with a user or a password; leave them out: the keys of S3 are "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                )
        elif not uri or (_SCHEME.match(uri) and not uri.startswith("file:///")):
            raise InputError(f"'{public_address(uri)}' is not a location; expected s3://bucket/path or a local path")
        else:
            self.folder = Path(uri.removeprefix("file://"))

    def __repr__(self) -> str:
        return f"Location({self.uri!r})"

    @property
    def name(self) -> str:
        """The last part of the path, "" for a bucket."""
        return self.key.rpartition("/")[2] if self.bucket else self.folder.name

    def list(self) -> list[Entry]:
        """List every file at or below this location, sorted by path.

        Raises:
            StorageError: the location does not exist or cannot be reached; an empty bucket or folder exists.
        """
        if self.bucket:
            objects = s3.list_objects(self.bucket, self.key)
            if objects is None:
                raise StorageError(f"{self.uri}: there is nothing at or below this key; check the path")
            entries = [Entry(*item) for item in objects]
        else:
            with _disk_errors(self.folder, "read"):
                entries = list(_walk(self.folder))
        return sorted(entries, key=lambda entry: entry.path)

    def read(self, path: str = "") -> bytes:
        """Read one whole file: the one at `path` below this location, or the location itself.

        Raises:
            StorageError: there is no such file, it cannot be reached, or `path` leads out of the location.
        """
        if self.bucket:
            return s3.read_object(self.bucket, _below(self.key, path))
        file = _inside(self.folder, path)
        with _disk_errors(file, "read"):
            return file.read_bytes()

    def read_range(self, offset: int, length: int, path: str = "") -> bytes:
        """Read `length` bytes from `offset` on of the file at `path` below this location, or of the location itself.

        Raises:
            StorageError: there is no such file, it cannot be reached, or it ends before.
        """
        if length == 0:
            return b""
        if self.bucket:
            data = s3.read_object(self.bucket, _below(self.key, path), offset, length)
        else:
            file = _inside(self.folder, path)
            with _disk_errors(file, "read"), file.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(length)
        if len(data) != length:
            uri = self.join(path).uri if path else self.uri
            raise StorageError(f"{uri}: ends before byte {offset + length}; it changed while it was read")
        return data

    def write(self, content: bytes, path: str = "") -> None:
        """Write the file at `path` below this location, or the location itself; it appears whole or not at all.

        Raises:
            StorageError: it cannot be written, or `path` leads out of the location.
            InputError: it is a folder or a device.
        """
        if self.bucket:
            s3.write_object(self.bucket, _below(self.key, _utf8(path)), content)
            return
        file = _inside(self.folder, path)
        with _disk_errors(file, "written"), whole_file(file) as partial:
            partial.write_bytes(content)

    def join(self, path: str) -> "Location":
        """Return the location at `path` below this one."""
        return Location(f"{self.uri.rstrip('/')}/{path}")

    @property
    def parent(self) -> "Location":
        """The folder that this location lies in."""
        if self.bucket:
            return Location(f"s3://{self.bucket}/{self.key.rpartition('/')[0]}")
        return Location(str(self.folder.parent))

    def delete(self, path: str = "") -> None:
        """Delete the file at `path` below this location, or the location itself; nothing happens when there is none.

        Raises:
            StorageError: it cannot be deleted, or `path` leads out of the location.
        """
        if self.bucket:
            s3.delete_object(self.bucket, _below(self.key, path))
            return
        file = _inside(self.folder, path)
        with _disk_errors(file, "deleted"):
            file.unlink(missing_ok=True)

    def exists(self) -> bool:
        """Tell whether there is a file or folder here; an object or prefix in S3.

        Raises:
            StorageError: S3 cannot be reached or may not be read.
        """
        return s3.exists(self.bucket, self.key) if self.bucket else self.folder.exists()


def download(uri: str, folder: Path, *, workers: int = 16) -> list[Path]:
    """Copy all files at or below `uri` into `folder`; every file appears whole or not at all.

    Args:
        uri: what to copy: an S3 object or prefix, a local file or folder.
        folder: where to; paths below `uri` are kept, a single file keeps its name.
        workers: parallel requests to S3.

    Returns:
        The files written, in the order of their paths.

    Raises:
        StorageError: nothing is there, it cannot be reached, or a key would lead out of `folder`.
        InputError: source and destination are the same.
    """
    source = Location(uri)
    entries = source.list()
    files = [_inside(folder, entry.path or source.name) for entry in entries]
    _refuse_same(source, Location(str(folder / source.name if source.folder.is_file() else folder)))
    with _disk_errors(folder, "written"):
        for parent in sorted({file.parent for file in files} | {folder}):
            parent.mkdir(parents=True, exist_ok=True)
        if source.bucket:
            keys = [_below(source.key, entry.path) for entry in entries]
            s3.download_objects(source.bucket, list(zip(keys, files, strict=True)), workers)
        else:
            for entry, file in zip(entries, files, strict=True):
                with whole_file(file) as partial:
                    shutil.copyfile(_inside(source.folder, entry.path), partial)
    return files


def upload(path_or_folder: Path, uri: str, *, workers: int = 16) -> int:
    """Copy a file to `uri`, or all files of a folder to below `uri`; every file appears whole or not at all.

    Args:
        path_or_folder: the local file or folder.
        uri: where to. A single file keeps its name when this ends with a slash or is a whole bucket.
        workers: parallel requests to S3.

    Returns:
        The number of files copied.

    Raises:
        StorageError: there is no such file or folder, or the destination cannot be written.
        InputError: source and destination are the same.
    """
    target = Location(uri)
    files = [(_inside(path_or_folder, entry.path), entry.path) for entry in Location(str(path_or_folder)).list()]
    if path_or_folder.is_file() and (uri.endswith("/") or (target.bucket and not target.key)):
        target = target.join(path_or_folder.name)
    _refuse_same(Location(str(path_or_folder)), target)
    if target.bucket:
        keys = [(file, _below(target.key, _utf8(path))) for file, path in files]
        s3.upload_files(target.bucket, keys, workers)
    else:
        with _disk_errors(target.folder, "written"):
            for file, path in files:
                with whole_file(_inside(target.folder, path)) as partial:
                    shutil.copyfile(file, partial)
    return len(files)


def digest(location: Location) -> str:
    """Return the sha256 of a location's listing: it changes when an object appears, disappears or changes.

    Local files have no ETag, so there a change that keeps the size is not seen.
    """
    listing = hashlib.sha256()
    for entry in location.list():
        listing.update(f"{entry.path}\0{entry.size}\0{entry.etag}\n".encode(errors="surrogateescape"))
    return listing.hexdigest()


def _walk(top: Path) -> Iterator[Entry]:
    """Yield the files below a folder, or the file itself with path ""; links are followed."""
    if top.is_file():
        yield _entry(top, "")
        return
    if not top.is_dir():
        raise StorageError(f"{top}: there is no such file or folder")
    seen: set[str] = set()
    for root, folders, names in os.walk(top, onerror=_raise, followlinks=True):
        if os.path.realpath(root) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(root))
        for name in names:
            file = Path(root, name)
            yield _entry(file, file.relative_to(top).as_posix())


def _entry(file: Path, path: str) -> Entry:
    try:
        status = file.stat()
    except OSError as error:
        if not file.is_symlink() or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return Entry(path, 0, "", "link")
    if not stat.S_ISREG(status.st_mode):
        return Entry(path, 0, "", "device")
    return Entry(path, status.st_size, "")


def _inside(folder: Path, path: str) -> Path:
    """Return the file at `path` below `folder`; refuse a path that leads elsewhere."""
    if not path:
        return folder
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise StorageError(f"{path!r} leads out of {folder} or has an empty part; rename it")
    return folder / path


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"{path!a} is not UTF-8, so it cannot be a key in S3; rename the file") from error
    return path


def _below(key: str, path: str) -> str:
    return f"{key}/{path}" if key and path else key or path


def _refuse_same(source: Location, target: Location) -> None:
    if not source.bucket and not target.bucket and source.folder.resolve() == target.folder.resolve():
        raise InputError(f"{target.uri}: source and destination are the same; choose another destination")


@contextmanager
def _disk_errors(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{error.filename or path}: cannot be {verb}: {error.strerror}") from error


def _raise(error: OSError) -> None:
    raise error
