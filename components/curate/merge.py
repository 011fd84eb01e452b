"""Two annotations files about the same images become one."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import ClassVar

from components.curate.options import Options
from components.curate.outcome import Outcome
from components.shared.dataset.annotations import Annotations, Box, Face, Image, read_annotations
from components.shared.dataset.boxes import overlap
from components.shared.dataset.tally import Tally
from serving.runtime.errors import InputError
from serving.runtime.storage import download, is_s3

SAME_FACE = 0.5
"""Two boxes are one face from this intersection over union on."""

_FACTS = ("person", "split", "fold", "source", "sha256", "dhash")


class MergeOptions(Options):
    """Options of merge.

    Attributes:
        annotations: another annotations file about the same images, a path or an `s3://` address.
    """

    locations: ClassVar[tuple[str, ...]] = ("annotations",)

    annotations: str


def merge(images: Sequence[Image], options: MergeOptions) -> Outcome:
    """Add what another annotations file knows.

    Images are matched by file name. An image that only the other file has is added. In an image that both have, a fact
    that only one file has is taken from there; where they differ, this file's fact stays and `conflict_<fact>` is
    counted. An image that one file keeps out of training stays out. Faces are the same when both files have just one
    in the image, or else when their boxes overlap by SAME_FACE, the best pairs first; the other file's remaining faces
    are added. Ids of this file stay; what is added gets ids above them, in the order of the file names.

    Raises:
        InputError: the file is not valid, or shows that it is about other images: another size or another digest.
    """
    other = _read(options.annotations)
    outcome = Outcome([], leaks=other.info.leaks, keypoint_names=other.keypoint_names)
    theirs = {image.file_name: image for image in other.images}
    face_ids = count(1 + max((face.id for image in images for face in image.faces), default=0))
    image_ids = count(1 + max((image.id for image in images), default=0))
    merged = []
    for image in sorted(images, key=lambda image: image.file_name):
        twin = theirs.pop(image.file_name, None)
        if twin is None:
            outcome.notes.add("only_here", image.file_name)
            merged.append(image)
        else:
            outcome.notes.add("in_both", image.file_name)
            merged.append(_joined(image, twin, face_ids, outcome.notes))
    for name, image in sorted(theirs.items()):
        outcome.notes.add("added_images", name)
        faces = tuple(replace(face, id=next(face_ids)) for face in image.faces)
        merged.append(replace(image, id=next(image_ids), faces=faces))
    outcome.images = merged
    return outcome


def _read(place: str) -> Annotations:
    if not is_s3(place):
        return read_annotations(Path(place.removeprefix("file://")))
    with tempfile.TemporaryDirectory() as folder:
        files = download(place, Path(folder))
        if len(files) != 1:
            raise InputError(f"{place}: expected one annotations file, found {len(files)} files")
        return read_annotations(files[0])


def _joined(mine: Image, other: Image, face_ids: Iterator[int], notes: Tally) -> Image:
    if (mine.height, mine.width) != (other.height, other.width):
        raise InputError(
            f"merge: '{mine.file_name}' is {mine.width}x{mine.height} here and {other.width}x{other.height} there: "
            "the files are not about the same images"
        )
    if mine.sha256 and other.sha256 and mine.sha256 != other.sha256:
        raise InputError(f"merge: '{mine.file_name}' is another picture there: the files are not about the same images")
    facts = {}
    for name in _FACTS:
        here, there = getattr(mine, name), getattr(other, name)
        facts[name] = there if here is None else here
        if None not in (here, there) and here != there:
            notes.add(f"conflict_{name}", mine.file_name)
    if mine.trainable != other.trainable:
        notes.add("conflict_trainable", mine.file_name)
    pairs = _pairs(mine.faces, other.faces)
    faces = [
        _joined_face(face, other.faces[pairs[at]], mine.file_name, notes) if at in pairs else face
        for at, face in enumerate(mine.faces)
    ]
    for at, face in enumerate(other.faces):
        if at not in pairs.values():
            notes.add("added_faces", mine.file_name)
            faces.append(replace(face, id=next(face_ids)))
    return replace(mine, faces=tuple(faces), trainable=mine.trainable and other.trainable, **facts)


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
    """Return which face of mine is which of the other, by their places."""
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
