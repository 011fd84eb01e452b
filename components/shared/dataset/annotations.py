"""The annotations artifact: a COCO JSON file. One image entry per picture, one annotation per face."""

import gc
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

from components.shared.output_file import write_whole
from serving.runtime.errors import InputError, NotFoundError

Box = tuple[float, float, float, float]

_NUMBERS = {int, float}
_TEXT_OR_NONE = {str, type(None)}
_TEXTS = ("person", "split", "source", "sha256", "dhash")
_RECORDS_AT_ONCE = 10_000
_CATEGORIES = [{"id": 1, "name": "face"}]


@dataclass(frozen=True, slots=True)
class Face:
    """One face. `box` is x, y, width, height in upright pixels of its image; None means the whole image.

    `attributes` holds raw facts (`mask`, `gender`, `age`, `emotion`, ...); an unknown fact is absent.
    """

    id: int
    box: Box | None
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """One picture. `file_name` is its name in the image archive; width and height are upright pixels.

    `person` groups the images of one person, `split` is train, val, test or None, `source` is the original name.
    An image that is not `trainable` is never put into the train split.
    `sha256` is that of the file, `dhash` tells how alike two pictures look (see `components.ingest.fingerprint`).
    """

    id: int
    file_name: str
    width: int
    height: int
    faces: tuple[Face, ...] = ()
    person: str | None = None
    split: str | None = None
    fold: int | None = None
    source: str | None = None
    trainable: bool = True
    sha256: str | None = None
    dhash: str | None = None


@dataclass(frozen=True)
class Annotations:
    """All images of a data set. `info` holds what the steps found out about it, such as `leaks` and `dropped`."""

    images: tuple[Image, ...]
    info: dict[str, Any]


def write_annotations(annotations: Annotations, path: Path) -> None:
    """Write COCO JSON. Equal annotations give equal bytes, and the file appears whole or not at all."""
    write_whole(path, _document(annotations))


def _document(annotations: Annotations) -> Iterator[str]:
    """The JSON text, its keys in order, in parts: the whole of it would take as much memory as the annotations."""
    faces = (_face_record(face, image.id) for image in annotations.images for face in image.faces)
    images = (_image_record(image) for image in annotations.images)
    yield '{"annotations":'
    yield from _json_list(faces)
    yield f',"categories":{_json(_CATEGORIES)},"images":'
    yield from _json_list(images)
    yield f',"info":{_json(annotations.info)}}}'


def _json_list(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    separator = "["
    while part := list(islice(records, _RECORDS_AT_ONCE)):
        yield separator + _json(part)[1:-1]
        separator = ","
    yield "[]" if separator == "[" else "]"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _image_record(image: Image) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": image.id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
    }
    for key in ("person", "split", "fold", "source", "sha256", "dhash"):
        value = getattr(image, key)
        if value is not None:
            record[key] = value
    if not image.trainable:
        record["trainable"] = False
    return record


def _face_record(face: Face, image_id: int) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": face.id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "attributes": face.attributes,
    }
    if face.box is not None:
        record["bbox"] = [float(value) for value in face.box]
        record["area"] = float(face.box[2] * face.box[3])
    return record


def read_annotations(path: Path) -> Annotations:
    """Read an annotations file.

    Raises NotFoundError when there is no such file, InputError naming the file and the record when it is not valid.
    """
    with _no_garbage_collection():
        return _read(path)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Holds back the search for cycles, which doubles the time in which millions of objects are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(path: Path) -> Annotations:
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such annotations file") from error
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a COCO object with 'images' and 'annotations'")
    for key in ("images", "annotations"):
        if not isinstance(document.get(key), list):
            raise InputError(f"{path}: '{key}' is missing or not a list; this is not a COCO file")
    info = document.get("info", {})
    if not isinstance(info, dict):
        raise InputError(f"{path}: 'info' must be an object")
    faces: dict[int, list[Face]] = {}
    try:
        image_ids = [_identifier(record, "images", at) for at, record in enumerate(document["images"])]
        for image_id in image_ids:
            if image_id in faces:
                raise InputError(f"image id {image_id} occurs twice")
            faces[image_id] = []
        _collect_faces(_used_up(document["annotations"]), faces)
        images = tuple(_image(record, tuple(faces.pop(record["id"]))) for record in _used_up(document["images"]))
        if len({image.file_name for image in images}) < len(images):
            raise InputError("two images have the same file_name")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Annotations(images, info)


def _used_up(records: list[Any]) -> Iterator[Any]:
    """The records in order; each is let go of when it has been read."""
    for at, record in enumerate(records):
        records[at] = None
        yield record


def _collect_faces(records: Iterator[Any], faces: dict[int, list[Face]]) -> None:
    """Append every annotation to the list of its image."""
    seen: set[int] = set()
    for at, record in enumerate(records):
        face_id = _identifier(record, "annotations", at)
        if face_id in seen:
            raise InputError(f"annotation {face_id} occurs twice")
        seen.add(face_id)
        image_id = record.get("image_id")
        if not isinstance(image_id, int) or image_id not in faces:
            raise InputError(f"annotation {face_id}: 'image_id' {image_id!r} is no image of this file")
        if record.get("category_id") != 1:
            raise InputError(f"annotation {face_id}: 'category_id' must be 1 (face), got {record.get('category_id')!r}")
        attributes = record.get("attributes", {})
        if not isinstance(attributes, dict):
            raise InputError(f"annotation {face_id}: 'attributes' must be an object")
        bbox = record.get("bbox")
        box = _box(bbox, face_id) if bbox is not None else None
        faces[image_id].append(Face(face_id, box, attributes))


def _identifier(record: Any, key: str, at: int) -> int:
    if not isinstance(record, dict):
        raise InputError(f"{key}[{at}]: expected an object")
    value = record.get("id")
    if not _is_positive(value):
        raise InputError(f"{key}[{at}]: 'id' must be an integer from 1 on, got {value!r}")
    return value


def _is_positive(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _image(record: Mapping[str, Any], faces: tuple[Face, ...]) -> Image:
    where = f"image {record['id']}"
    if not isinstance(record.get("file_name"), str) or not record["file_name"]:
        raise InputError(f"{where}: 'file_name' must be a name, got {record.get('file_name')!r}")
    for key in ("width", "height"):
        if not _is_positive(record.get(key)):
            raise InputError(f"{where}: '{key}' must be a positive number of pixels, got {record.get(key)!r}")
    if not _TEXT_OR_NONE.issuperset(map(type, map(record.get, _TEXTS))):
        key = next(key for key in _TEXTS if not isinstance(record.get(key), str | None))
        raise InputError(f"{where}: '{key}' must be text, got {record[key]!r}")
    if record.get("split") not in (None, "train", "val", "test"):
        raise InputError(f"{where}: 'split' must be train, val or test, got {record['split']!r}")
    fold = record.get("fold")
    if fold is not None and (isinstance(fold, bool) or not isinstance(fold, int) or fold < 0):
        raise InputError(f"{where}: 'fold' must be an integer from 0 on, got {fold!r}")
    if not isinstance(record.get("trainable", True), bool):
        raise InputError(f"{where}: 'trainable' must be true or false, got {record['trainable']!r}")
    return Image(
        id=record["id"],
        file_name=record["file_name"],
        width=record["width"],
        height=record["height"],
        faces=faces,
        person=record.get("person"),
        split=record.get("split"),
        fold=fold,
        source=record.get("source"),
        trainable=record.get("trainable", True),
        sha256=record.get("sha256"),
        dhash=record.get("dhash"),
    )


def _box(value: Any, face_id: int) -> Box:
    numbers = isinstance(value, list) and len(value) == 4 and _NUMBERS.issuperset(map(type, value))
    if not numbers or not all(map(math.isfinite, value)) or value[2] <= 0 or value[3] <= 0:
        raise InputError(
            f"annotation {face_id}: 'bbox' must be [x, y, width, height] with a positive size, got {value!r}"
        )
    x, y, width, height = map(float, value)
    return x, y, width, height


def digest(path: Path) -> str:
    """Return the sha256 of the file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
