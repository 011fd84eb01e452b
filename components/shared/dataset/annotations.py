"""The annotations artifact: a COCO JSON file. One image entry per picture, one annotation per face."""

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from components.shared.dataset.info import Counts, DatasetInfo
from components.shared.options import parse_options
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import write_text

Box = tuple[float, float, float, float]

_RECORDS_AT_ONCE = 10_000
_Positive = Annotated[int, Meta(ge=1)]
_Side = Annotated[float, Meta(gt=0)]


class Keypoint(NamedTuple):
    """A point of a face in upright pixels; `visibility` as in COCO: 0 not labeled, 1 hidden, 2 visible."""

    x: float
    y: float
    visibility: int


@dataclass(frozen=True, slots=True)
class Face:
    """One face.

    Attributes:
        id: from 1 on; no two faces of a file have the same.
        box: x, y, width, height in upright pixels of its image; None means the whole image.
        attributes: raw attributes (`mask`, `gender`, `age`, `emotion`, ...); an unknown one is absent.
        keypoints: in the order of `Annotations.keypoint_names`; None when they are not known.
        score: the detector's confidence; None when no detector found the face.
        original_box: the box that it had before another one replaced it; None when it has that one, or had none.
    """

    id: int
    box: Box | None
    attributes: dict[str, Any]
    keypoints: tuple[Keypoint, ...] | None = None
    score: float | None = None
    original_box: Box | None = None


class DetectionRecord(msgspec.Struct, frozen=True):
    """How the faces of an image got their boxes.

    Attributes:
        method: the name of the detector that found them, `annotations` for those that they had, or `person_mean`,
            `center`, `whole_image`, `none`.
        found: how many plausible faces the detector found in the image.
        unsure: why they may be wrong; empty when nothing says so.
    """

    method: str
    found: Annotated[int, Meta(ge=0)] = 0
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """One picture.

    Attributes:
        id: from 1 on; no two images of a file have the same.
        file_name: its name in the image archive; no two images of a file have the same.
        width: upright pixels; likewise `height`.
        faces: the faces in it.
        person: groups the images of one person.
        split: train, val, test or None.
        fold: from 0 on.
        source: its name in the raw data, where that is another one.
        trainable: False keeps it out of the train split.
        sha256: of the file, in hex.
        dhash: the perceptual hash of the picture (see `components.ingest.image_checks`).
        detection: how its faces were found; None when no detector ran.
        photo_sha256: of the photo that it was cut out of; None when it is a photo, or that is not known.
    """

    id: _Positive
    file_name: Annotated[str, Meta(min_length=1)]
    width: _Positive
    height: _Positive
    faces: tuple[Face, ...] = ()
    person: str | None = None
    split: Annotated[str, Meta(pattern="^(train|val|test)$")] | None = None
    fold: Annotated[int, Meta(ge=0)] | None = None
    source: str | None = None
    trainable: bool = True
    sha256: str | None = None
    dhash: str | None = None
    detection: DetectionRecord | None = None
    photo_sha256: str | None = None


@dataclass(frozen=True)
class Annotations:
    """All images of a data set, what the steps recorded about it, and the names of the faces' keypoints."""

    images: tuple[Image, ...]
    info: DatasetInfo = field(default_factory=DatasetInfo)
    keypoint_names: tuple[str, ...] = ()


def named_points(face: Face, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the labeled keypoints of a face by name: x, y in upright pixels; `names` are those of the file."""
    points = zip(names, face.keypoints or (), strict=False)
    return {name: (point.x, point.y) for name, point in points if point.visibility}


def write_annotations(annotations: Annotations, path: Path) -> None:
    """Write COCO JSON. Equal annotations give equal bytes, and the file appears whole or not at all."""
    write_text(path, _document(annotations))


def _document(annotations: Annotations) -> Iterator[str]:
    """Yield the JSON text in parts, its keys sorted: the whole text would take as much memory as the annotations."""
    faces = (face_record(face, image.id) for image in annotations.images for face in image.faces)
    images = (image_record(image) for image in annotations.images)
    category: dict[str, Any] = {"id": 1, "name": "face"}
    if annotations.keypoint_names:
        category["keypoints"] = annotations.keypoint_names
    yield '{"annotations":'
    yield from _json_list(faces)
    yield f',"categories":{_json([category])},"images":'
    yield from _json_list(images)
    yield f',"info":{_json(annotations.info.record())}}}'


def _json_list(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    separator = "["
    while part := list(islice(records, _RECORDS_AT_ONCE)):
        yield separator + _json(part)[1:-1]
        separator = ","
    yield "[]" if separator == "[" else "]"


def _json(value: Any) -> str:
    """Encode with the standard library: msgspec would write NaN as null."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def image_record(image: Image) -> dict[str, Any]:
    """Return the entry of an image in a COCO file: what is known of it."""
    record: dict[str, Any] = {
        "id": image.id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
    }
    for key in ("person", "split", "fold", "source", "sha256", "dhash", "photo_sha256"):
        value = getattr(image, key)
        if value is not None:
            record[key] = value
    if not image.trainable:
        record["trainable"] = False
    if image.detection is not None:
        record["detection"] = msgspec.to_builtins(image.detection)
    return record


def face_record(face: Face, image_id: int) -> dict[str, Any]:
    """Return the COCO annotation of a face; without a `bbox` it is the whole image."""
    record = {"id": face.id, "image_id": image_id, "category_id": 1, "iscrowd": 0, "attributes": face.attributes}
    if face.box is not None:
        record["bbox"] = [float(value) for value in face.box]
        record["area"] = float(face.box[2] * face.box[3])
    if face.keypoints is not None:
        record["keypoints"] = [value for point in face.keypoints for value in point]
        record["num_keypoints"] = sum(point.visibility > 0 for point in face.keypoints)
    if face.score is not None:
        record["score"] = face.score
    if face.original_box is not None:
        record["original_bbox"] = [float(value) for value in face.original_box]
    return record


class _FaceRecord(msgspec.Struct, gc=False):
    id: _Positive
    image_id: int
    category_id: Literal[1]
    attributes: dict[str, Any] = {}
    bbox: tuple[float, float, _Side, _Side] | None = None
    keypoints: list[float] | None = None
    score: float | None = None
    original_bbox: tuple[float, float, _Side, _Side] | None = None


class _Category(msgspec.Struct):
    keypoints: tuple[str, ...] = ()


class _Document(msgspec.Struct):
    images: tuple[Image, ...]
    annotations: list[_FaceRecord]
    categories: tuple[_Category, ...] = ()
    info: Any = {}


def read_annotations(path: Path) -> Annotations:
    """Read an annotations file.

    Raises NotFoundError when there is no such file, InputError naming the file and the record when it is not valid.
    """
    try:
        document = msgspec.json.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8), type=_Document)
        _add_faces(document)
        info = parse_options(DatasetInfo, document.info, "info")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such annotations file") from error
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: not an annotations file: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Annotations(document.images, info, document.categories[0].keypoints if document.categories else ())


def _add_faces(document: _Document) -> None:
    """Give every image its faces. Raises InputError on an image that does not exist, and on what occurs twice."""
    _refuse_repeated("image id", (image.id for image in document.images))
    _refuse_repeated("file_name", (image.file_name for image in document.images))
    _refuse_repeated("annotation id", (record.id for record in document.annotations))
    faces: dict[int, list[Face]] = {image.id: [] for image in document.images}
    for record in document.annotations:
        if record.image_id not in faces:
            raise InputError(f"annotation {record.id}: no image has the 'image_id' {record.image_id}")
        points = None if record.keypoints is None else _keypoints(record.keypoints, record.id)
        face = Face(record.id, record.bbox, record.attributes, points, record.score, record.original_bbox)
        faces[record.image_id].append(face)
    document.annotations.clear()
    for image in document.images:
        object.__setattr__(image, "faces", tuple(faces.pop(image.id)))  # decoded just now, nobody else has it


def _refuse_repeated(name: str, values: Iterable[int | str]) -> None:
    seen: set[int | str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{name} {value!r} occurs twice")
        seen.add(value)


def _keypoints(values: list[float], face_id: int) -> tuple[Keypoint, ...]:
    points = tuple(Keypoint(x, y, int(visibility)) for x, y, visibility in zip(*[iter(values)] * 3, strict=False))
    if len(values) % 3 or not {point.visibility for point in points} <= {0, 1, 2}:
        raise InputError(f"annotation {face_id}: 'keypoints' must be x, y and 0, 1 or 2 for each point")
    return points


def count_images(images: Sequence[Image]) -> Counts:
    """Count images, faces and persons."""
    persons = [image.person for image in images if image.person is not None]
    return Counts(
        images=len(images),
        faces=sum(len(image.faces) for image in images),
        persons=len(set(persons)),
        images_without_person=len(images) - len(persons),
    )


def images_digest(images: Iterable[Image]) -> str:
    """Return the name of a data set, in hex: the sha256 over the names and digests of its pictures, in any order."""
    lines = sorted(f"{image.file_name}\0{image.sha256}\n" for image in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return the sha256 of the file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
