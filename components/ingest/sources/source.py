"""The files of a data source, loose or in archives, under their decoded names."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from components.ingest.sources.members import DOWNLOADS, Container, LooseFiles, Member
from components.ingest.sources.names import (
    ADVICE,
    decode_names,
    is_text_name,
    logical_name,
    printable_name,
)
from components.ingest.sources.tar_members import GzipTarMembers, TarMembers
from components.ingest.sources.zip_members import ZipMembers
from components.shared.dataset.encodings import decode, shown_words
from components.shared.dataset.table import Table, parse_table
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import is_hidden, is_image_name
from serving.runtime.errors import InputError
from serving.runtime.image.photo_types import PhotoType, type_of
from serving.runtime.ordered_map import ordered_map
from serving.runtime.storage import Entry, Location

ARCHIVES: dict[str, Callable[[Location, int], Container]] = {
    ".zip": ZipMembers,
    ".tar": TarMembers,
    ".tar.gz": GzipTarMembers,
    ".tgz": GzipTarMembers,
}
_SUFFIXES = tuple(ARCHIVES)


class Source:
    """All files below a folder or an `s3://` prefix, and in the archives there; or those of a single archive.

    The members of `a/faces.zip` are called `a/faces/<member>`, those of an archive that is the source itself just
    `<member>`. Nothing is unpacked onto the disk, and archives in archives stay closed. Names are in composed letters
    (NFC), from UTF-8 or else `encoding`, by default the likeliest one.

    Attributes:
        uri: as the user wrote it.
        encoding: that of names and texts which are not UTF-8, None to find it.
        read_as: the names and texts that are not UTF-8, by their encoding, with words of theirs.
        entries: the files and archives as they lie there.
        paths: the names of all files that can be read, relative to the source, sorted.
        dropped: images and archives that cannot be read, counted by reason. Damaged ones are noticed only when they
            are read.
        skipped: other files that cannot be read, second files of a name, and archives that are not opened.

    Reasons are `unreadable_name` (in no encoding that is tried), `unsafe_path` (it could lead out of the source),
    `duplicate_name` (of files with one name, a loose one comes first, then that of the first archive; a later one of
    another size counts as dropped), `link`, `device`, `encrypted`, `unsupported_compression`, `unsupported_member`,
    `too_large`, `damaged_member`, `photo_without_suffix` (a photo by its content, but not by its name),
    `nested_archive` and `empty_archive`. A link is counted when it leads nowhere, or lies in an archive.

    Raises:
        InputError: an archive is damaged as a whole, the source is a single file that is not an archive, or two
            encodings of names are equally likely.
        StorageError: the source cannot be read.
    """

    encoding: str | None = None

    def __init__(self, uri: str, encoding: str | None = None) -> None:
        self.uri = uri
        self.encoding = encoding
        self.read_as = Tally()
        self.dropped = Tally()
        self.skipped = Tally()
        self._containers: list[Container] = []
        self._prefixes: list[str] = []
        self._labels: list[str] = []
        self._where: dict[str, tuple[int, int]] = {}
        self._originals: dict[str, str] = {}
        location = Location(uri)
        self.entries = location.list()
        if [entry.path for entry in self.entries] == [""]:
            self._open_single(location, self.entries[0])
        else:
            self._open_all(location, self.entries)
        self._drop_unnamed_photos()
        self.paths: tuple[str, ...] = tuple(sorted(self._where))

    def _open_single(self, location: Location, entry: Entry) -> None:
        suffix = _archive_suffix(location.name)
        if suffix is None:
            raise InputError(f"{self.uri}: a single file; expected a folder or an archive ({', '.join(ARCHIVES)})")
        self._add(ARCHIVES[suffix](location, entry.size), location.name, "", "")

    def _open_all(self, location: Location, entries: list[Entry]) -> None:
        """Add the loose files, then the archives in the order of their names."""
        archives = {index for index, entry in enumerate(entries) if _archive_suffix(entry.path)}
        loose = [entry for index, entry in enumerate(entries) if index not in archives]
        self._add(LooseFiles(location, loose), "", "", "")
        packed = [entries[index] for index in sorted(archives)]
        members = LooseFiles(location, packed).members
        for entry, member, name in zip(packed, members, self._names(members), strict=True):
            path = self._usable_name(member, name, "")
            suffix = _archive_suffix(entry.path)
            if path is None or name is None or suffix is None:
                continue
            archive = ARCHIVES[suffix](location.join(entry.path), entry.size)
            self._add(archive, path, path[: -len(suffix)] + "/", name[: -len(suffix)] + "/")

    def _add(self, container: Container, label: str, prefix: str, raw_prefix: str) -> None:
        """Add the files of a container; `label` is put before their names in reports."""
        self._containers.append(container)
        self._prefixes.append(prefix)
        self._labels.append(label)
        if label and not container.members:
            self.skipped.add("empty_archive", label)
        for index, (member, name) in enumerate(zip(container.members, self._names(container.members), strict=True)):
            path = self._usable_name(member, name, label)
            if path is None:
                continue
            if label and _archive_suffix(path) and not is_hidden(path):
                self.skipped.add("nested_archive", f"{label}: {path}")
                continue
            path = prefix + path
            if path in self._where:
                first = self._member(path)
                tally = self.skipped if first.size == member.size else self._tally(path)
                example = printable_name(str(name).encode())
                tally.add("duplicate_name", f"{label}: {example}" if label else example)
                continue
            self._where[path] = len(self._containers) - 1, index
            if path != f"{raw_prefix}{name}":
                self._originals[path] = f"{raw_prefix}{name}"

    def _drop_unnamed_photos(self) -> None:
        """Leave out, counted, the photos whose name is not that of one: no layout would take them for data."""
        others = [path for path in sorted(self._where) if not (is_image_name(path) or is_text_name(path))]
        visible = (path for path in others if not is_hidden(path))
        for path, photo_type in ordered_map(self._type_of, visible, workers=DOWNLOADS, ahead=2 * DOWNLOADS):
            if photo_type is not None:
                label = self._labels[self._where.pop(path)[0]]
                self.dropped.add("photo_without_suffix", f"{label}: {path}" if label else path)

    def _type_of(self, path: str) -> PhotoType | None:
        container, index = self._where[path]
        return type_of(self._containers[container].beginning(index))

    def _names(self, members: Sequence[Member]) -> list[str | None]:
        names = decode_names(((member.raw, member.is_utf8) for member in members), self.encoding)
        for member, name in zip(members, names, strict=True):
            if name is not None and not name.isascii() and name.encode() != member.raw:
                self.read_as.add("names of files", name)
        return names

    def attach(self, container: Container, prefix: str) -> None:
        """Add pictures that a reader makes itself, under their names with the prefix."""
        self._add(container, "", prefix, prefix)
        self.paths = tuple(sorted(self._where))

    def _usable_name(self, member: Member, name: str | None, label: str) -> str | None:
        """Return the name of a file in its container, or None, counted, when the file cannot be read."""
        path = logical_name(name) if name is not None else None
        reason = "unreadable_name" if name is None else "unsafe_path" if path is None else member.fault
        if reason is None:
            return path
        example = printable_name(path.encode() if path else member.raw)
        self._tally(example).add(reason, f"{label}: {example}" if label else example)
        return None

    def _tally(self, name: str) -> Tally:
        """Return where to count a file that cannot be read: what looks like an image should have been one."""
        is_data = is_image_name(name) or _archive_suffix(name) is not None
        return self.dropped if is_data and not _is_side_file(name) else self.skipped

    def _member(self, path: str) -> Member:
        container, index = self._where[path]
        return self._containers[container].members[index]

    def original(self, path: str) -> str | None:
        """Return the name that a file has where it lies, when that is not `path`: letters decomposed, `./` and so on.

        In an archive, the archive's name comes before it without its suffix, as in `path`.
        """
        return self._originals.get(path)

    def read(self, path: str) -> bytes:
        """Read one file of `paths`; in a compressed TAR archive this may mean to read it up to there.

        Raises StorageError when it cannot be read, InputError when it is damaged.
        """
        container, index = self._where[path]
        content = self._containers[container].read(index)
        if content is None:
            raise InputError(f"{self.uri}: '{path}' in {self._labels[container]} is damaged; copy the archive again")
        return content

    def heads(self, paths: Collection[str], length: int) -> Iterator[tuple[str, bytes]]:
        """Yield the first `length` bytes of files, fewer where one ends before; damaged members are left out.

        Of loose files no more is read. Raises StorageError when a file cannot be read.
        """
        for container, names in sorted(self._by_container(paths).items()):
            files = self._containers[container]
            if isinstance(files, LooseFiles):
                heads = ordered_map(partial(files.head, length=length), names, workers=DOWNLOADS, ahead=2 * DOWNLOADS)
                yield from ((names[index], head) for index, head in heads)
            else:
                contents = files.stream(list(names))
                yield from ((names[index], data[:length]) for index, data in contents if data is not None)

    def require(self, path: str, what: str, option: str) -> None:
        """Raise InputError when there is no file at a path that an option names."""
        if path not in self.paths:
            raise InputError(f"{self.uri}: no {what} '{path}'; see the option '{option}'")

    def read_text(self, path: str) -> str:
        """Read a text; see `encodings.decode`. Raises InputError when its encoding cannot be told, and as `read`."""
        return self.decode_text(path, self.read(path))

    def decode_text(self, path: str, data: bytes) -> str:
        """Decode the content of a text file. Raises InputError when its encoding cannot be told."""
        decoded = decode(data, f"{self.uri}/{path}", self.encoding, ADVICE)
        if decoded.encoding != "utf-8":
            self.read_as.add(decoded.encoding, f"{path}: {shown_words(decoded.text)}")
        return decoded.text

    def read_table(self, path: str, columns: Sequence[str], separator: str | None = None) -> Table:
        """Read a table with these columns; see `parse_table`. Raises InputError as it and `read_text` do."""
        return parse_table(self.read_text(path), f"{self.uri}/{path}", columns, separator)

    def stream(self, paths: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (path, content) of files, each once, whatever the order of `paths`.

        First come the loose files in the order of their names, then the archives in the order of theirs, with the
        members in the order in which they lie in the archive. A damaged member is left out and counted. Little is
        held in memory: some 32 loose files, or of an archive's members 128 MiB and one file more.

        Raises StorageError when a file cannot be read.
        """
        for container, names in sorted(self._by_container(paths).items()):
            for index, content in self._containers[container].stream(list(names)):
                if content is None:
                    member = printable_name(names[index].removeprefix(self._prefixes[container]).encode())
                    self._tally(names[index]).add("damaged_member", f"{self._labels[container]}: {member}")
                else:
                    yield names[index], content

    def _by_container(self, paths: Collection[str]) -> dict[int, dict[int, str]]:
        """Return the paths of each container by their index in it."""
        requested: dict[int, dict[int, str]] = defaultdict(dict)
        for path in paths:
            container, index = self._where[path]
            requested[container][index] = path
        return requested


def _archive_suffix(path: str) -> str | None:
    """Return the suffix of an archive; None for other files and for hidden ones."""
    lower = path.lower()
    if not lower.endswith(_SUFFIXES) or is_hidden(path):
        return None
    return next(suffix for suffix in _SUFFIXES if lower.endswith(suffix))


def _is_side_file(name: str) -> bool:
    """Tell whether a file is hidden, its way out of the source aside."""
    return is_hidden("/".join(part for part in re.split(r"[/\\]", name) if part not in (".", "..")))
