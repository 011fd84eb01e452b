"""What the columns of a table of faces hold, told from their names."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from components.ingest.formats.listing import BoxOptions, split_of_name
from components.shared.dataset.annotations import Box
from components.shared.dataset.label_spaces import own_value, spelling
from components.shared.dataset.table import Row, Table, folded
from components.shared.dataset.vocabulary import COLUMNS, SPELLINGS
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen, nearest

BoxFormat = Literal["xyxy", "xywh"]

ATTRIBUTES = ("mask", "gender", "age", "emotion", "label")
_BOXES: tuple[tuple[tuple[str, str, str, str], BoxFormat], ...] = (
    (("xmin", "ymin", "xmax", "ymax"), "xyxy"),
    (("minx", "miny", "maxx", "maxy"), "xyxy"),
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("x0", "y0", "x1", "y1"), "xyxy"),
    (("left", "top", "right", "bottom"), "xyxy"),
    (("xtl", "ytl", "xbr", "ybr"), "xyxy"),
    (("x", "y", "w", "h"), "xywh"),
    (("left", "top", "width", "height"), "xywh"),
)
# `width` and `height` alone mostly hold the size of the picture, so with `x` and `y` they are a box by name only.
_PREFIXED_BOXES: tuple[tuple[tuple[str, str, str, str], BoxFormat], ...] = (
    *_BOXES,
    (("x", "y", "width", "height"), "xywh"),
)
_PREFIXES = ("face", "bbox", "box", "bb", "boundingbox", "facebox", "facebbox", "rect", "roi")
_ONE_CELL = ("bbox", "box", "boundingbox", "facebox", "facebbox", "rect", "rectangle", "roi")
_COORDINATES = {"cx", "cy", "xcenter", "ycenter"}.union(*(names for names, _ in _BOXES)) - {"width", "height"}
# Columns of names without a suffix, where there is no column of paths.
_IDS = {"imageid", "photoid", "fileid", "id", "name", "fname"}
_FEW_COORDINATES = 3
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_AROUND_NUMBERS = set("[](){},; \t")
_CLEARLY = 0.2
_TRUE = {"1", "1.0", "true"}
_BINARY = _TRUE | {"0", "0.0", "false", ""}


class Columns(Frozen):
    """The columns by role; a missing one is looked up under its usual names.

    `box` are four columns, or one whose cells hold four numbers, or `none` where the table's boxes are not wanted.
    """

    path: str | None = None
    person: str | None = None
    split: str | None = None
    box: tuple[str, str, str, str] | str | None = None


class ManifestOptions(BoxOptions):
    """Options of a manifest.

    Attributes:
        manifest: the table's path below the source.
        separator: what separates cells, by default the one of comma, semicolon, tab and `|` that fits the table.
        images: the folder that the paths are relative to, below the source or beside the table.
        columns: columns of the path, the person, the split and the four numbers of the box.
        box_format: what `columns.box` holds: two corners (`xyxy`), or a corner and a size (`xywh`).
        labels: columns that become attributes; by default those of mask, gender, age, emotion and label that exist.
        rename: from a label column to the name of its attribute.
        label_case: whether values that differ in case only are one class, spelled as most rows do (`merge`), or not.
    """

    manifest: str = Field(default="manifest.csv", min_length=1)
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    images: str | None = None
    columns: Columns = Columns()
    box_format: BoxFormat | None = None
    labels: tuple[str, ...] | None = None
    rename: dict[str, str] = Field(default_factory=dict)
    label_case: Literal["merge", "keep"] = "merge"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one table by role.

    Attributes:
        path: that of the paths.
        person: that of the persons, if any.
        split: that of the splits, if any.
        box: four columns, or one with four numbers in a cell; empty without boxes.
        box_format: what they hold.
        labels: from a column to its attribute.
        one_hot: columns of which a 1 says that their name is the class.
        unused: all others.
    """

    path: str
    person: str | None
    split: str | None
    box: tuple[str, ...]
    box_format: BoxFormat
    labels: Mapping[str, str]
    one_hot: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def one_hot_attribute(self) -> str:
        """The attribute of the classes in `one_hot`: the one whose values they all are, else `label`."""
        names = {spelling(name) for name in self.one_hot}
        return next((attribute for attribute, known in SPELLINGS.items() if names <= known.keys()), "label")

    def __str__(self) -> str:
        roles = [("path", self.path), ("person", self.person), ("split", self.split)]
        roles += [(attribute, column) for column, attribute in self.labels.items()]
        if self.one_hot:
            roles.append((self.one_hot_attribute, f"the one of {', '.join(self.one_hot)} that is 1"))
        if self.box:
            roles.append((f"box ({self.box_format})", ",".join(self.box)))
        used = ", ".join(f"{role} = {column}" for role, column in roles if column)
        return f"columns: {used}; unused: {', '.join(self.unused) or 'none'}"


def read_layout(table: Table, options: ManifestOptions, name: str) -> Layout:
    """Tell what the columns of a table hold.

    Names count in any case, with or without spaces, underscores and dashes. Raises InputError, naming the option, when
    there is no column of paths, a column that an option names is missing, two columns could have one role, or columns
    that look like a box are not one.
    """
    header, columns = table.header, options.columns
    path = _column(header, "path", columns.path, name)
    if path is None:
        ids = [column for column in header if folded(column) in _IDS]
        path = ids[0] if len(ids) == 1 else None
    if path is None:
        raise InputError(
            f"{name}: no column of paths; name it with the option 'columns.path'. Found: {', '.join(header)}"
        )
    person = _column(header, "person", columns.person, name)
    split = _column(header, "split", columns.split, name)
    undivided = None if columns.split or split is None else _only_value(split, table.rows)
    if undivided is not None:
        split = None  # a column that says `dev` in every row divides nothing
    labels = _labels(header, options, name)
    taken = {path, person, split, *labels}
    free = [column for column in header if column not in taken]
    box, box_format = _box(header, free, table.rows, options, name)
    unused = tuple(column for column in free if column not in box)
    one_hot: tuple[str, ...] = ()
    # `Mask` and `No Mask` of ones and zeros are two classes, though the first is called like an attribute.
    if options.labels is None and not options.rename and all(_is_binary(column, table.rows) for column in labels):
        one_hot = _one_hot((*labels, *unused), table.rows, name)
        labels = {} if one_hot else labels
        unused = tuple(column for column in unused if column not in one_hot)
    if undivided is not None:
        unused = (*unused, f"every row says the split '{undivided}'")
    return Layout(path, person, split, box, box_format, labels, one_hot, unused)


def _only_value(column: str, rows: Sequence[Row]) -> str | None:
    """Return the value of a column that has the same one, which is the name of no split, in every row."""
    values = {row.cells[column] for row in rows}
    if len(values) != 1 or len(rows) == 1:
        return None
    (written,) = values
    known = not written or split_of_name(written) or own_value("split", written)
    return None if known else written


def _named(header: Sequence[str], column: str, table: str) -> str:
    """Return the column that an option names, exactly or else in another case."""
    alike = [entry for entry in header if entry == column] or [e for e in header if folded(e) == folded(column)]
    if len(alike) != 1:
        raise InputError(f"{table}: no column '{column}'. Found: {', '.join(header)}{nearest(column, header)}")
    return alike[0]


def _candidates(header: Sequence[str], role: str) -> list[str]:
    usual = {folded(name) for name in COLUMNS[role]}
    return [column for column in header if folded(column) in usual]


def _column(header: Sequence[str], role: str, named: str | None, table: str) -> str | None:
    if named is not None:
        return _named(header, named, table)
    candidates = _candidates(header, role)
    if len(candidates) > 1:
        raise InputError(
            f"{table}: the columns {' and '.join(candidates)} could both be the {role}; name it with the option "
            f"'columns.{role}'"
        )
    return candidates[0] if candidates else None


def _labels(header: Sequence[str], options: ManifestOptions, table: str) -> dict[str, str]:
    """Return the label columns with their attributes."""
    rename = {_named(header, column, table): attribute for column, attribute in options.rename.items()}
    labels: dict[str, str] = {}
    if options.labels is not None:
        for column in options.labels:
            attribute = folded(column)
            labels[_named(header, column, table)] = attribute if attribute in ATTRIBUTES else column
    else:
        for attribute in ATTRIBUTES:
            candidates = [column for column in _candidates(header, attribute) if column not in labels]
            if attribute == "age":  # years say more than a group of ages beside them
                candidates = [column for column in candidates if folded(column) == "age"] or candidates
            labels |= dict.fromkeys(candidates, attribute)
    labels |= rename
    if len(set(labels.values())) < len(labels):
        shown = ", ".join(f"{column} = {attribute}" for column, attribute in labels.items())
        raise InputError(f"{table}: two label columns become one attribute: {shown}; change 'labels' or 'rename'")
    return labels


def _box(
    header: Sequence[str], free: Sequence[str], rows: Sequence[Row], options: ManifestOptions, table: str
) -> tuple[tuple[str, ...], BoxFormat]:
    """Return the columns of the box and what they hold; none where the table has no box."""
    named = options.columns.box
    if named == "none":
        return (), "xyxy"
    if isinstance(named, tuple):
        columns = tuple(_named(header, column, table) for column in named)
        usual = next((kind for names, kind in _boxes() if tuple(map(folded, columns)) == names), None)
        return columns, options.box_format or usual or "xyxy"
    if named is not None:
        column = _named(header, named, table)
        return (column,), options.box_format or _one_cell_format(column, rows, table)
    by_name = {folded(column): column for column in free}
    is_landmarks = {"x3", "y3"} <= by_name.keys()
    found = [(names, kind) for names, kind in _boxes() if set(names) <= by_name.keys()]
    found = [] if is_landmarks else found
    one_cell = [column for column in free if folded(column) in _ONE_CELL]
    if len(found) + len(one_cell) > 1:
        shown = " and ".join([",".join(by_name[name] for name in names) for names, _ in found] + one_cell)
        raise InputError(f"{table}: {shown} could both be the box; name its columns with the option 'columns.box'")
    if found:
        ((names, kind),) = found
        return tuple(by_name[name] for name in names), options.box_format or kind
    if one_cell:
        return (one_cell[0],), options.box_format or _one_cell_format(one_cell[0], rows, table)
    _refuse_unread_box(by_name, is_landmarks, table)
    return (), "xyxy"


def _boxes() -> list[tuple[tuple[str, ...], BoxFormat]]:
    """Return the usual names of the four columns of a box, without and with a word before them."""
    prefixed = [
        (tuple(prefix + name for name in names), kind) for prefix in _PREFIXES for names, kind in _PREFIXED_BOXES
    ]
    return [*_BOXES, *prefixed]


def _refuse_unread_box(by_name: Mapping[str, str], is_landmarks: bool, table: str) -> None:
    """Raise InputError when columns that are not read look like a box."""
    bare = {}
    for name, column in by_name.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix) and name != prefix), "")
        bare[name.removeprefix(prefix)] = column
    alike = [column for name, column in bare.items() if name in _COORDINATES]
    if alike:
        alike += [bare[name] for name in ("width", "height") if name in bare]
    if len(alike) >= _FEW_COORDINATES and not is_landmarks:
        raise InputError(
            f"{table}: {', '.join(alike)} look like a box and are not read; name its four columns with the options "
            "'columns.box' and 'box_format' (xyxy or xywh), or say 'columns.box: none'"
        )


def _one_cell_format(column: str, rows: Sequence[Row], table: str) -> BoxFormat:
    """Tell what four numbers in a cell are: where many cannot be two corners, they are a corner and a size."""
    boxes = [numbers for row in rows if (numbers := four_numbers([row.cells[column]]))]
    inverted = sum(third <= left or fourth <= top for left, top, third, fourth in boxes)
    if inverted > _CLEARLY * len(boxes):
        return "xywh"
    raise InputError(
        f"{table}: the cells of '{column}' can be two corners or a corner and a size; say which with the option "
        "'box_format' (xyxy or xywh)"
    )


def four_numbers(cells: Sequence[str]) -> Box | None:
    """Return the four numbers of a box in four cells, or in one such as `[1, 2, 3, 4]`; None when it has others."""
    if len(cells) == 1:
        if set(_NUMBER.sub("", cells[0])) - _AROUND_NUMBERS:
            return None
        cells = _NUMBER.findall(cells[0])
    try:
        left, top, third, fourth = map(float, cells)
    except ValueError:
        return None
    return (left, top, third, fourth) if all(map(math.isfinite, (left, top, third, fourth))) else None


def _one_hot(columns: Sequence[str], rows: Sequence[Row], table: str) -> tuple[str, ...]:
    """Return the columns that hold zeros and ones, a one in most rows; none where there are fewer than two."""
    binary = [column for column in columns if _is_binary(column, rows)]
    ones = [sum(is_one(row.cells[column]) for column in binary) for row in rows]
    if len(binary) < 2 or not any(ones) or min(ones) == len(binary):
        return ()
    if 2 * sum(count > 1 for count in ones) > len(rows):
        raise InputError(
            f"{table}: most rows have several ones in {', '.join(binary)}, so these are not one class; name the "
            "columns that become an attribute each with the option 'labels'"
        )
    return tuple(binary)


def _is_binary(column: str, rows: Sequence[Row]) -> bool:
    return all(row.cells[column].lower() in _BINARY for row in rows)


def is_one(cell: str) -> bool:
    """Tell whether a cell of a one-hot column says yes."""
    return cell.lower() in _TRUE
