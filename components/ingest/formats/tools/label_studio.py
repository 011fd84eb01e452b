"""Label Studio: JSON and JSON-MIN exports, and the files of its cloud storages."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from components.ingest.formats.listing import Listing
from components.ingest.formats.tools.annotation_files import annotation_files, pictures_of, read_each, skip_others
from components.ingest.formats.tools.documents import (
    bounds,
    box_of_corners,
    clean,
    number,
    parse_json,
    size_of,
    turned_bounds,
)
from components.ingest.formats.tools.shapes import CLASS, IMAGE_CLASS, Drawing, Points, Shape, ShapeOptions, add_records
from components.ingest.formats.yolo.dataset import split_of_folders
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Keypoint
from components.shared.dataset.boxes import overlap
from components.shared.dataset.label_spaces import LABEL_SPACES
from components.shared.dataset.paths import PathResolver
from components.shared.dataset.text import is_image_name
from serving.runtime.errors import InputError

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
_AREAS = ("rectangle", "ellipse", "polygon", "brush")
_TEXTS = ("choices", "labels", *(f"{area}labels" for area in (*_AREAS, "keypoint")))
_IMAGE_KEYS = ("image", "img", "photo", "picture", "url")
_ROW_KEYS = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "cancelled"}
_CLASS_KEYS = ("choice", "choices", "class", "label", "labels", "tag")
_SAME_FACE = 0.5  # intersection over union of two annotators' boxes


class LabelStudioOptions(ShapeOptions):
    """Options of Label Studio's data.

    Attributes:
        annotators: what counts where several people annotated a picture: the `first` or the `last` annotation, or
            (`agree`) the first one if all have the same faces with the same labels, boxes overlapping by half; a
            picture on which they differ is dropped. One that is marked as ground truth counts in any case.
    """

    annotators: Literal["agree", "first", "last"] = "agree"


@dataclass(slots=True)
class _Task:
    """A picture as it is written, and the annotations that were not canceled."""

    where: str
    image: str
    annotations: list[dict[str, Any]] = field(default_factory=list)


def read_label_studio(source: Source, options: LabelStudioOptions) -> Listing:
    """Find the pictures of Label Studio's exports.

    Rectangles, ellipses and polygons are faces with the box around them, keypoints belong to the box around them.
    Choices of a region are attributes of its face, those of the picture are labels of the whole picture; both are
    called after their control (`from_name`), and `rename` gives them another name. Canceled annotations, drafts and
    predictions are not read. Raises InputError when there is no such file.
    """
    listing = Listing()
    files = annotation_files(source, ".json")
    available = pictures_of(source, files, listing)
    resolver = PathResolver(available, options.images or "")

    def read(path: str, data: bytes, counted: Listing) -> list[_Task] | None:
        tasks = _tasks(
            parse_json(source.decode_text(path, data), f"{source.uri}/{path}"), path, options.rename, counted
        )
        if tasks is None:
            counted.skipped.add("not_label_studio", path)
        return tasks

    read_files = list(read_each(source, files, read, listing))
    if not read_files:
        raise InputError(
            f"{source.uri}: no JSON file of Label Studio; expected a list of tasks with 'data', or JSON-MIN"
        )
    tasks = [task for tasks in read_files for task in tasks]
    listing.layout.append(
        f"{len(read_files)} JSON files of Label Studio with {len(tasks)} tasks; several annotators: "
        f"{options.annotators}; canceled annotations and predictions are not read"
    )
    drawings = []
    paths = set()
    for task in tasks:
        path = _picture(task, resolver, listing)
        paths.add(path)
        drawing = _drawing(task, path, options, listing) if path is not None else None
        if drawing is not None:
            drawings.append(drawing)
    add_records(drawings, options, listing)
    listing.notes.update(resolver.notes)
    skip_others(available, paths, listing)
    return listing


def _tasks(document: Any, file: str, rename: Mapping[str, str], listing: Listing) -> list[_Task] | None:
    """Return the tasks of a file that is an export, a row of JSON-MIN for each annotation included."""
    if isinstance(document, dict) and isinstance(document.get("task"), dict):
        document = [{**document["task"], "annotations": [document]}]  # a file of a cloud storage
    elif isinstance(document, dict) and isinstance(document.get("data"), dict):
        document = [document]
    if not isinstance(document, list) or not any(map(is_task, document)):
        return None
    tasks, rows = [], dict[str, _Task]()
    for index, entry in enumerate(document):
        where = f"{file}: [{index}]"
        if not is_task(entry):
            listing.dropped.add("bad_task", where)
            continue
        data = entry.get("data")
        image = _image(data if isinstance(data, dict) else entry)
        if not image:
            listing.dropped.add("task_without_an_image", where)
        elif isinstance(data, dict):
            tasks.append(_Task(where, image, _annotations(entry, where, listing)))
        else:
            result = list(_results_of_row(entry, where, rename, listing))
            rows.setdefault(image, _Task(where, image)).annotations.append({"result": result})
    return tasks + list(rows.values())


def is_task(entry: Any) -> bool:
    """Whether an entry of a list is a task of a JSON export, or a row of JSON-MIN."""
    return isinstance(entry, dict) and (
        isinstance(entry.get("data"), dict) or ("annotation_id" in entry and "annotator" in entry)
    )


def _image(data: Mapping[str, Any]) -> str:
    """Return the text of a task that names its picture."""
    texts = {key: value.strip() for key, value in data.items() if isinstance(value, str) and value.strip()}
    named = [texts[key] for key in _IMAGE_KEYS if key in texts]
    return next(iter([*named, *(text for text in texts.values() if is_image_name(text.split("?")[0]))]), "")


def _annotations(task: Mapping[str, Any], where: str, listing: Listing) -> list[dict[str, Any]]:
    entries = task.get("annotations", task.get("completions"))
    annotations = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("result"), list):
            listing.lost.add("bad_annotation", where)
        elif entry.get("was_cancelled") is True:
            listing.skipped.add("canceled_annotation", where)
        else:
            annotations.append(entry)
    truths = [entry for entry in annotations if entry.get("ground_truth") is True]
    return truths if len(truths) == 1 else annotations


def _results_of_row(
    row: Mapping[str, Any], where: str, rename: Mapping[str, str], listing: Listing
) -> Iterator[dict[str, Any]]:
    """Yield the results of a row of JSON-MIN, whose keys are the names of controls and of data.

    A plain text may be either: it is a choice under the usual names, and where `rename` names its key. Several texts
    are choices of regions, and this form does not tell of which.
    """
    for name, value in row.items():
        is_choice = name in rename or name.lower() in (*_CLASS_KEYS, *LABEL_SPACES)
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            for entry in value:
                kind = next((key for key in _TEXTS if key in entry), "")
                sizes = {key: entry.get(key) for key in ("original_width", "original_height", "image_rotation")}
                yield {"type": kind or "rectangle", "from_name": name, "value": entry, **sizes}
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            yield {"type": "choices", "from_name": name, "value": value}
        elif isinstance(value, list) and is_choice:
            listing.lost.add("choice_of_an_unknown_region", f"{where} ({name})", len(value))
        elif isinstance(value, str) and is_choice:
            yield {"type": "choices", "from_name": name, "value": {"choices": [value]}}
        elif name not in _ROW_KEYS and name not in _IMAGE_KEYS:
            listing.notes.add("unread_column", name)


def _picture(task: _Task, resolver: PathResolver, listing: Listing) -> str | None:
    """Return the picture of a task, also without the prefix that an upload gives its name; None, counted, without."""
    name = PurePosixPath(task.image).name
    path = resolver.resolve(task.image) or resolver.resolve(_UPLOAD_PREFIX.sub("", name))
    if path is None:
        listing.dropped.add(resolver.reason(task.image), f"{task.where}: {task.image}")
    return path


def _drawing(task: _Task, path: str, options: LabelStudioOptions, listing: Listing) -> Drawing | None:
    """Read one task; None, counted, when nobody annotated it, or its annotators differ."""
    if not task.annotations:
        listing.skipped.add("no_annotation", path)
        return None
    if options.annotators == "agree":
        drawings = [_annotated(entry, path, task.where, Listing()) for entry in task.annotations]
        if not all(_same_faces(drawings[0], other) for other in drawings[1:]):
            listing.dropped.add("annotators_differ", path)
            return None
    chosen = task.annotations[-1 if options.annotators == "last" else 0]
    if len(task.annotations) > 1:
        listing.notes.add("several_annotators", path)
    return _annotated(chosen, path, task.where, listing)


def _same_faces(first: Drawing, second: Drawing) -> bool:
    """Whether each face of one annotation is, with the same labels, in the other."""
    rest = list(second.shapes)
    for shape in first.shapes:
        same = [one for one in rest if _labels(one) == _labels(shape) and _same_box(one.box, shape.box)]
        if not same:
            return False
        rest.remove(same[0])
    return not rest and sorted(map(_labels, first.tags)) == sorted(map(_labels, second.tags))


def _labels(shape: Shape) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return sorted(shape.classes.items()), sorted((name, str(value)) for name, value in shape.attributes.items())


def _same_box(first: Box | None, second: Box | None) -> bool:
    return first == second if first is None or second is None else overlap(first, second) >= _SAME_FACE


def _annotated(annotation: Mapping[str, Any], path: str, where: str, listing: Listing) -> Drawing:
    """Read one annotation. Results with the same id are one region."""
    drawing = Drawing(path, split=split_of_folders(path), normalized=True)
    regions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for index, result in enumerate(annotation["result"]):
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            listing.lost.add("bad_result", f"{where}, result[{index}]")
            continue
        drawing.size = drawing.size or size_of(result.get("original_width"), result.get("original_height"))
        is_region = "x" in result["value"] or "points" in result["value"] or "rle" in result["value"]
        name = f"{result.get('id')}" if is_region and result.get("id") is not None else f"[{index}]"
        regions[name].append(result)
    for name, results in regions.items():
        _add_region(results, f"{where}, result {name}", drawing, listing)
    return drawing


def _add_region(results: list[dict[str, Any]], where: str, drawing: Drawing, listing: Listing) -> None:
    values = {key: value for result in results for key, value in result["value"].items()}
    shape = Shape(where)
    is_region = "x" in values or "points" in values or "rle" in values
    for result in results:
        _add_label(result, is_region, shape, listing)
    kinds = {str(result.get("type", "")).removesuffix("labels") for result in results}
    if not is_region:
        if shape.classes or shape.attributes:
            drawing.tags.append(shape)
        elif not kinds <= {"choices"}:
            listing.lost.add(f"unread_{clean(min(kinds)) or 'result'}", where)
        return
    if "keypoint" in kinds:
        point, label = _scaled(values, "x", "y"), shape.classes.get(CLASS)
        if point is None or label is None:
            listing.lost.add("bad_points", where)
        else:
            drawing.points.append(Points(where, {label: Keypoint(point[0], point[1], 2)}))
        return
    if any(number(result.get("image_rotation") or 0) != 0 for result in results):
        shape.fault = "turned_image"
    elif "rle" in values:
        shape.fault = "unread_brush"
    else:
        shape.box = _box(values, drawing.size, where, listing)
        shape.fault = "" if shape.box else "bad_box"
    drawing.shapes.append(shape)


def _add_label(result: Mapping[str, Any], is_region: bool, shape: Shape, listing: Listing) -> None:
    """Read the class or the choice of a result."""
    control = clean(result.get("from_name"))
    for kind in _TEXTS:
        names = result["value"].get(kind)
        if not names:
            continue
        texts = [clean(name) for name in names] if isinstance(names, list) else [clean(names)]
        if len(texts) != 1 or not texts[0]:
            listing.lost.add("several_labels" if len(texts) > 1 else "no_class", f"{shape.where} {texts}")
        elif kind != "choices":
            shape.classes[CLASS] = texts[0]
        elif control.lower() in _CLASS_KEYS or not control:
            shape.classes["choice" if is_region else IMAGE_CLASS] = texts[0]
        else:
            shape.attributes[control] = texts[0]


def _scaled(values: Mapping[str, Any], *keys: str) -> list[float] | None:
    """Return percentages as shares, None when one is no number."""
    numbers = [number(values.get(key)) for key in keys]
    shares = [value / 100 for value in numbers if value is not None]
    return shares if len(shares) == len(keys) else None


def _box(values: Mapping[str, Any], size: tuple[int, int] | None, where: str, listing: Listing) -> Box | None:
    """Return the box around a region as shares of the picture; turning needs the size of the picture."""
    box: Box | None
    if "points" in values:
        points = values["points"]
        box = bounds(points) if isinstance(points, list) and len(points) > 2 else None
        return None if box is None else (box[0] / 100, box[1] / 100, box[2] / 100, box[3] / 100)
    if "radiusX" in values:
        numbers = _scaled(values, "x", "y", "radiusX", "radiusY")
        if numbers is None:
            return None
        x, y, across, down = numbers
        box, center = box_of_corners(x - across, y - down, x + across, y + down), (x, y)
    else:
        numbers = _scaled(values, "x", "y", "width", "height")
        if numbers is None:
            return None
        x, y, width, height = numbers
        box, center = box_of_corners(x, y, x + width, y + height), (x, y)
    degrees = number(values.get("rotation") or 0)
    if box is None or degrees is None or (degrees and size is None):
        return None
    if not degrees or size is None:
        return box
    listing.notes.add("turned_box", where)
    down, across = size
    pixels = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    x, y, width, height = turned_bounds(pixels, degrees, (center[0] * across, center[1] * down))
    return x / across, y / down, width / across, height / down
