"""Pascal VOC: an XML file for each picture, with the pixel boxes of its objects."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Literal
from xml.etree.ElementTree import Element

from components.ingest.formats.listing import Listing, split_of_name
from components.ingest.formats.tools.annotation_files import annotation_files, pictures_of, read_each, skip_others
from components.ingest.formats.tools.documents import bounds, box_of_corners, clean, number, parse_xml, size_of
from components.ingest.formats.tools.shapes import CLASS, Drawing, Shape, ShapeOptions, add_records
from components.ingest.formats.tools.stems import PictureFiles
from components.ingest.formats.yolo.dataset import split_of_folders
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box
from components.shared.dataset.text import composed
from serving.runtime.errors import InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_UNREAD_BOXES = ("robndbox", "rotated_bndbox", "mask")
_FLAGS = ("difficult", "truncated", "occluded")
_NO_SPLIT = ("default", "trainval")
_OTHER_SIDES = {"-1", "0", "1"}


class VocOptions(ShapeOptions):
    """Options of Pascal VOC data.

    Attributes:
        first_pixel: what the first pixel of a row is called. The default, 0, is what today's tools write: corners are
            positions between pixels, as in every other format here. PASCAL's own files count from 1 and name the last
            pixel inside; with 1 their boxes are right to the pixel, with 0 a pixel smaller.
    """

    first_pixel: Literal[0, 1] = 0


def read_voc(source: Source, options: VocOptions) -> Listing:
    """Find the pictures of Pascal VOC data: `Annotations` and `JPEGImages`, or XML files beside their pictures.

    The picture of an XML file is the one of the same name, or else the one that it names. Splits are those of
    `ImageSets`, or else the names of folders. Attributes are read as PASCAL (`difficult`, `pose`, ...) and as CVAT
    (`attributes`) write them; an `attribute` that is a plain text is a class in a group of its own.
    Raises InputError when there is no such file, or a corner at 0 contradicts the option `first_pixel`.
    """
    listing = Listing()
    files = annotation_files(source, ".xml")
    lists = {path for path in source.paths if path.lower().endswith(".txt")}
    finder = PictureFiles(pictures_of(source, files | lists, listing), options.images, files)
    splits = _Splits(source, listing)

    def read(path: str, data: bytes, counted: Listing) -> tuple[Drawing | None] | None:
        try:
            root = parse_xml(data, path, partial(source.decode_text, path))
        except InputError as error:
            counted.dropped.add("unreadable_annotation_file", str(error).removeprefix(f"{source.uri}/"))
            return (None,)
        if root.tag != "annotation":
            counted.skipped.add("not_voc", path)
            return None
        shapes = list(_shapes(root, path, options, counted))
        split = splits.of(path, counted)
        picture = finder.find(path, (root.findtext("filename") or "").strip(), counted)
        if picture is None:
            return (None,)
        size = size_of(_text(root, "size/width"), _text(root, "size/height"))
        if size is None:
            counted.notes.add("no_size", path)
        return (Drawing(picture, shapes, size=size, split=split or split_of_folders(path)),)

    read_files = list(read_each(source, files, read, listing))
    if not read_files:
        raise InputError(f"{source.uri}: no XML file with <annotation> in it, as Pascal VOC has one for each picture")
    drawings = [drawing for (drawing,) in read_files if drawing is not None]
    listing.layout.append(
        f"{len(read_files)} XML files with <annotation>; pixels are counted from {options.first_pixel}"
    )
    splits.finish()
    add_records(drawings, options, listing)
    listing.notes.update(finder.resolver.notes)
    skip_others(finder.paths, {drawing.path for drawing in drawings}, listing)
    return listing


def _text(element: Element, path: str) -> str:
    return clean(element.findtext(path) or "")


def _shapes(root: Element, path: str, options: VocOptions, listing: Listing) -> Iterator[Shape]:
    for index, element in enumerate(root.findall("object"), start=1):
        where = f"{path}: object {index}"
        shape = Shape(where)
        if name := _text(element, "name"):
            shape.classes[CLASS] = name
        else:
            listing.lost.add("no_class", where)
        _add_attributes(element, shape, listing)
        shape.box, shape.fault = _box(element, path, options)
        if element.find("part") is not None:
            listing.notes.add("parts_of_an_object", where)
        yield shape


def _box(element: Element, path: str, options: VocOptions) -> tuple[Box | None, str]:
    """Return the box of an object, or why it has none."""
    boxes = element.findall("bndbox")
    if len(boxes) > 1:
        return None, "several_boxes"
    if not boxes:
        polygon = element.find("polygon")
        if polygon is not None:
            box = _polygon_bounds(polygon)
            return box, "" if box else "bad_box"
        return None, next((f"unread_{name}" for name in _UNREAD_BOXES if element.find(name) is not None), "no_box")
    corners = [number(_text(boxes[0], name)) for name in _CORNERS]
    if options.first_pixel:
        if 0 in corners[:2]:
            raise InputError(
                f"{path}: a box begins at 0, so pixels are not counted from 1; see the option 'first_pixel'"
            )
        corners = [None if corner is None else corner - (i < 2) for i, corner in enumerate(corners)]
    box = box_of_corners(*corners)
    return box, "" if box else "bad_box"


def _polygon_bounds(polygon: Element) -> Box | None:
    """Return the box around `<x1>1</x1><y1>2</y1>...`, or around `<point><x>1</x><y>2</y></point>...`."""
    points: list[list[str]] = [[_text(point, "x"), _text(point, "y")] for point in polygon.findall("point")]
    index = 1
    while polygon.find(f"x{index}") is not None:
        points.append([_text(polygon, f"x{index}"), _text(polygon, f"y{index}")])
        index += 1
    return bounds(points)


def _add_attributes(element: Element, shape: Shape, listing: Listing) -> None:
    for name in _FLAGS:
        if _text(element, name).lower() in ("1", "true"):
            shape.attributes[name] = 1
    if (pose := _text(element, "pose")) and pose.lower() != "unspecified":
        shape.attributes["pose"] = pose
    texts = []
    for attribute in (*element.findall("attribute"), *element.findall("attributes/attribute")):
        name, value = _text(attribute, "name"), _text(attribute, "value")
        if not len(attribute):
            texts.append(clean(attribute.text or ""))
        elif not name:
            listing.lost.add("attribute_without_a_name", shape.where)
        elif shape.attributes.get(name, value) != value:
            listing.lost.add("contradicting_labels", f"{shape.where} ({name})")
            del shape.attributes[name]
        elif value:
            shape.attributes[name] = value
    texts = [text for text in dict.fromkeys(texts) if text]
    if len(texts) == 1:
        shape.classes["attribute"] = texts[0]
    elif texts:
        listing.lost.add("several_attributes_without_names", f"{shape.where} ({', '.join(texts)})")


class _Splits:
    """The lists of `ImageSets/Main` by the folder that they lie in: `<root>/ImageSets/Main/<split>.txt`."""

    def __init__(self, source: Source, listing: Listing) -> None:
        self._listing = listing
        self._splits: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._used: set[tuple[str, str]] = set()
        lists: Counter[str] = Counter()
        for path in source.paths:
            root, folder, tail = f"/{path}".rpartition("/ImageSets/Main/")
            if not folder or not path.lower().endswith(".txt"):
                continue
            name = tail[: -len(".txt")].lower()
            split = split_of_name(name)
            if split is None:
                if "/" not in name and "_" not in name and name not in _NO_SPLIT:
                    listing.lost.add("unknown_split", path)
                continue
            for line in source.read_text(path).splitlines():
                if stem := _listed(line):
                    self._splits[root, stem].add(split)
                    lists[path] += 1
        for path, count in lists.items():
            listing.layout.append(f"{path} lists {count} pictures")

    def of(self, path: str, listing: Listing) -> str | None:
        """Return the split of an XML file; one in several splits is in none, counted."""
        if not self._splits:
            return None
        root, folder, tail = f"/{path}".rpartition("/Annotations/")
        names = dict.fromkeys([posixpath.splitext(tail)[0], posixpath.basename(path)[: -len(".xml")]])
        root = root if folder else ""
        key = next(((root, composed(name)) for name in names if (root, composed(name)) in self._splits), None)
        if key is None:
            listing.notes.add("in_no_list_of_a_split", path)
            return None
        self._used.add(key)
        if len(self._splits[key]) > 1:
            listing.lost.add("several_splits", f"{path} ({', '.join(sorted(self._splits[key]))})")
            return None
        return next(iter(self._splits[key]))

    def finish(self) -> None:
        """Count the listed pictures that no XML file describes."""
        for root, name in sorted(self._splits.keys() - self._used):
            self._listing.dropped.add("listed_without_an_annotation_file", f"{root}/{name}".removeprefix("/"))


def _listed(line: str) -> str:
    """Return the name of a line, `2008_000008` or `2008_000008 1`, without an extension of a picture."""
    words = line.strip().rsplit(None, 1)
    name = words[0] if len(words) == 2 and words[1] in _OTHER_SIDES else line.strip()
    stem, suffix = posixpath.splitext(name)
    return composed(stem if suffix.lower() in (".jpg", ".jpeg", ".png", ".xml") else name)
