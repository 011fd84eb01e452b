"""A manifest: a CSV table with one row per face that names its picture, labels and, where known, person and box."""

import math
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from components.ingest.formats.listing import SPLITS, Listing, Options, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Face
from components.shared.dataset.label_spaces import canonical_value
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen

_PATH_COLUMNS = ("path", "file_name", "filename", "image")
_PERSON_COLUMNS = ("group", "person", "subject")
_LABEL_COLUMNS = ("mask", "gender", "age", "emotion", "label")
# `width` and `height` mostly hold the size of the picture, so a box is never guessed from them.
_BOX_COLUMNS: tuple[tuple[tuple[str, str, str, str], Literal["xyxy", "xywh"]], ...] = (
    (("face_xmin", "face_ymin", "face_xmax", "face_ymax"), "xyxy"),
    (("xmin", "ymin", "xmax", "ymax"), "xyxy"),
    (("x", "y", "w", "h"), "xywh"),
)


class Columns(Frozen):
    """The columns by role; a missing one is looked up under its usual names."""

    path: str | None = None
    person: str | None = None
    split: str | None = None
    box: tuple[str, str, str, str] | None = None


class ManifestOptions(Options):
    """Options of a manifest.

    Attributes:
        manifest: the table's path below the source.
        columns: columns of the path, the person, the split and the four numbers of the box.
        box_format: what `columns.box` holds: two corners (`xyxy`), or a corner and a size (`xywh`).
        labels: columns that become attributes; by default those of mask, gender, age, emotion and label that exist.
        rename: from a label column to the name of its attribute.
    """

    manifest: str = Field(default="manifest.csv", min_length=1)
    columns: Columns = Columns()
    box_format: Literal["xyxy", "xywh"] = "xyxy"
    labels: tuple[str, ...] | None = None
    rename: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of one table by role."""

    path: str
    person: str | None
    split: str | None
    box: tuple[str, str, str, str] | None
    corners: bool
    labels: dict[str, str]


def read_manifest(source: Source, options: ManifestOptions) -> Listing:
    """Find the pictures that a table names, paths being relative to the source.

    Several rows of one picture are several faces, told apart by their boxes. Equal rows count once; rows that
    contradict each other drop their picture. Only train, val and test are splits, another value is ignored.
    Raises InputError when the table or a column is missing.
    """
    listing = Listing()
    source.require(options.manifest, "table", "manifest")
    name = f"{source.uri}/{options.manifest}"
    table = source.read_table(options.manifest, ())
    if not table.rows and not table.complaints:
        raise InputError(f"{name}: the table has no rows; expected a header and one row per face")
    layout = _layout(table.header, options, name)
    for complaint in table.complaints:
        listing.dropped.add("bad_row", complaint)
    available = set(source.paths)
    pictures: dict[str, list[Record]] = {}
    for row in table.rows:
        path = posixpath.normpath(row.cells[layout.path])
        if path not in available:
            listing.dropped.add("missing_file", f"row {row.line}: {row.cells[layout.path]}")
            continue
        entries = pictures.setdefault(path, [])
        entry = _entry(row.cells, layout, path, listing)
        if entry is not None and entry in entries:
            listing.notes.add("duplicate_row", f"row {row.line}: {path}")
        elif entry is not None:
            entries.append(entry)
    _collect(pictures, listing)
    for path in image_paths(available - pictures.keys() - {options.manifest}, listing):
        listing.skipped.add("no_row", path)
    return listing


def _layout(header: list[str], options: ManifestOptions, table: str) -> _Layout:
    def first(names: Sequence[str]) -> str | None:
        return next((name for name in names if name in header), None)

    columns = options.columns
    path = columns.path or first(_PATH_COLUMNS)
    if path is None:
        raise InputError(
            f"{table}: no column of paths; name it with the option 'columns.path'. Found: {', '.join(header)}"
        )
    labels = options.labels if options.labels is not None else [name for name in _LABEL_COLUMNS if name in header]
    attributes = {name: options.rename.get(name, name) for name in dict.fromkeys([*labels, *options.rename])}
    if len(set(attributes.values())) < len(attributes):
        raise InputError(f"{table}: two label columns become one attribute: {attributes}; change 'labels' or 'rename'")
    box, box_format = columns.box, options.box_format
    if box is None:
        usual = (pair for pair in _BOX_COLUMNS if set(pair[0]) <= set(header))
        box, box_format = next(usual, (None, box_format))
    person, split = columns.person or first(_PERSON_COLUMNS), columns.split or first(["split"])
    for name in (path, person, split, *(box or ()), *attributes):
        if name is not None and name not in header:
            raise InputError(f"{table}: no column '{name}'. Found: {', '.join(header)}")
    return _Layout(path, person, split, box, box_format == "xyxy", attributes)


def _entry(cells: dict[str, str], layout: _Layout, path: str, listing: Listing) -> Record | None:
    """Read one face of an image; None, counted, when a label is invalid."""
    attributes = {}
    for column, attribute in layout.labels.items():
        if cells[column]:
            try:
                attributes[attribute] = canonical_value(attribute, cells[column])
            except InputError:
                listing.dropped.add(f"bad_{attribute}", f"{path} ({cells[column]})")
                return None
    person = cells[layout.person] or None if layout.person else None
    split = SPLITS.get(cells[layout.split].lower()) if layout.split else None
    if layout.split and cells[layout.split] and split is None:
        listing.notes.add(f"ignored_split_{cells[layout.split]}", path)
    return Record(path, (Face(0, _box(cells, layout, path, listing), attributes),), person, split)


def _box(cells: dict[str, str], layout: _Layout, path: str, listing: Listing) -> Box | None:
    texts = [cells[name] for name in layout.box or ()]
    if not any(texts):
        return None
    try:
        left, top, third, fourth = map(float, texts)
    except ValueError:
        left = top = third = fourth = math.nan
    if not all(map(math.isfinite, (left, top, third, fourth))):
        listing.notes.add("box_unreadable", f"{path} ({', '.join(texts)})")
        return None
    return (left, top, third - left, fourth - top) if layout.corners else (left, top, third, fourth)


def _collect(pictures: dict[str, list[Record]], listing: Listing) -> None:
    """List the entries of each picture as one record, in the order of the paths."""
    for path, entries in sorted(pictures.items()):
        if not entries:
            continue
        faces = tuple(face for entry in entries for face in entry.faces)
        boxes = [face.box for face in faces]
        alike = len({(entry.person, entry.split) for entry in entries}) == 1
        if not alike or (len(entries) > 1 and (None in boxes or len(set(boxes)) < len(boxes))):
            listing.dropped.add("conflicting_rows", path)
            continue
        listing.records.append(replace(entries[0], faces=faces))
