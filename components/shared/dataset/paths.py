"""Paths as tables and annotation files write them, and the files of a source that they name."""

import posixpath
import re
from collections.abc import Iterable
from urllib.parse import unquote

from components.shared.dataset.tally import Tally
from components.shared.dataset.text import composed, is_image_name
from components.shared.dataset.vocabulary import SPLITS

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_QUERY_OF_LOCAL_FILES = re.compile(r"/local-files/\?d=")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/|\.\./")


class PathResolver:
    """Finds the file of a source that a written path names.

    A path is relative to `root` or to the top of the source; it is taken as it stands where there is such a file.
    Backslashes are slashes. Else the file is searched below `root` by the longest ending that the path shares with
    exactly one file, in any case of its letters: the path may be absolute on another machine, an address, or lack its
    first folders or the suffix of an image. What differs on both sides must not say that another file is meant, see
    `_other_file`; and two written paths never name one file in this way.

    Attributes:
        notes: the paths that were found in another way than written: `path_by_suffix`, `path_by_case`.
    """

    def __init__(self, paths: Iterable[str], root: str = "") -> None:
        self.notes = Tally()
        root = posixpath.normpath(root) if root else ""
        self._root = "" if root == "." else f"{root}/" if root else ""
        self._paths = frozenset(paths)
        self._found: dict[str, str | None] = {}
        self._reasons: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._endings: dict[str, str | None] = {}
        self._folded: dict[str, str | None] = {}
        self._stems: dict[str, str | None] = {}
        self._folders: set[str] = set()

    def resolve(self, written: str) -> str | None:
        """Return the path in the source, None where no file or more than one has it; then see `reason`."""
        if written not in self._found:
            self._found[written] = self._resolve(written)
        return self._found[written]

    def reason(self, written: str) -> str:
        """Return why a path is not resolved: `missing_file`, or `ambiguous_path` where it could name several files."""
        return self._reasons.get(written, "missing_file")

    def _resolve(self, written: str) -> str | None:
        text = composed(written.strip())
        slashed = _without_host(text).replace("\\", "/")
        for reading in dict.fromkeys((text, slashed, unquote(slashed))):
            for path in (posixpath.normpath(self._root + reading), posixpath.normpath(reading)):
                if path in self._paths:
                    return path
        for reading in dict.fromkeys((slashed, unquote(slashed))):
            found = self._by_ending(reading, written)
            if found is not None:
                return found
        return None

    def _by_ending(self, reading: str, written: str) -> str | None:
        """Return the one file that shares the longest ending with a path."""
        parts = [part for part in posixpath.normpath(reading).split("/") if part not in ("", "..", ".")]
        if not self._endings:
            self._index()
        for start in range(len(parts)):
            ending = "/".join(parts[start:])
            entries, key = self._endings, ending
            if key not in entries:
                entries, key = self._folded, ending.casefold()
            if key not in entries and not is_image_name(key):
                entries = self._stems
            if key not in entries:
                continue
            path = entries[key]
            if path is None or self._written.get(path, reading) != reading:
                self._reasons[written] = "ambiguous_path"
                return None
            before = path.removeprefix(self._root).split("/")[: start - len(parts)]
            if self._other_file(parts[:start], before, len(parts) - start, reading):
                return None
            self._written[path] = reading
            is_whole = posixpath.normpath(self._root + reading).casefold() == path.casefold()
            self.notes.add("path_by_case" if is_whole else "path_by_suffix", f"{written} is {path}")
            return path
        return None

    def _other_file(self, dropped: list[str], before: list[str], shared: int, reading: str) -> bool:
        """Tell whether what stands before a shared ending says that another file is meant.

        `dropped` are the folders of the path, `before` those of the file. Where both have some, the last one of the
        path must be neither a split nor a folder of the source, as `train/1.jpg` is not `test/1.jpg`, and a relative
        path must share more than the file's name.
        """
        if not dropped or not before:
            return False
        folder = dropped[-1].casefold()
        is_relative = _ABSOLUTE.match(reading) is None
        return folder in SPLITS or folder in self._folders or (is_relative and shared == 1)

    def _index(self) -> None:
        """Map every ending of every path below the root to its path, and to None where several have it."""
        for path in self._paths:
            if not path.startswith(self._root):
                continue
            parts = path.removeprefix(self._root).split("/")
            self._folders.update(part.casefold() for part in parts[:-1])
            for start in range(len(parts)):
                ending = "/".join(parts[start:])
                keys = [(self._endings, ending), (self._folded, ending.casefold())]
                if is_image_name(path):
                    keys.append((self._stems, posixpath.splitext(ending)[0].casefold()))
                for entries, key in keys:
                    entries[key] = None if key in entries else path


def _without_host(text: str) -> str:
    """Return the path of an address, `file:///a/1.jpg`, or of Label Studio's `/data/local-files/?d=a/1.jpg`."""
    local = _QUERY_OF_LOCAL_FILES.search(text)
    if local:
        return "/" + text[local.end() :]
    address = _ADDRESS.match(text)
    return "/" + text[address.end() :].split("?")[0] if address else text
