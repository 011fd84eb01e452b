"""Pictures without annotations: a folder tree, one ZIP archive, or the archives that ingest wrote."""

import logging
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from PIL import Image

from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.text import is_hidden, printable
from serving.runtime.errors import InputError
from serving.runtime.image.header import FORMATS

_EXAMPLES = 5
_log = logging.getLogger(__name__)


class Pictures(Protocol):
    """Pictures by name."""

    names: tuple[str, ...]

    def read(self, name: str, sha256: str | None = None) -> bytes:
        """Return the bytes of a picture; threads may call it."""


class _Tree:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = tuple(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())

    def read(self, name: str, sha256: str | None = None) -> bytes:
        return (self._folder / name).read_bytes()


class _Zip:
    """The members of a ZIP archive, compressed or not."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(f"{path}: neither a folder of pictures nor a ZIP archive of them: {error}") from error
        self._lock = threading.Lock()
        self.names = tuple(info.filename for info in self._archive.infolist() if not info.is_dir())

    def read(self, name: str, sha256: str | None = None) -> bytes:
        with self._lock:
            return self._archive.read(name)


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
        _log.warning("%s: %d files are no pictures: %s", images, len(others), ", ".join(others[:_EXAMPLES]))
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
