"""COCO: JSON files with images, boxes and categories, one file for all or one for each split."""

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from components.ingest.formats.class_names import ClassNames, class_names
from components.ingest.formats.coco_files import CocoFile, coco_files, image_root
from components.ingest.formats.listing import SPLITS, Listing, Options, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Face, Keypoint
from components.shared.dataset.label_spaces import canonical_value
from components.shared.dataset.text import composed
from serving.runtime.errors import InputError

_KNOWN_ATTRIBUTES = ("mask", "gender", "age", "emotion")
# No picture has as many pixels on one side.
_FAR = 1e9


class CocoOptions(Options):
    """Options of COCO data.

    Attributes:
        annotations: the annotation files below the source: one, several, or one for each split; by default all JSON
            files that are COCO, each for the split in its name or in the names of its folders.
        images: the folder of the images, or of the folders of the splits; by default looked for around each file.
        attribute: the attribute that the categories are values of; by default `emotion` for the seven emotions,
            nothing for the one category `face`, and `label` for everything else.
    """

    annotations: str | tuple[str, ...] | dict[Literal["train", "val", "test"], str] = ()
    images: str | None = None
    attribute: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")


def read_coco(source: Source, options: CocoOptions) -> Listing:
    """Find the pictures that COCO files describe.

    Each annotation is a face with its box, keypoints, score and, as an attribute, its category. `person` and `split` of
    an image and `attributes` of an annotation, which plain COCO does not have, are read where they are, and
    `category_attribute` of `info` says what the categories are when the option does not. An annotation marked
    `whole_image`, or without a usable box and alone on its picture, means the whole picture. Crowds are left out.
    Several entries of one picture must agree. Raises InputError when there is no COCO file, one is damaged, or no
    image of them is found.
    """
    listing = Listing()
    available = {
        composed(path): path for path in image_paths((p for p in source.paths if not p.endswith(".json")), listing)
    }
    pictures: dict[str, list[Record]] = defaultdict(list)
    keypoint_names: set[tuple[str, ...]] = set()
    searched: list[str] = []
    for file in coco_files(source, options.annotations, listing):
        root, roots = image_root(file, options.images, available)
        searched += roots
        keypoint_names |= _keypoint_names(file)
        for record in _records(file, root, available, options.attribute, listing):
            pictures[record.path].append(record)
    if not pictures and listing.dropped.total:
        raise InputError(
            f"{source.uri}: the images that the COCO files name are missing; searched "
            f"{', '.join(repr(root or '.') for root in dict.fromkeys(searched))}; name their folder with the option "
            f"'images'. {listing.dropped}"
        )
    if len(keypoint_names) == 1:
        (listing.keypoint_names,) = keypoint_names
    elif keypoint_names:
        listing.notes.add("keypoint_names_differ", source.uri)
    for _, entries in sorted(pictures.items()):
        _collect(entries, listing)
    for path in sorted(set(available.values()) - pictures.keys()):
        listing.skipped.add("not_in_the_annotations", path)
    return listing


def _records(
    file: CocoFile, root: str, available: dict[str, str], attribute: str | None, listing: Listing
) -> Iterator[Record]:
    """Yield the images of a file that have a usable id and are there."""
    images: dict[Any, tuple[str, dict[str, Any]]] = {}
    twice: set[Any] = set()
    for index, record in enumerate(file.images):
        name, image_id = record.get("file_name"), record.get("id")
        if not isinstance(name, str) or not name or not isinstance(image_id, int | str):
            listing.dropped.add("bad_image_entry", f"{file.path}: images[{index}]")
        elif image_id in images:
            twice.add(image_id)
            listing.dropped.add("image_id_twice", f"{file.path}: {name}")
        else:
            images[image_id] = name.replace("\\", "/"), record
    for image_id in sorted(twice, key=str):
        listing.dropped.add("image_id_twice", f"{file.path}: {images.pop(image_id)[0]}")
    faces = _faces(file, _classes(file, attribute), images.keys(), listing)
    for image_id, (name, record) in images.items():
        where = f"{file.path}: {name}"
        path = available.get(composed(posixpath.normpath(posixpath.join(root, name))))
        if path is None:
            listing.dropped.add("missing_file", where)
        else:
            yield Record(path, _kept(faces[image_id], where, listing), *_properties(record, file.split, where, listing))


def _classes(file: CocoFile, attribute: str | None) -> ClassNames:
    if attribute is None and "category_attribute" in file.info:
        attribute = file.info["category_attribute"]
        if not isinstance(attribute, str):
            return ClassNames(None, {})
    names = {
        record["id"]: str(record["name"])
        for record in file.categories
        if isinstance(record.get("id"), int | str) and record.get("name") is not None
    }
    return class_names(names, attribute)


def _faces(file: CocoFile, classes: ClassNames, images: Any, listing: Listing) -> dict[Any, list[tuple[Face, bool]]]:
    """Return the faces of each image id; the mark tells whether a missing box is meant."""
    faces: dict[Any, list[tuple[Face, bool]]] = defaultdict(list)
    for index, record in enumerate(file.annotations):
        where = f"{file.path}: annotations[{index}]"
        image_id = record.get("image_id")
        if not isinstance(image_id, int | str) or image_id not in images:
            listing.notes.add("annotation_without_image", where)
        elif record.get("iscrowd"):
            listing.notes.add("iscrowd", where)
        else:
            whole = record.get("whole_image") is True
            box = None if whole else _box(record.get("bbox"), where, listing)
            score: Any = record.get("score")
            face = Face(
                0,
                box,
                _attributes(record, classes, where, listing),
                keypoints=_keypoints(record.get("keypoints"), where, listing),
                score=float(score) if type(score) in (int, float) else None,
            )
            faces[image_id].append((face, whole))
    return faces


def _box(value: Any, where: str, listing: Listing) -> Box | None:
    """Return a box in pixels, or None, counted."""
    if value is None or value == []:
        listing.notes.add("no_box", where)
        return None
    if isinstance(value, list) and len(value) == 4 and all(type(number) in (int, float) for number in value):
        x, y, width, height = value
        if width > 0 and height > 0 and max(map(abs, value)) < _FAR:
            return float(x), float(y), float(width), float(height)
    listing.notes.add("bad_box", f"{where} {value}")
    return None


def _keypoint_names(file: CocoFile) -> set[tuple[str, ...]]:
    """Return the keypoint names of the categories that have any."""
    lists = [record.get("keypoints") for record in file.categories]
    return {tuple(map(str, names)) for names in lists if isinstance(names, list) and names}


def _keypoints(value: Any, where: str, listing: Listing) -> tuple[Keypoint, ...] | None:
    """Return keypoints in pixels; None when there are none, or, counted, when they cannot be read."""
    if not value:
        return None
    if isinstance(value, list) and len(value) % 3 == 0 and all(type(number) in (int, float) for number in value):
        points = tuple(Keypoint(float(x), float(y), int(seen)) for x, y, seen in zip(*[iter(value)] * 3, strict=True))
        if all(seen in (0, 1, 2) for seen in value[2::3]) and max(map(abs, value)) < _FAR:
            return points
    listing.notes.add("bad_keypoints", where)
    return None


def _attributes(record: dict[str, Any], classes: ClassNames, where: str, listing: Listing) -> dict[str, Any]:
    """Return the attributes of a face; where its category disagrees with them, the category counts."""
    stated = record.get("attributes")
    attributes = {k: v for k, v in stated.items() if v is not None} if isinstance(stated, dict) else {}
    for name in _KNOWN_ATTRIBUTES:
        if name in attributes:
            try:
                attributes[name] = canonical_value(name, attributes[name])
            except InputError:
                listing.notes.add(f"bad_{name}", f"{where} ({attributes.pop(name)})")
    if classes.attribute is None:
        return attributes
    category = record.get("category_id")
    value = classes.values.get(category) if isinstance(category, int | str) else None
    if value is None:
        listing.notes.add("unknown_category", f"{where} ({category})")
        return attributes
    if attributes.get(classes.attribute, value) != value:
        listing.notes.add("category_differs_from_attributes", f"{where} ({attributes[classes.attribute]} -> {value})")
    return attributes | {classes.attribute: value}


def _kept(faces: list[tuple[Face, bool]], where: str, listing: Listing) -> tuple[Face, ...]:
    if not faces:
        listing.notes.add("no_annotation", where)
    if len(faces) == 1:
        return (faces[0][0],)
    return tuple(face for face, whole in faces if face.box is not None or whole)


def _properties(
    record: dict[str, Any], split: str | None, where: str, listing: Listing
) -> tuple[str | None, str | None, tuple[int, int] | None, str | None]:
    """Return the person, the split, the (height, width) and the original name of an image."""
    person = record.get("person")
    height, width = record.get("height"), record.get("width")
    size = (height, width) if type(height) is int and type(width) is int and height > 0 and width > 0 else None
    if size is None:
        listing.notes.add("no_size", where)
    if "split" in record:
        named = record["split"]
        if named is None or str(named).lower() in SPLITS:
            split = SPLITS[str(named).lower()] if named is not None else None
        else:
            listing.notes.add(f"ignored_split_{named}", where)
    person = str(person) if isinstance(person, str | int) and person != "" else None
    source = record.get("source")
    return person, split, size, source if isinstance(source, str) else None


def _collect(entries: list[Record], listing: Listing) -> None:
    """List the entries of one picture as one record, or count why they cannot be one."""
    first = entries[0]
    splits = {entry.split for entry in entries} - {None}
    alike = all((entry.faces, entry.person, entry.size) == (first.faces, first.person, first.size) for entry in entries)
    if not alike or len(splits) > 1:
        listing.dropped.add("conflicting_entries", first.path)
        return
    if len(entries) > 1:
        listing.notes.add("duplicate_file_name", first.path, len(entries) - 1)
    listing.records.append(replace(first, split=next(iter(splits), None)))
