"""Merges two annotations files about the same images."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import ClassVar

from components.curate.operation import Options, Outcome
from components.shared.dataset.annotations import Annotations, Box, Face, Image, read_annotations
from components.shared.dataset.boxes import overlap
from components.shared.dataset.tally import Tally
from serving.runtime.errors import InputError
from serving.runtime.storage import download, is_s3

SAME_FACE = 0.5
"""Two boxes are one face from this intersection over union on."""

_FIELDS = ("person", "split", "fold", "source", "sha256", "dhash")


class MergeOptions(Options):
    """Options of merge.

    Attributes:
        annotations: another annotations file about the same images, a path or an `s3://` address.
    """

    locations: ClassVar[tuple[str, ...]] = ("annotations",)

    annotations: str


def merge(images: Sequence[Image], options: MergeOptions) -> Outcome:
    """Add the content of another annotations file.

    Images are matched by file name. An image that only the other file has is added. In an image that both have, a
    value that only one file has is taken from there; where they differ, this file's value stays and `conflict_<name>`
    is counted. An image that is not trainable in one file is not trainable. Faces are the same when both files have
    just one in the image, or else when their boxes overlap by SAME_FACE, the best pairs first; the other file's
    remaining faces are added. Ids of this file stay; added images and faces get ids above them, in the order of the
    file names.

    Raises:
        InputError: the file is not valid, or is about other images: another size or digest.
    """
    other = _read(options.annotations)
    outcome = Outcome([], leaks=other.info.leaks, keypoint_names=other.keypoint_names)
    theirs = {image.file_name: image for image in other.images}
    face_ids = count(1 + max((face.id for image in images for face in image.faces), default=0))
    image_ids = count(1 + max((image.id for image in images), default=0))
    for image in sorted(images, key=lambda image: image.file_name):
        twin = theirs.pop(image.file_name, None)
        if twin is None:
            outcome.notes.add("only_here", image.file_name)
            outcome.images.append(image)
        else:
            outcome.notes.add("in_both", image.file_name)
            outcome.images.append(_joined(image, twin, face_ids, outcome.notes))
    for name, image in sorted(theirs.items()):
        outcome.notes.add("added_images", name)
        faces = tuple(replace(face, id=next(face_ids)) for face in image.faces)
        outcome.images.append(replace(image, id=next(image_ids), faces=faces))
    return outcome


def _read(uri: str) -> Annotations:
    if not is_s3(uri):
        return read_annotations(Path(uri.removeprefix("file://")))
    with tempfile.TemporaryDirectory() as folder:
        files = download(uri, Path(folder))
        if len(files) != 1:
            raise InputError(f"{uri}: expected one annotations file, found {len(files)} files")
        return read_annotations(files[0])


def _joined(mine: Image, other: Image, face_ids: Iterator[int], notes: Tally) -> Image:
    if (mine.height, mine.width) != (other.height, other.width):
        raise InputError(
            f"merge: '{mine.file_name}' is {mine.width}x{mine.height} here and {other.width}x{other.height} there: "
            "the files are not about the same images"
        )
    if mine.sha256 and other.sha256 and mine.sha256 != other.sha256:
        raise InputError(f"merge: '{mine.file_name}' is another picture there: the files are not about the same images")
    fields = {}
    for name in _FIELDS:
        here, there = getattr(mine, name), getattr(other, name)
        fields[name] = there if here is None else here
        if None not in (here, there) and here != there:
            notes.add(f"conflict_{name}", mine.file_name)
    if mine.trainable != other.trainable:
        notes.add("conflict_trainable", mine.file_name)
    pairs = _pairs(mine.faces, other.faces)
    faces = [
        _joined_face(face, other.faces[pairs[index]], mine.file_name, notes) if index in pairs else face
        for index, face in enumerate(mine.faces)
    ]
    for index, face in enumerate(other.faces):
        if index not in pairs.values():
            notes.add("added_faces", mine.file_name)
            faces.append(replace(face, id=next(face_ids)))
    return replace(mine, faces=tuple(faces), trainable=mine.trainable and other.trainable, **fields)


def _joined_face(mine: Face, other: Face, name: str, notes: Tally) -> Face:
    for attribute in sorted(mine.attributes.keys() & other.attributes.keys()):
        if mine.attributes[attribute] != other.attributes[attribute]:
            notes.add(f"conflict_{attribute}", name)
    if None not in (mine.box, other.box) and mine.box != other.box:
        notes.add("conflict_box", name)
    return Face(
        mine.id,
        mine.box or other.box,
        {**other.attributes, **mine.attributes},
        mine.keypoints or other.keypoints,
        mine.score if mine.score is not None else other.score,
    )


def _pairs(mine: Sequence[Face], other: Sequence[Face]) -> dict[int, int]:
    """Match faces: return the index of the other's face by the index of mine."""
    if len(mine) == len(other) == 1:
        return {0: 0}
    overlaps = sorted(
        (-iou, here, there)
        for here, face in enumerate(mine)
        for there, twin in enumerate(other)
        if (iou := _overlap(face.box, twin.box)) >= SAME_FACE
    )
    pairs: dict[int, int] = {}
    for _, here, there in overlaps:
        if here not in pairs and there not in pairs.values():
            pairs[here] = there
    return pairs


def _overlap(first: Box | None, second: Box | None) -> float:
    """Return the overlap of two boxes; two faces that are their whole image overlap fully."""
    return float(first is second) if first is None or second is None else overlap(first, second)
