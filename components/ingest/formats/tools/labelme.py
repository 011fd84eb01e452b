"""LabelMe: a JSON file for each picture, with its shapes."""

import math
from collections.abc import Iterator
from typing import Any

from components.ingest.formats.listing import Listing
from components.ingest.formats.tools.annotation_files import annotation_files, pictures_of, read_each, skip_others
from components.ingest.formats.tools.documents import bounds, clean, number, parse_json, size_of
from components.ingest.formats.tools.shapes import CLASS, IMAGE_CLASS, Drawing, Points, Shape, ShapeOptions, add_records
from components.ingest.formats.tools.stems import PictureFiles
from components.ingest.formats.yolo.dataset import split_of_folders
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Keypoint
from serving.runtime.errors import InputError

_AREAS = {"rectangle": 2, "polygon": 3, "oriented_rectangle": 4, "mask": 2}
"""The shapes with an area, and how many points each has at least."""


class LabelmeOptions(ShapeOptions):
    """Options of LabelMe's data."""


def read_labelme(source: Source, options: LabelmeOptions) -> Listing:
    """Find the pictures of LabelMe's JSON files.

    Rectangles, polygons, circles and masks are faces with the box around them; a point belongs to the one box around
    it and is called after its label. The flag of a picture is the label of the whole picture, those of a shape are
    attributes. The picture is the one of the same name as the file, or else the one that `imagePath` names; one that
    is only inside of the JSON file (`imageData`) is missing. Raises InputError when there is no such file.
    """
    listing = Listing()
    files = annotation_files(source, ".json")
    finder = PictureFiles(pictures_of(source, files, listing), options.images, files)

    def read(path: str, data: bytes, counted: Listing) -> tuple[Drawing | None] | None:
        try:
            document = parse_json(source.decode_text(path, data), path)
        except InputError as error:
            counted.dropped.add("unreadable_annotation_file", str(error).removeprefix(f"{source.uri}/"))
            return None
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            counted.skipped.add("not_labelme", path)
            return None
        return (_drawing(document, path, finder, counted),)

    read_files = list(read_each(source, files, read, listing))
    if not read_files:
        raise InputError(f"{source.uri}: no JSON file with 'shapes', as LabelMe has one for each picture")
    drawings = [drawing for (drawing,) in read_files if drawing is not None]
    listing.layout.append(f"{len(read_files)} JSON files with 'shapes'")
    add_records(drawings, options, listing)
    listing.notes.update(finder.resolver.notes)
    skip_others(finder.paths, {drawing.path for drawing in drawings}, listing)
    return listing


def _drawing(document: dict[str, Any], file: str, finder: PictureFiles, listing: Listing) -> Drawing | None:
    """Read one file; None, counted, when its picture is not there."""
    written = document.get("imagePath")
    inside = isinstance(document.get("imageData"), str) and document["imageData"]
    written = written.strip() if isinstance(written, str) else ""
    path = finder.find(file, written, listing, missing="missing_file" if not inside else "only_in_imageData")
    if path is None:
        return None
    drawing = Drawing(
        path, size=size_of(document.get("imageWidth"), document.get("imageHeight")), split=split_of_folders(path)
    )
    flags = _flags(document.get("flags"))
    if len(flags) == 1:
        drawing.tags.append(Shape(f"{file}: flag {flags[0]}", {IMAGE_CLASS: flags[0]}))
    elif flags:
        listing.lost.add("several_flags", f"{file} ({', '.join(flags)})")
    for index, shape in enumerate(document["shapes"]):
        _add_shape(shape, f"{file}: shapes[{index}]", drawing, listing)
    return drawing


def _flags(value: Any) -> list[str]:
    return [clean(name) for name, is_set in value.items() if is_set is True] if isinstance(value, dict) else []


def _add_shape(value: Any, where: str, drawing: Drawing, listing: Listing) -> None:
    if not isinstance(value, dict):
        drawing.shapes.append(Shape(where, fault="bad_shape"))
        return
    kind = clean(value.get("shape_type", "polygon")) or "shape"  # files of early versions do not state it
    label, points = clean(value.get("label")), list(_points(value.get("points")))
    if not label:
        listing.lost.add("no_class", where)
    if kind == "point":
        if len(points) == 1 and points[0] is not None and label:
            drawing.points.append(Points(where, {label: Keypoint(*points[0], 2)}))
        else:
            listing.lost.add("bad_points", where)
        return
    shape = Shape(where, {CLASS: label} if label else {})
    shape.attributes = dict.fromkeys(_flags(value.get("flags")), 1)
    if kind in _AREAS or kind == "circle":
        shape.box = _box(kind, points)
        shape.fault = "" if shape.box else "bad_box"
    else:
        shape.fault = f"unread_{kind}"
    drawing.shapes.append(shape)


def _points(value: Any) -> Iterator[tuple[float, float] | None]:
    for point in value if isinstance(value, list) else ():
        x, y = map(number, point) if isinstance(point, list) and len(point) == 2 else (None, None)
        yield None if x is None or y is None else (x, y)


def _box(kind: str, points: list[tuple[float, float] | None]) -> Box | None:
    """Return the box around a shape; the corners of a rectangle come in any order."""
    if kind == "circle":
        if len(points) != 2 or points[0] is None or points[1] is None:
            return None
        (x, y), radius = points[0], math.dist(points[0], points[1])
        return bounds([(x - radius, y - radius), (x + radius, y + radius)])
    return bounds(points) if len(points) >= _AREAS[kind] else None
