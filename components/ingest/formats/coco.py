"""COCO: JSON files with images, boxes and categories, one file for all or one for each split."""

import logging
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pydantic import Field

from components.ingest.formats.class_names import ClassNames, class_names
from components.ingest.formats.coco_files import CocoFile, coco_files, image_root, resolver_below
from components.ingest.formats.coco_values import box, identity, keypoints, number, outline_box, side
from components.ingest.formats.listing import BoxOptions, Listing, Record, image_paths, split_of_name
from components.ingest.formats.paths import PathResolver
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Face, Keypoint
from components.shared.dataset.label_spaces import canonical_value
from components.shared.dataset.text import composed
from serving.runtime.errors import InputError

_log = logging.getLogger(__name__)

_KNOWN_ATTRIBUTES = ("mask", "gender", "age", "emotion")
_SHOWN = 10


class CocoOptions(BoxOptions):
    """Options of COCO data.

    Attributes:
        annotations: the annotation files below the source: one, several, or one for each split; by default all JSON
            files that are COCO, each for the split in its name or in the names of its folders.
        images: the folder of the images, or of the folders of the splits; by default looked for around each file.
        attribute: the attribute that the categories are values of; by default `emotion` for the seven emotions,
            nothing for the one category `face`, and `label` for everything else. Categories without faces do not count.
    """

    annotations: str | tuple[str, ...] | dict[Literal["train", "val", "test"], str] = ()
    images: str | None = None
    attribute: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")


class _Category(NamedTuple):
    """The category of a face: its name, why it gives no label, and what the annotation states."""

    name: str | None
    reason: str
    stated: str


@dataclass(frozen=True, slots=True)
class _Annotation:
    """A face as its annotation states it. `boxless` says why it has no box."""

    where: str
    category: _Category
    attributes: dict[str, Any]
    box: Box | None
    boxless: str
    keypoints: tuple[Keypoint, ...] | None
    score: float | None


@dataclass(slots=True)
class _Data:
    """What all files together state: faces by picture, category names, and whether any face has a box."""

    entries: dict[str, list[tuple[Record, list[_Annotation]]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[str, None] = field(default_factory=dict)
    used: Counter[_Category] = field(default_factory=Counter)
    told: set[str | None] = field(default_factory=set)  # "" stands for a file that does not tell
    has_boxes: bool = False
    keypoint_names: set[tuple[str, ...]] = field(default_factory=set)
    searched: dict[str, None] = field(default_factory=dict)


def read_coco(source: Source, options: CocoOptions) -> Listing:
    """Find the pictures that COCO files describe.

    Each annotation is a face with its box, keypoints, score and, as an attribute, its category. `person` and `split` of
    an image and `attributes` of an annotation, which plain COCO does not have, are read where they are, and
    `category_attribute` of `info` says what the categories are when the option does not. An annotation marked
    `whole_image` means the whole picture, and so does every annotation when none of any file has a box. Numbers may be
    texts. Several entries of one picture must agree. Crowds are lost faces. Raises InputError when there is no COCO
    file, one is damaged, or no image of them is found.
    """
    listing = Listing()
    paths = image_paths((path for path in source.paths if not path.lower().endswith(".json")), listing)
    available = {composed(path): path for path in paths}
    data = _Data()
    for file in coco_files(source, options.annotations, listing):
        _read_file(file, options, available, data, listing)
    if not data.entries and listing.dropped.counts.keys() & {"missing_file", "ambiguous_path"}:
        raise InputError(
            f"{source.uri}: the images that the COCO files name are missing; searched "
            f"{', '.join(repr(root or '.') for root in data.searched)}; name their folder with the option "
            f"'images'. {listing.dropped}"
        )
    if len(data.keypoint_names) == 1:
        (listing.keypoint_names,) = data.keypoint_names
    elif data.keypoint_names:
        listing.lost.add("keypoint_names_differ", source.uri)
    classes = _classes(data, options.attribute, listing)
    if not data.has_boxes and data.used:
        listing.layout.append("no annotation has a box: every face is its whole picture")
    for path, entries in sorted(data.entries.items()):
        _collect(path, entries, classes, data.has_boxes, options, listing)
    for path in sorted(set(paths) - data.entries.keys()):
        listing.skipped.add("not_in_the_annotations", path)
    return listing


class _Pictures:
    """Finds the pictures of a file: below the folder of its images, else by the end of their paths."""

    def __init__(self, root: str, split: str | None, available: dict[str, str]) -> None:
        self._root = root
        self._split = split
        self._available = available

    def find(self, name: str) -> str | None:
        path = composed(posixpath.normpath(posixpath.join(self._root, name)))
        if path not in self._available:
            path = self.resolver.resolve(name) or ""
        return self._available.get(path)

    @cached_property
    def resolver(self) -> PathResolver:
        return resolver_below(self._root, self._split, self._available)


def _read_file(file: CocoFile, options: CocoOptions, available: dict[str, str], data: _Data, listing: Listing) -> None:
    """Add the images of a file that have a usable id and are there, and what the file states about all."""
    root, roots = image_root(file, options.images, available)
    data.searched |= dict.fromkeys(roots)
    listing.layout.append(
        f"{file.path}: split {file.split or 'not told'}, images below {root or '.'}, "
        f"{len(file.images)} images, {len(file.annotations)} annotations"
    )
    names = [record.get("keypoints") for record in file.categories]
    data.keypoint_names |= {tuple(map(str, entry)) for entry in names if isinstance(entry, list) and entry}
    images = _images(file, listing)
    faces = _faces(file, images.keys(), data, listing)
    pictures = _Pictures(root, file.split, available)
    for image_id, record in images.items():
        name = record["file_name"]
        where = f"{file.path}: {name}"
        path = pictures.find(name)
        if path is None:
            reason = pictures.resolver.reason(name)
            listing.dropped.add(reason, where)
        else:
            data.entries[path].append((_record(path, record, file.split, where, listing), faces[image_id]))
            if not faces[image_id]:
                listing.notes.add("no_annotation", where)
    if "resolver" in vars(pictures):
        listing.notes.update(pictures.resolver.notes)


def _images(file: CocoFile, listing: Listing) -> dict[str, dict[str, Any]]:
    """Return the entries of images by their id; those of an id that stands for several pictures are dropped."""
    images: dict[str, dict[str, Any]] = {}
    twice: dict[str, None] = {}
    for index, record in enumerate(file.images):
        name, image_id = record.get("file_name"), identity(record.get("id"))
        if not isinstance(name, str) or not name or image_id is None:
            listing.dropped.add("bad_image_entry", f"{file.path}: images[{index}]")
        elif image_id not in images:
            images[image_id] = record
        elif images[image_id] | {"id": 0} == record | {"id": 0}:
            listing.notes.add("duplicate_image_entry", f"{file.path}: {name}")
        else:
            twice[image_id] = None
            listing.dropped.add("image_id_twice", f"{file.path}: {name} ({record['id']!r})")
    for image_id in twice:
        record = images.pop(image_id)
        listing.dropped.add("image_id_twice", f"{file.path}: {record['file_name']} ({record['id']!r})")
    return images


def _categories(file: CocoFile) -> dict[str, list[str]]:
    """Return the names of each category id, one where the file is sound."""
    names: dict[str, list[str]] = defaultdict(list)
    for record in file.categories:
        category, name = identity(record.get("id")), record.get("name")
        if category is not None and name is not None and str(name) not in names[category]:
            names[category].append(str(name))
    return names


def _faces(file: CocoFile, images: Any, data: _Data, listing: Listing) -> dict[str, list[_Annotation]]:
    """Return the faces of each image id."""
    told = file.info.get("category_attribute")
    data.told.add((told if isinstance(told, str) else None) if "category_attribute" in file.info else "")
    names = _categories(file)
    data.names |= dict.fromkeys(name for entry in names.values() for name in entry)
    is_ours = isinstance(file.info.get("format"), str) and isinstance(file.info.get("counts"), dict)
    categories: dict[Any, _Category] = {}
    faces: dict[str, list[_Annotation]] = defaultdict(list)
    for index, record in enumerate(file.annotations):
        where = f"{file.path}: annotations[{index}]"
        image_id = identity(record.get("image_id"))
        if image_id is None or image_id not in images:
            listing.lost.add("annotation_without_image", where)
            continue
        category_id = identity(record.get("category_id"))
        category = categories.get(category_id)
        if category is None:
            category = categories[category_id] = _category(category_id, names.get(category_id or "", []))
        data.used[category] += 1
        has_box = "bbox" in record or bool(record.get("segmentation"))
        data.has_boxes |= has_box and record.get("whole_image") is not True
        faces[image_id].append(_face(record, category, where, is_ours and not has_box, listing))
    return faces


def _category(category: str | None, names: Sequence[str]) -> _Category:
    if category is None:
        return _Category(None, "no_category", "")
    if len(names) == 1:
        return _Category(names[0], "unknown_category", f"{category}, {names[0]}")
    if names:
        return _Category(None, "category_id_twice", f"{category}: {', '.join(names)}")
    return _Category(None, "unknown_category", category)


def _face(record: dict[str, Any], category: _Category, where: str, is_whole: bool, listing: Listing) -> _Annotation:
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
    return _Annotation(where, category, attributes, found, boxless, points, None if score is None else float(score))


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


def _record(path: str, record: dict[str, Any], split: str | None, where: str, listing: Listing) -> Record:
    """Return what an entry states about its picture: the person, the split, the size and the original name."""
    height, width = side(record.get("height")), side(record.get("width"))
    size = (height, width) if height and width else None
    if size is None:
        listing.notes.add("no_size", where)
    if "split" in record:
        named = record["split"]
        split = split_of_name(str(named)) if named is not None else None
        if named is not None and split is None:
            listing.lost.add("unknown_split", f"{where} ({named})")
    person, source = record.get("person"), record.get("source")
    person = str(person) if isinstance(person, str | int) and person != "" else None
    return Record(path, (), person, split, size, source if isinstance(source, str) else None)


def _classes(data: _Data, attribute: str | None, listing: Listing) -> ClassNames:
    """Return what the categories mean in all files, and say so in `listing.layout`."""
    used = {category.name for category in data.used if category.name is not None}
    if attribute is None and data.told != {""}:
        if len(data.told) > 1:
            told = ", ".join(sorted(name or "none" for name in data.told))
            raise InputError(
                f"the COCO files differ in what their categories are, 'category_attribute' of 'info' ({told}); name it "
                f"with the option 'attribute'"
            )
        (attribute,) = data.told
        if attribute is None:
            listing.layout.append("the categories are no attribute: 'category_attribute' of the files is null")
            return ClassNames(None, {})
    if not data.names and len(data.used) > 1:
        _log.warning("the COCO files name no categories, so that no face has a label; add 'categories' to them")
        attribute = attribute or "label"
    classes = class_names(data.names, used, attribute, listing)
    counts = {category.name: count for category, count in data.used.items() if category.name is not None}
    listed = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:_SHOWN])
    empty = [name for name in data.names if name not in used]
    listing.layout.append(
        f"{classes.attribute or 'no attribute'} is the category: {listed or 'none is named'}"
        + (f"; without faces: {', '.join(empty[:_SHOWN])}" if empty else "")
    )
    return classes


def _labeled(face: _Annotation, classes: ClassNames, listing: Listing) -> dict[str, Any]:
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


def _kept(
    stated: Sequence[_Annotation], classes: ClassNames, has_boxes: bool, options: CocoOptions, listing: Listing
) -> Iterator[Face]:
    """Yield the faces of a picture that can be read."""
    whole: list[tuple[_Annotation, Face]] = []
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


def _collect(
    path: str,
    entries: Sequence[tuple[Record, Sequence[_Annotation]]],
    classes: ClassNames,
    has_boxes: bool,
    options: CocoOptions,
    listing: Listing,
) -> None:
    """List the entries of one picture as one record, or count why they cannot be one."""
    records = [
        replace(record, faces=tuple(_kept(stated, classes, has_boxes, options, listing))) for record, stated in entries
    ]
    first = records[0]
    splits = {record.split for record in records} - {None}
    alike = all((entry.faces, entry.person, entry.size) == (first.faces, first.person, first.size) for entry in records)
    if not alike or len(splits) > 1:
        listing.dropped.add("conflicting_entries", path)
        return
    if any(stated for _, stated in entries) and not first.faces:
        listing.dropped.add("every_face_lost", path)
        return
    if len(records) > 1:
        listing.notes.add("duplicate_file_name", path, len(records) - 1)
    listing.records.append(replace(first, split=next(iter(splits), None)))
