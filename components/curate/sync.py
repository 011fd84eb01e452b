"""Drops images that were removed by hand from an exported tree, or that a list names."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import ClassVar, Self

import msgspec
from pydantic import model_validator

from components.curate.operation import Options, Outcome, original_name
from components.shared.dataset.annotations import Image
from components.shared.dataset.export.files import MAPPER
from components.shared.dataset.persons import refuse_unknown
from components.shared.dataset.text import composed, is_hidden, printable, read_json, read_names
from serving.runtime.errors import InputError
from serving.runtime.storage import Location


class SyncOptions(Options):
    """Options of sync: one of the two, a path or an `s3://` address.

    Attributes:
        folder: an exported tree, or a copy of the raw one, that somebody cleaned by hand.
        removed: a text file with one name per line, or a JSON list of names.
    """

    locations: ClassVar[tuple[str, ...]] = ("folder", "removed")

    folder: str | None = None
    removed: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.folder) == bool(self.removed):
            raise ValueError("give 'folder' or 'removed'")
        return self


def sync(images: Sequence[Image], options: SyncOptions) -> Outcome:
    """Drop the images that were removed by hand; they are counted as `removed`.

    In a tree with a filename_mapper.json an image is removed when no exported file of it is left. Images that were
    not exported stay (`not_exported`), and so do those whose file lies in another folder now (`moved`): labels do not
    follow. In a tree without one, an image is removed when its name is not a relative path in it. In a list, an image
    is named by its name in the archive or its original name. Other files of a folder are `unknown`.

    Raises:
        InputError: the folder contains none of the images, or was exported from others of the same names, or a name
            of the list is that of no image.
    """
    if options.removed:
        return _without(images, read_names(options.removed), options.removed)
    assert options.folder is not None
    tree = Location(options.folder)
    paths = [entry.path for entry in tree.list() if not is_hidden(entry.path)]
    if MAPPER in paths:
        return _by_mapper(images, paths, _read_mapper(str(tree.join(MAPPER).uri)), options.folder)
    return _by_path(images, paths, options.folder)


def _without(images: Sequence[Image], names: Sequence[str], uri: str) -> Outcome:
    ids = _by_name(images)
    refuse_unknown(names, ids, f"{uri}: no image has")
    outcome = Outcome([])
    outcome.drop(images, {ids[name] for name in names}, "removed")
    return outcome


def _by_path(images: Sequence[Image], paths: Sequence[str], folder: str) -> Outcome:
    ids = _by_name(images)
    outcome = Outcome([])
    suffixes = {PurePosixPath(image.file_name).suffix.lower() for image in images}
    left = set()
    for path in paths:
        if composed(path) in ids:
            left.add(ids[composed(path)])
        elif PurePosixPath(path).suffix.lower() in suffixes:
            outcome.notes.add("unknown", printable(path))
    _refuse_other_tree(left, folder, paths, images)
    outcome.drop(images, {image.id for image in images} - left, "removed")
    return outcome


def _by_mapper(
    images: Sequence[Image], paths: Sequence[str], exported: Sequence[tuple[str, str, str | None]], folder: str
) -> Outcome:
    """Compare with a tree whose files were renamed; `exported` has new name, original name and sha256 of each image."""
    ids = _by_name(images)
    outcome = Outcome([])
    new_names = {name for name, _, _ in exported}
    suffixes = {PurePosixPath(name).suffix.lower() for name in new_names}
    seen: set[str] = set()
    strays: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        endings = new_names.intersection(_endings(composed(path)))
        seen |= endings
        if not endings and PurePosixPath(path).suffix.lower() in suffixes:
            strays[PurePosixPath(composed(path)).name].append(path)
    _refuse_other_export(images, ids, exported, folder)
    listed: set[int] = set()
    left: set[int] = set()
    for name, original, _ in exported:
        if original not in ids:
            outcome.notes.add("unknown", original)
            continue
        listed.add(ids[original])
        base = PurePosixPath(name).name
        if name in seen:
            left.add(ids[original])
        elif strays.get(base):
            strays[base].pop()
            outcome.notes.add("moved", original)
            left.add(ids[original])
    for path in chain.from_iterable(strays.values()):
        outcome.notes.add("unknown", printable(path))
    for image in images:
        if image.id not in listed:
            outcome.notes.add("not_exported", image.file_name)
    _refuse_other_tree(left, folder, paths, images)
    outcome.drop(images, listed - left, "removed")
    return outcome


def _by_name(images: Sequence[Image]) -> dict[str, int]:
    """Map the original names and the names in the archive to ids; a name in the archive wins."""
    names = {composed(original_name(image)): image.id for image in images}
    return names | {composed(image.file_name): image.id for image in images}


def _endings(path: str) -> list[str]:
    """Return the path, and what is left of it without its first folders."""
    parts = path.split("/")
    return ["/".join(parts[index:]) for index in range(len(parts))]


def _refuse_other_tree(left: set[int], folder: str, paths: Sequence[str], images: Sequence[Image]) -> None:
    if not left:
        seen = ", ".join(map(printable, paths[:3])) or "nothing"
        raise InputError(
            f"{folder}: no file in there is one of the images: it has {seen}; the images are called like "
            f"'{images[0].file_name}'. Name the top folder of the tree"
        )


def _refuse_other_export(
    images: Sequence[Image], ids: Mapping[str, int], exported: Sequence[tuple[str, str, str | None]], folder: str
) -> None:
    digests = {image.id: image.sha256 for image in images}
    here = {name: digests[number] for name, number in ids.items()}
    other = [name for _, name, sha256 in exported if sha256 and (here.get(name) or sha256) != sha256]
    if other:
        raise InputError(
            f"{folder}: exported from another data set: {len(other)} of its pictures differ from those of the same "
            f"name here, such as {', '.join(other[:3])}; name a tree that was exported from these annotations"
        )


class _Export(msgspec.Struct):
    name: str
    original: str
    sha256: str | None = None


class _Mapper(msgspec.Struct):
    images: list[_Export]


def _read_mapper(uri: str) -> list[tuple[str, str, str | None]]:
    """Return (new name, original name, sha256 where known) of every exported image, names in composed form.

    Raises InputError when a new name has two originals, and when the file is no mapper.
    """
    try:
        mapper = msgspec.convert(read_json(uri), _Mapper | list[_Export])
    except msgspec.ValidationError as error:
        raise InputError(f"{uri}: not a list of exported images: {error}") from error
    exports = mapper.images if isinstance(mapper, _Mapper) else mapper
    entries: dict[str, tuple[str, str, str | None]] = {}
    for export in exports:
        name, original = composed(export.name), composed(export.original)
        first = entries.setdefault(name, (name, original, export.sha256))
        if first[1] != original:
            raise InputError(f"{uri}: '{name}' has two originals, '{first[1]}' and '{original}'")
    return list(entries.values())
