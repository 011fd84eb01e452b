"""A manifest: a table with one row per face that names its picture, labels and, where known, person and box."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from components.ingest.formats.class_names import merged_spellings
from components.ingest.formats.listing import Listing, Record, image_paths, split_of_name
from components.ingest.formats.tables.manifest_columns import (
    Layout,
    ManifestOptions,
    four_numbers,
    is_one,
    read_layout,
)
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Face
from components.shared.dataset.label_spaces import canonical_value, own_value
from components.shared.dataset.paths import PathResolver
from components.shared.dataset.table import Row, Table
from components.shared.dataset.vocabulary import VOCABULARY
from serving.runtime.errors import InputError

_DEFAULT = "manifest.csv"
_TABLES = (".csv", ".tsv")
# The tables that Roboflow writes into the folder of each split.
_TABLES_OF_SPLITS = ("_annotations.csv", "_classes.csv")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row: its face, None when it is lost, its person and its split."""

    face: Face | None
    person: str | None
    split: str | None


def read_manifest(source: Source, options: ManifestOptions) -> Listing:
    """Find the pictures that a table names, paths being relative to the source, the table or the option `images`.

    Several rows of one picture are several faces, told apart by their boxes. Equal rows count once; rows that
    contradict each other drop their picture. What a cell says and cannot be read is lost, the rest of its row stays;
    a face without a box among others that have one is lost, or its whole picture with `no_box: keep`. Boxes whose
    numbers are all at most 1 are shares of the picture. Raises InputError when the table or a column is missing, and
    as `read_layout` does.
    """
    listing = Listing()
    tables = _tables(source, options)
    pictures: dict[str, list[_Entry]] = {}
    for path, split in tables.items():
        _read(source, path, split, options, pictures, listing)
    shares = _are_shares(pictures)
    if shares:
        listing.layout.append("boxes are in shares of the picture's width and height: no number is above 1")
    spellings = _spellings(pictures, options, listing)
    for path, entries in sorted(pictures.items()):
        _collect(path, entries, shares, spellings, listing)
    unnamed = image_paths(set(source.paths) - pictures.keys() - tables.keys(), listing)
    for path in unnamed:
        listing.skipped.add("no_row", path)
    if len(unnamed) > len(listing.records):
        listing.layout.append(f"{len(unnamed)} pictures have no row in the table, only {len(listing.records)} have one")
    return listing


def _tables(source: Source, options: ManifestOptions) -> dict[str, str | None]:
    """Return the tables to read, with the split of all their rows where their folder says one."""
    if options.manifest == _DEFAULT and _DEFAULT not in source.paths:
        tables = [path for path in source.paths if path.lower().endswith(_TABLES)]
        of_splits = {
            path: split_of_name(posixpath.basename(posixpath.dirname(path)))
            for path in tables
            if posixpath.basename(path) in _TABLES_OF_SPLITS
        }
        if of_splits and None not in of_splits.values():
            return of_splits
        if len(tables) == 1:
            return {tables[0]: None}
        if tables:
            raise InputError(
                f"{source.uri}: no table '{_DEFAULT}'; name one of {', '.join(tables[:5])} with the option 'manifest'"
            )
    source.require(options.manifest, "table", "manifest")
    return {options.manifest: None}


def _read(
    source: Source,
    path: str,
    split: str | None,
    options: ManifestOptions,
    pictures: dict[str, list[_Entry]],
    listing: Listing,
) -> None:
    """Read the rows of one table into the entries of each picture."""
    name = f"{source.uri}/{path}"
    table = source.read_table(path, (), options.separator)
    listing.count_faulty_rows(table, path)
    if not table.rows and not table.complaints:
        raise InputError(f"{name}: the table has no rows; expected a header and one row per face")
    layout = read_layout(table, options, name)
    listing.layout.append(f"{path}: {layout}")
    if not layout.box:
        listing.layout.append(f"{path}: no boxes, every face is its whole picture")
    resolver = _resolver(source, path, options, table, layout)
    missing: set[str] = set()
    for row in table.rows:
        written = row.cells[layout.path]
        picture = resolver.resolve(written)
        if picture is None:
            if written not in missing:
                listing.dropped.add(resolver.reason(written), f"row {row.line}: {written}")
            missing.add(written)
            continue
        entries = pictures.setdefault(picture, [])
        entry = _entry(row, layout, split, picture, options, listing)
        if entry.face is not None and entry in entries:
            listing.notes.add("duplicate_row", f"row {row.line}: {picture}")
        else:
            entries.append(entry)
    listing.notes.update(resolver.notes)


def _resolver(source: Source, path: str, options: ManifestOptions, table: Table, layout: Layout) -> PathResolver:
    """Return the resolver of a table's paths: below the option's folder, or below the table's or the top.

    Of the last two, the one counts where more of the paths are found. Raises InputError when the folder of the option
    has no files.
    """
    beside = posixpath.dirname(path)
    if options.images is not None:
        for folder in (posixpath.join(beside, options.images), options.images):
            root = posixpath.normpath(folder)
            if root == "." or any(other.startswith(f"{root}/") for other in source.paths):
                return PathResolver(source.paths, root)
        raise InputError(f"{source.uri}: no folder '{options.images}'; see the option 'images'")
    if not beside:
        return PathResolver(source.paths)
    written = dict.fromkeys(row.cells[layout.path] for row in table.rows)
    resolvers = [PathResolver(source.paths, beside), PathResolver(source.paths)]
    found = [sum(resolver.resolve(name) is not None for name in written) for resolver in resolvers]
    return resolvers[found[1] > found[0]]


def _entry(
    row: Row, layout: Layout, split: str | None, path: str, options: ManifestOptions, listing: Listing
) -> _Entry:
    """Read one row."""
    cells = row.cells
    attributes = {}
    for column, attribute in layout.labels.items():
        if cells[column]:
            try:
                attributes[attribute] = canonical_value(attribute, cells[column])
            except InputError:
                listing.lost.add(f"bad_{attribute}", f"row {row.line}: {path} ({cells[column]})")
    if layout.one_hot:
        classes = [column for column in layout.one_hot if is_one(cells[column])]
        if len(classes) == 1:
            attributes[layout.one_hot_attribute] = canonical_value(layout.one_hot_attribute, classes[0])
        else:
            listing.lost.add("several_classes" if classes else "no_class", f"row {row.line}: {path}")
    written = cells[layout.split] if layout.split else ""
    if written:
        split = split_of_name(str(own_value("split", written) or written))
        if split is None:
            listing.lost.add("unknown_split", f"row {row.line}: {path} ({written})")
    box = _box(cells, layout)
    lost = bool(layout.box) and box is None
    if lost:
        texts = [cells[name] for name in layout.box]
        tally = listing.notes if options.no_box == "keep" else listing.lost
        tally.add("box_unreadable" if any(texts) else "no_box", f"row {row.line}: {path} ({', '.join(texts)})")
    face = None if lost and options.no_box == "drop" else Face(0, box, attributes)
    return _Entry(face, cells[layout.person] or None if layout.person else None, split)


def _box(cells: Mapping[str, str], layout: Layout) -> Box | None:
    numbers = four_numbers([cells[name] for name in layout.box]) if layout.box else None
    if numbers is None or layout.box_format == "xywh":
        return numbers
    left, top, right, bottom = numbers
    return left, top, right - left, bottom - top


def _are_shares(pictures: Mapping[str, list[_Entry]]) -> bool:
    """Whether no number of any box is above 1: then boxes are not in pixels."""
    boxes = [entry.face.box for entries in pictures.values() for entry in entries if entry.face and entry.face.box]
    return bool(boxes) and all(min(box) >= 0 and max(box[0] + box[2], box[1] + box[3]) <= 1 for box in boxes)


def _spellings(
    pictures: Mapping[str, list[_Entry]], options: ManifestOptions, listing: Listing
) -> dict[tuple[str, Any], Any]:
    """Return the usual spelling of each class that rows write in several cases, by attribute and value."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    if options.label_case == "merge":
        faces = (entry.face for entries in pictures.values() for entry in entries if entry.face)
        for attribute, value in (item for face in faces for item in face.attributes.items()):
            if attribute not in VOCABULARY and isinstance(value, str):
                counts[attribute][value] += 1
    spellings: dict[tuple[str, Any], Any] = {}
    for attribute, values in counts.items():
        merged = merged_spellings({value: value for value in sorted(values)}, values, listing)
        spellings |= {(attribute, value): usual for value, usual in merged.items() if usual != value}
    return spellings


def _collect(
    path: str, entries: list[_Entry], shares: bool, spellings: Mapping[tuple[str, Any], Any], listing: Listing
) -> None:
    """List the entries of a picture as one record."""
    faces = [entry.face for entry in entries if entry.face is not None]
    boxes = [face.box for face in faces]
    alike = len({(entry.person, entry.split) for entry in entries}) == 1
    if not alike or (len(faces) > 1 and (None in boxes or len(set(boxes)) < len(boxes))):
        listing.dropped.add("conflicting_rows", path)
    elif not faces:
        listing.dropped.add("every_face_lost", path)
    else:
        if spellings:
            faces = [
                replace(face, attributes={k: spellings.get((k, v), v) for k, v in face.attributes.items()})
                for face in faces
            ]
        entry = entries[0]
        listing.records.append(Record(path, tuple(faces), entry.person, entry.split, normalized=shares))
