"""CVAT for images 1.1: one XML file for all pictures of a task or a project."""

import posixpath
from functools import partial
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from components.ingest.formats.listing import Listing, split_of_name
from components.ingest.formats.tools.annotation_files import annotation_files, pictures_of, read_each, skip_others
from components.ingest.formats.tools.documents import (
    bounds,
    box_of_corners,
    clean,
    number,
    parse_xml,
    size_of,
    turned_bounds,
)
from components.ingest.formats.tools.shapes import CLASS, IMAGE_CLASS, Drawing, Points, Shape, ShapeOptions, add_records
from components.ingest.formats.yolo.dataset import split_of_folders
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Keypoint
from components.shared.dataset.paths import PathResolver
from components.shared.dataset.text import composed
from serving.runtime.errors import InputError

_UNDEFINED = "__undefined__"
"""What CVAT writes for a choice that nobody made."""
_BOXES = ("box", "polygon", "ellipse", "mask")


class CvatOptions(ShapeOptions):
    """Options of CVAT's data."""


def read_cvat(source: Source, options: CvatOptions) -> Listing:
    """Find the pictures of exports of CVAT, in the format "CVAT for images 1.1".

    Boxes, polygons, ellipses and masks are faces with the box around them. Points and skeletons belong to the box
    around them, or are a face where the picture has no such shape. A tag is the label of its whole picture. The split
    is the subset, or else that of a folder of the picture or of the file's name. Raises InputError when there is no
    such file, or one is damaged or is of the format for videos.
    """
    listing = Listing()
    files = annotation_files(source, ".xml")
    available = pictures_of(source, files, listing)
    resolver = PathResolver(available, options.images or "")

    def read(path: str, data: bytes, counted: Listing) -> list[Drawing] | None:
        root = parse_xml(data, f"{source.uri}/{path}", partial(source.decode_text, path))
        if root.tag != "annotations":
            counted.skipped.add("not_cvat", path)
            return None
        if root.find("track") is not None:
            raise InputError(
                f"{source.uri}/{path}: an export for videos, which names no pictures; export it from CVAT as "
                "'CVAT for images 1.1'"
            )
        images = (_drawing(image, path, available, resolver, options, counted) for image in root.findall("image"))
        return [drawing for drawing in images if drawing is not None]

    read_files = list(read_each(source, files, read, listing))
    if not read_files:
        raise InputError(f"{source.uri}: no XML file with <annotations> in it, as CVAT exports one for all pictures")
    drawings = [drawing for drawings in read_files for drawing in drawings]
    listing.layout.append(f"{len(read_files)} XML files of CVAT with {len(drawings)} pictures")
    add_records(drawings, options, listing)
    listing.notes.update(resolver.notes)
    skip_others(available, {drawing.path for drawing in drawings}, listing)
    return listing


def _drawing(
    element: Element, file: str, available: set[str], resolver: PathResolver, options: CvatOptions, listing: Listing
) -> Drawing | None:
    """Read one image; None, counted, when its picture is not there."""
    name, subset = element.get("name", "").strip(), clean(element.get("subset", ""))
    where = f"{file}: {name or 'image ' + element.get('id', '')}"
    if not name:
        listing.dropped.add("bad_image_entry", where)
        return None
    folder = options.images if options.images is not None else posixpath.dirname(file)
    usual = [
        posixpath.normpath(posixpath.join(folder, *middle, name.replace("\\", "/")))
        for middle in (("images", subset), ("images",), (subset,), ())
    ]
    path = next((entry for entry in map(composed, usual) if entry in available), None) or resolver.resolve(name)
    if path is None:
        listing.dropped.add(resolver.reason(name), where)
        return None
    split = split_of_name(subset) or split_of_folders(path) or split_of_name(PurePosixPath(file).stem)
    if split is None and subset.lower() not in ("", "default"):
        listing.lost.add("unknown_split", f"{where} ({subset})")
    drawing = Drawing(path, size=size_of(element.get("width"), element.get("height")), split=split)
    _add_shapes(element, drawing, where, listing)
    return drawing


def _add_shapes(element: Element, drawing: Drawing, where: str, listing: Listing) -> None:
    has_boxes = any(child.tag in _BOXES for child in element)
    for index, child in enumerate(element, start=1):
        shape = Shape(f"{where}, {child.tag} {index}")
        if label := clean(child.get("label", "")):
            shape.classes[IMAGE_CLASS if child.tag == "tag" else CLASS] = label
        else:
            listing.lost.add("no_class", shape.where)
        _add_attributes(child, shape, listing)
        if child.tag == "tag":
            drawing.tags.append(shape)
        elif child.tag in ("points", "skeleton"):
            points = _skeleton(child) if child.tag == "skeleton" else _named(_points(child), label)
            if points is None:
                listing.lost.add("bad_points", shape.where)
            elif has_boxes or len(points) == 1:
                drawing.points.append(Points(shape.where, points))
            else:
                shape.points = points
                shape.box = bounds([(point.x, point.y) for point in points.values() if point.visibility])
                shape.fault = "" if shape.box else "bad_box"
                drawing.shapes.append(shape)
        else:
            shape.box = _box(child, shape.where, listing) if child.tag in _BOXES else None
            shape.fault = "" if shape.box else "bad_box" if child.tag in _BOXES else f"unread_{child.tag}"
            drawing.shapes.append(shape)


def _named(points: list[list[float]] | None, label: str) -> dict[str, Keypoint] | None:
    """Return the points, called after their label, and numbered where there are several."""
    if points is None:
        return None
    names = [label] if len(points) == 1 else [f"{label} {index}" for index in range(1, len(points) + 1)]
    return {name: Keypoint(x, y, 2) for name, (x, y) in zip(names, points, strict=True)}


def _skeleton(element: Element) -> dict[str, Keypoint] | None:
    """Return the points of a skeleton, None when one cannot be read; one outside of the picture has no position."""
    named: dict[str, Keypoint] = {}
    for child in element.findall("points"):
        name, points = clean(child.get("label", "")), _points(child)
        if points is None or len(points) != 1 or name in named:
            return None
        seen = 0 if child.get("outside") == "1" else 1 if child.get("occluded") == "1" else 2
        named[name] = Keypoint(points[0][0], points[0][1], seen) if seen else Keypoint(0, 0, 0)
    return named or None


def _add_attributes(element: Element, shape: Shape, listing: Listing) -> None:
    if element.get("occluded") == "1":
        shape.attributes["occluded"] = 1
    for attribute in element.findall("attribute"):
        name, value = clean(attribute.get("name", "")), clean(attribute.text or "")
        if not name:
            listing.lost.add("attribute_without_a_name", shape.where)
        elif value and value != _UNDEFINED:
            shape.attributes[name] = value


def _box(element: Element, where: str, listing: Listing) -> Box | None:
    """Return the box around a shape."""
    box: Box | None
    if element.tag == "box":
        box = box_of_corners(*(element.get(key) for key in ("xtl", "ytl", "xbr", "ybr")))
    elif element.tag == "polygon":
        box = bounds(_points(element))
    elif element.tag == "ellipse":
        x, y, across, down = (number(element.get(key)) for key in ("cx", "cy", "rx", "ry"))
        if x is None or y is None or across is None or down is None:
            return None
        box = box_of_corners(x - across, y - down, x + across, y + down)
    else:
        left, top, width, height = (number(element.get(key)) for key in ("left", "top", "width", "height"))
        if left is None or top is None or width is None or height is None:
            return None
        box = box_of_corners(left, top, left + width, top + height)
    degrees = number(element.get("rotation", "0"))
    if box is None or degrees is None:
        return None
    if degrees:
        listing.notes.add("turned_box", where)
        box = turned_bounds(box, degrees, (box[0] + box[2] / 2, box[1] + box[3] / 2))
    return box


def _points(element: Element) -> list[list[float]] | None:
    """Return the points of `x,y;x,y`, None when one cannot be read."""
    points = []
    for pair in element.get("points", "").split(";"):
        x, _, y = pair.partition(",")
        point = number(x), number(y)
        if point[0] is None or point[1] is None:
            return None
        points.append([point[0], point[1]])
    return points
