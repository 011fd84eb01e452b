"""Faces as annotation tools draw them: shapes with a class and attributes, and labels of whole pictures."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from components.ingest.formats.class_names import FACE, class_names
from components.ingest.formats.listing import BoxOptions, Listing, Record
from components.shared.dataset.annotations import Box, Face, Keypoint
from components.shared.dataset.label_spaces import LABEL_SPACES, canonical_value
from components.shared.dataset.text import some
from serving.runtime.errors import InputError

CLASS = "class"
"""The group of the class names of shapes; see `Shape.classes`."""
IMAGE_CLASS = "image_class"
"""The group of the class names of whole pictures."""
_SHOWN = 10


class ShapeOptions(BoxOptions):
    """Options of the formats of annotation tools.

    Attributes:
        images: the folder of the pictures below the source; by default they are searched in all of it.
        attribute: the attribute that the classes are values of; by default `emotion` for the seven emotions,
            nothing for the one class `face`, and `label` for everything else.
        rename: from the name of an attribute in the data to the name that it gets, for example {state: mask}.
    """

    images: str | None = None
    attribute: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    rename: dict[str, str] = Field(default_factory=dict)


@dataclass(slots=True)
class Points:
    """Named points of one face, in the units of the boxes."""

    where: str = field(compare=False)
    points: dict[str, Keypoint]


@dataclass(slots=True)
class Shape:
    """A drawn face, or the label of a whole picture.

    Attributes:
        where: for reports.
        classes: by group, the name of its class. Each group is a set of classes of its own, such as the names of
            objects (CLASS), those of whole pictures (IMAGE_CLASS), or attributes without a name.
        attributes: attributes with a name.
        box: x, y, width, height; None for a whole picture, and where `fault` says why it has none.
        fault: `no_box`, `bad_box`, or why a box cannot be read.
        points: points that are known to be its own.
    """

    where: str = field(compare=False)
    classes: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str | int] = field(default_factory=dict)
    box: Box | None = None
    fault: str = ""
    points: dict[str, Keypoint] = field(default_factory=dict)


@dataclass(slots=True)
class Drawing:
    """A picture with the shapes, the labels of the whole picture, and points whose face is not stated."""

    path: str
    shapes: list[Shape] = field(default_factory=list)
    tags: list[Shape] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)
    size: tuple[int, int] | None = None
    split: str | None = None
    normalized: bool = False


def add_records(drawings: Iterable[Drawing], options: ShapeOptions, listing: Listing) -> None:
    """List the pictures of an annotation tool.

    - A face without a readable box is lost, unless `no_box` keeps it. Where no face of the data states a box, every
      face is its whole picture.
    - The label of a whole picture belongs to its only face; where there is none, the picture is the face; where there
      are several, the label is lost.
    - Points belong to the only box around them.
    - Several entries of one picture must agree, else the picture is dropped.
    """
    pictures = list(_one_a_picture(drawings, listing))
    shapes = [shape for picture in pictures for shape in picture.shapes]
    boxed = any(shape.box is not None or shape.fault != "no_box" for shape in shapes)
    if shapes and not boxed:
        listing.layout.append("no face has a box: every face is its whole picture")
    for picture in pictures:
        _join_points(picture, listing)
        _join_tags(picture, listing)
    attributes = _Attributes([*shapes, *(tag for picture in pictures for tag in picture.tags)], options, listing)
    names = tuple(dict.fromkeys(name for shape in shapes for name in shape.points))
    listing.keypoint_names = names
    for picture in pictures:
        faces = []
        for shape in picture.shapes or picture.tags:
            is_whole = not shape.fault or (shape.fault == "no_box" and not boxed)
            if not is_whole and not (shape.fault in ("no_box", "bad_box") and options.no_box == "keep"):
                listing.lost.add(shape.fault, shape.where)
                continue
            if not is_whole:
                listing.notes.add(shape.fault, shape.where)
            points = tuple(shape.points.get(name, Keypoint(0, 0, 0)) for name in names) if shape.points else None
            faces.append(Face(0, shape.box, attributes.of(shape), points))
        if not faces and (picture.shapes or picture.tags):
            listing.dropped.add("every_face_lost", picture.path)
            continue
        listing.records.append(
            Record(picture.path, tuple(faces), None, picture.split, picture.size, normalized=picture.normalized)
        )


def _one_a_picture(drawings: Iterable[Drawing], listing: Listing) -> Iterator[Drawing]:
    """Yield one drawing for each picture, in the order of the paths, with equal shapes once."""
    entries: dict[str, list[Drawing]] = defaultdict(list)
    for drawing in drawings:
        entries[drawing.path].append(drawing)
    for path, alike in sorted(entries.items()):
        first = alike[0]
        if any(replace(other, split=None) != replace(first, split=None) for other in alike[1:]):
            listing.dropped.add("conflicting_entries", path)
            continue
        splits = {other.split for other in alike} - {None}
        if len(splits) > 1:
            listing.lost.add("several_splits", f"{path} ({', '.join(sorted(map(str, splits)))})")
        if len(alike) > 1:
            listing.notes.add("duplicate_entry", path, len(alike) - 1)
        shapes: list[Shape] = []
        for shape in first.shapes:
            if shape.box is not None and shape in shapes:
                listing.notes.add("duplicate_shape", shape.where)
            else:
                shapes.append(shape)
        yield replace(first, shapes=shapes, split=splits.pop() if len(splits) == 1 else None)


def _join_points(picture: Drawing, listing: Listing) -> None:
    for points in picture.points:
        labeled = [point for point in points.points.values() if point.visibility]
        around = [shape for shape in picture.shapes if shape.box and _contains(shape.box, labeled)]
        if len(around) != 1:
            listing.lost.add("points_without_a_face" if not around else "points_in_several_faces", points.where)
        elif around[0].points.keys() & points.points.keys():
            listing.lost.add("point_twice", points.where)
        else:
            around[0].points |= points.points


def _contains(box: Box, points: Iterable[Keypoint]) -> bool:
    x, y, width, height = box
    return all(x <= point.x <= x + width and y <= point.y <= y + height for point in points)


def _join_tags(picture: Drawing, listing: Listing) -> None:
    """Give the labels of the whole picture to its only face; without a face they become one."""
    if len(picture.shapes) > 1:
        for tag in picture.tags:
            listing.lost.add("image_label_of_several_faces", tag.where)
        return
    (face,) = picture.shapes or [Shape(picture.path)]
    for kind in ("classes", "attributes"):
        values: dict[str, set[str | int]] = defaultdict(set)
        for labels in (getattr(shape, kind) for shape in (face, *picture.tags)):
            for name, value in labels.items():
                values[name].add(value)
        for name in sorted(name for name, stated in values.items() if len(stated) > 1):
            listing.lost.add("contradicting_labels", f"{picture.path} ({name})")
        setattr(face, kind, {name: next(iter(stated)) for name, stated in values.items() if len(stated) == 1})
    picture.tags = [face] if picture.tags and not picture.shapes else []


class _Attributes:
    """The attributes of faces: what the groups of classes are values of is decided over all faces."""

    def __init__(self, shapes: list[Shape], options: ShapeOptions, listing: Listing) -> None:
        self._listing = listing
        self._rename = options.rename
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for shape in shapes:
            for group, name in shape.classes.items():
                counts[group][name] += 1
        self._attribute_of: dict[str, str] = {}
        self._values: dict[str, dict[str, Any]] = {}
        attribute = options.attribute  # of the first group whose classes say anything
        for group, names in sorted(counts.items(), key=lambda item: (item[0] != CLASS, item[0])):
            listed = some([f"{name} {count}" for name, count in names.most_common()], _SHOWN)
            if {name.strip().lower() for name in names} <= {FACE}:
                listing.layout.append(f"{group}: {listed}; no attribute")
                continue
            classes = class_names(names, names, attribute, listing)
            chosen = str(classes.attribute)
            shared = group == IMAGE_CLASS and counts[CLASS].keys() & names.keys()
            if chosen in self._attribute_of.values() and not shared:
                chosen = group
            self._attribute_of[group], self._values[group] = chosen, classes.values
            attribute = None
            listing.layout.append(f"{group}: {listed}; becomes the attribute '{chosen}'")

    def of(self, shape: Shape) -> dict[str, Any]:
        """Return the attributes of a face; a value that is not one of its attribute is lost."""
        attributes: dict[str, Any] = {}
        for name, value in shape.attributes.items():
            attribute = self._rename.get(name, name)
            attribute = attribute.lower() if attribute.lower() in LABEL_SPACES else attribute
            try:
                attributes[attribute] = value if isinstance(value, int) else canonical_value(attribute, value)
            except InputError:
                self._listing.lost.add(f"bad_{attribute}", f"{shape.where} ({value})")
        for group, name in shape.classes.items():
            if group not in self._attribute_of:
                continue
            attribute, values = self._attribute_of[group], self._values[group]
            if name not in values:
                self._listing.lost.add(f"bad_{attribute}", f"{shape.where} ({name})")
            elif attributes.setdefault(attribute, values[name]) != values[name]:
                self._listing.lost.add("contradicting_labels", f"{shape.where} ({attribute})")
                del attributes[attribute]
        return attributes
