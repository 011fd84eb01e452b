"""Annotations of COCO files as faces: their box, category, attributes, keypoints and score."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from components.ingest.formats.class_names import ClassNames
from components.ingest.formats.coco.files import CocoFile
from components.ingest.formats.coco.values import box, identity, keypoints, number, outline_box
from components.ingest.formats.listing import BoxOptions, Listing
from components.shared.dataset.annotations import Box, Face, Keypoint
from components.shared.dataset.label_spaces import canonical_value
from serving.runtime.errors import InputError

_KNOWN_ATTRIBUTES = ("mask", "gender", "age", "emotion")


class Category(NamedTuple):
    """The category of a face: its name, why it gives no label, and what the annotation states."""

    name: str | None
    reason: str
    stated: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """A face as its annotation states it. `boxless` says why it has no box."""

    where: str
    category: Category
    attributes: dict[str, Any]
    box: Box | None
    boxless: str
    keypoints: tuple[Keypoint, ...] | None
    score: float | None


def category_names(file: CocoFile) -> dict[str, list[str]]:
    """Return the names of each category id, one where the file is sound."""
    names: dict[str, list[str]] = defaultdict(list)
    for record in file.categories:
        category, name = identity(record.get("id")), record.get("name")
        if category is not None and name is not None and str(name) not in names[category]:
            names[category].append(str(name))
    return names


def category_of(category: str | None, names: Sequence[str]) -> Category:
    """Return the category of an id that has these names."""
    if category is None:
        return Category(None, "no_category", "")
    if len(names) == 1:
        return Category(names[0], "unknown_category", f"{category}, {names[0]}")
    if names:
        return Category(None, "category_id_twice", f"{category}: {', '.join(names)}")
    return Category(None, "unknown_category", category)


def read_annotation(
    record: dict[str, Any], category: Category, where: str, is_whole: bool, listing: Listing
) -> Annotation:
    """Read the annotation of a face; `is_whole` when the face is its whole picture. What is not read is counted."""
    found, written = None, "whole_image"
    if record.get("whole_image") is not True and not is_whole:
        found, written = box(record.get("bbox"))
        if written == "no_box" and (outline := outline_box(record.get("segmentation"))) is not None:
            found, written = outline, "box_of_segmentation"
        if found is not None and written:
            listing.notes.add(written, where)
    if record.get("iscrowd") and number(record["iscrowd"]) != 0:
        found, written = None, "iscrowd"
    points = keypoints(record.get("keypoints"))
    if points is None and record.get("keypoints"):
        listing.lost.add("bad_keypoints", where)
    score = number(record.get("score"))
    if score is None and record.get("score") is not None:
        listing.lost.add("bad_score", where)
    attributes = _attributes(record.get("attributes"), where, listing)
    boxless = "" if found else written
    return Annotation(where, category, attributes, found, boxless, points, None if score is None else float(score))


def _attributes(stated: Any, where: str, listing: Listing) -> dict[str, Any]:
    """Return the attributes that an annotation states, those that we know in their one spelling."""
    if stated and not isinstance(stated, dict):
        listing.lost.add("bad_attributes", where)
    attributes = {k: v for k, v in stated.items() if v is not None} if isinstance(stated, dict) else {}
    for name in _KNOWN_ATTRIBUTES:
        if name in attributes:
            try:
                attributes[name] = canonical_value(name, attributes[name])
            except InputError:
                listing.lost.add(f"bad_{name}", f"{where} ({attributes.pop(name)})")
    return attributes


def _labeled(face: Annotation, classes: ClassNames, listing: Listing) -> dict[str, Any]:
    """Return the attributes of a face with its category; where they disagree, the category counts, and one is lost."""
    attribute, category = classes.attribute, face.category
    if attribute is None:
        return face.attributes
    value = classes.values.get(category.name) if category.name is not None else None
    if value is None:
        if category.reason != "no_category" or attribute not in face.attributes:
            listing.lost.add(category.reason, f"{face.where} ({category.stated})" if category.stated else face.where)
        return face.attributes
    if face.attributes.get(attribute, value) != value:
        differs = f"{face.where} ({face.attributes[attribute]} -> {value})"
        listing.lost.add("category_differs_from_attributes", differs)
    return face.attributes | {attribute: value}


def kept_faces(
    stated: Sequence[Annotation], classes: ClassNames, has_boxes: bool, options: BoxOptions, listing: Listing
) -> Iterator[Face]:
    """Yield the faces of a picture that can be read.

    Where the data have no boxes, a face is the whole picture, and annotations that differ are none of them right.
    """
    whole: list[tuple[Annotation, Face]] = []
    for entry in stated:
        no_box = entry.boxless in ("no_box", "bad_box")
        if entry.boxless == "iscrowd" or (no_box and has_boxes and options.no_box == "drop"):
            listing.lost.add(entry.boxless, entry.where)
            continue
        face = Face(0, entry.box, _labeled(entry, classes, listing), entry.keypoints, entry.score)
        if no_box:
            whole.append((entry, face))
            if has_boxes:
                listing.notes.add(entry.boxless, entry.where)
        else:
            yield face
    if any(face.attributes != whole[0][1].attributes for _, face in whole):
        for entry, _ in whole:
            listing.lost.add("several_labels_without_a_box", entry.where)
    elif whole:
        yield whole[0][1]
        for entry, _ in whole[1:]:
            listing.notes.add("duplicate_annotation", entry.where)
