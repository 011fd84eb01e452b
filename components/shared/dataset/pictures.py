"""Pictures without annotations: a folder tree, one ZIP archive, or the archives that ingest wrote."""

import logging
import lzma
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from PIL import Image

from components.shared.dataset.archive import ImageArchive, check_picture
from components.shared.dataset.text import is_hidden, printable
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.header import FORMATS

MAX_FILE_BYTES = 512 * 2**20
"""A larger image, or a larger file of any kind in an archive, is not read: it is not a photo."""

_EXAMPLES = 5
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
_log = logging.getLogger(__name__)


class Pictures(Protocol):
    """Pictures by name."""

    names: tuple[str, ...]

    def read(self, name: str, sha256: str | None = None) -> bytes:
        """Return the bytes of a picture; threads may call it.

        Raises ImageError when it cannot be read, OtherPictureError when `sha256`, in hex, is not that of the bytes.
        """


class _Tree:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = tuple(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())

    def read(self, name: str, sha256: str | None = None) -> bytes:
        data = (self._folder / name).read_bytes()
        if sha256:
            check_picture(data, sha256, self._folder, name)
        return data


class _Zip:
    """The members of a ZIP archive, compressed or not."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{path}: neither a folder of pictures nor a ZIP archive of them: {error}") from error
        self._path = path
        self._lock = threading.Lock()
        self.names = tuple(info.filename for info in self._archive.infolist() if not info.is_dir())
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise InputError(f"{path}: '{printable(repeated[0])}' occurs twice in the archive; give each its own name")

    def read(self, name: str, sha256: str | None = None) -> bytes:
        size = self._archive.getinfo(name).file_size
        if size > MAX_FILE_BYTES:
            raise ImageError("too_large", f"the file has {size} bytes; at most {MAX_FILE_BYTES} are read")
        try:
            with self._lock:
                data = self._archive.read(name)
        except RuntimeError as error:  # NotImplementedError for the method, RuntimeError itself for a password
            raise ImageError("unsupported", f"{error}; pack the photos again, without a password") from error
        except _DAMAGED as error:
            raise ImageError("truncated", f"the ZIP archive is damaged there: {error}") from error
        if sha256:
            check_picture(data, sha256, self._path, name)
        return data


def find_pictures(images: Path) -> tuple[Pictures, list[str]]:
    """Return the pictures and their names in order.

    A picture is what has the name of one; other files are left out with a line in the log, hidden ones without. Raises
    InputError when there is no picture.
    """
    pictures: Pictures
    if images.is_file():
        pictures = _Zip(images)
    else:
        pictures = ImageArchive(images) if any(images.glob("images-*.zip")) else _Tree(images)
    suffixes = tuple(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)
    names = sorted(name for name in pictures.names if not is_hidden(name))
    chosen = [name for name in names if name.lower().endswith(suffixes)]
    others = [printable(name) for name in names if not name.lower().endswith(suffixes)]
    if others:
        count = "1 file is no picture" if len(others) == 1 else f"{len(others)} files are no pictures"
        _log.warning("%s: %s: %s", images, count, ", ".join(others[:_EXAMPLES]))
    if not chosen:
        raise InputError(f"{images}: no picture found; expected files such as a.jpg in a folder or a ZIP archive")
    return pictures, chosen


def check_present(archive: Pictures, names: Iterable[str]) -> None:
    """Raise InputError when pictures of the annotations are missing."""
    missing = sorted(set(names) - set(archive.names))
    if missing:
        examples = ", ".join(missing[:_EXAMPLES])
        raise InputError(
            f"{len(missing)} images of the annotations are not in the image archive ({examples}): "
            "pass the images that these annotations were made for"
        )
