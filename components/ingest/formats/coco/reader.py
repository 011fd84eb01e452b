"""COCO: JSON files with images, boxes and categories, one file for all or one for each split."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from components.ingest.formats.class_names import ClassNames, class_names
from components.ingest.formats.coco.faces import (
    Annotation,
    Category,
    category_names,
    category_of,
    kept_faces,
    read_annotation,
)
from components.ingest.formats.coco.files import CocoFile, below, coco_files, image_root, resolver_below
from components.ingest.formats.coco.values import identity, side
from components.ingest.formats.listing import BoxOptions, Listing, Record, image_paths, split_of_name
from components.ingest.sources.source import Source
from components.shared.dataset.paths import PathResolver
from components.shared.dataset.text import composed
from serving.runtime.errors import InputError

_log = logging.getLogger(__name__)

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


@dataclass(slots=True)
class _Data:
    """What all files together state: faces by picture, category names, and whether any face has a box."""

    entries: dict[str, list[tuple[Record, list[Annotation]]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[str, None] = field(default_factory=dict)
    used: Counter[Category] = field(default_factory=Counter)
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
        path = composed(below(self._root, name))
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


def _faces(file: CocoFile, images: Any, data: _Data, listing: Listing) -> dict[str, list[Annotation]]:
    """Return the faces of each image id."""
    if file.annotations:
        told = file.info.get("category_attribute", "")
        data.told.add(told if isinstance(told, str) else None)
    names = category_names(file)
    data.names |= dict.fromkeys(name for entry in names.values() for name in entry)
    is_ours = isinstance(file.info.get("format"), str) and isinstance(file.info.get("counts"), dict)
    categories: dict[Any, Category] = {}
    faces: dict[str, list[Annotation]] = defaultdict(list)
    for index, record in enumerate(file.annotations):
        where = f"{file.path}: annotations[{index}]"
        image_id = identity(record.get("image_id"))
        if image_id is None or image_id not in images:
            listing.lost.add("annotation_without_image", where)
            continue
        category_id = identity(record.get("category_id"))
        category = categories.get(category_id)
        if category is None:
            category = categories[category_id] = category_of(category_id, names.get(category_id or "", []))
        data.used[category] += 1
        has_box = "bbox" in record or bool(record.get("segmentation"))
        data.has_boxes |= has_box and record.get("whole_image") is not True
        faces[image_id].append(read_annotation(record, category, where, is_ours and not has_box, listing))
    return faces


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
    if attribute is None and data.told - {""}:
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


def _collect(
    path: str,
    entries: Sequence[tuple[Record, Sequence[Annotation]]],
    classes: ClassNames,
    has_boxes: bool,
    options: CocoOptions,
    listing: Listing,
) -> None:
    """List the entries of one picture as one record, or count why they cannot be one."""
    records = [
        replace(record, faces=tuple(kept_faces(stated, classes, has_boxes, options, listing)))
        for record, stated in entries
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
    split = next(iter(splits), None)
    listing.records.append(first if first.split == split else replace(first, split=split))
