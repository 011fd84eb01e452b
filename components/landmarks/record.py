"""What was marked as faces of annotations, and what became of every picture."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from components.landmarks.faces import FaceLandmarks
from components.landmarks.options import LandmarkOptions
from components.landmarks.outputs import PointTable
from components.shared.dataset.annotations import Annotations, Face, Image, Keypoint
from components.shared.dataset.boxes import overlap
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import printable
from serving.runtime.errors import ImageError, InputError

_SAME_FACE = 0.3


@dataclass
class LandmarkReport:
    """What became of the pictures, by name: how many faces where there are several, none, or why they failed."""

    images: int = 0
    faces: int = 0
    several_faces: dict[str, int] = field(default_factory=dict)
    no_face: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Marked:
    """The upright size of a picture and its faces."""

    height: int
    width: int
    faces: Sequence[FaceLandmarks]


def record_faces(
    marked: Iterable[tuple[Image, Marked | InputError]],
    data: Annotations,
    options: LandmarkOptions,
    table: PointTable,
    report: LandmarkReport,
) -> Iterator[Image]:
    """Write the points of every picture into the table and the report, and yield its image with the faces marked.

    An image that failed has its faces without points; one whose size is not known then is left out. Raises InputError
    at the first one that is more than `max_failed`.
    """
    new_ids = count(1 + max((face.id for image in data.images for face in image.faces), default=0))
    for image, result in marked:
        report.images += 1
        name = printable(image.file_name)
        if isinstance(result, InputError):
            report.failed[name] = f"{result.reason if isinstance(result, ImageError) else 'box'}: {result}"
            if len(report.failed) > options.max_failed:
                raise InputError(
                    f"{failures(report)}; stopped there, with max_failed={options.max_failed}: repair or remove these "
                    "pictures, or allow more"
                )
            if image.width:
                yield replace(image, faces=tuple(_unmarked(image.faces)))
            continue
        report.faces += len(result.faces)
        if not result.faces:
            report.no_face.append(name)
        elif len(result.faces) > 1:
            report.several_faces[name] = len(result.faces)
        table.add(name, result.faces)
        image = image if image.width else replace(image, height=result.height, width=result.width)
        own = range(len(image.faces)) if options.faces == "given" else _matches(image.faces, result.faces)
        faces = _unmarked(image.faces)
        for number, face in zip(own, result.faces, strict=True):
            points = _keypoints(face, image)
            if number is None:
                faces.append(Face(next(new_ids), face.box, {}, points, face.score))
            else:
                faces[number] = replace(faces[number], keypoints=points)
        yield replace(image, faces=tuple(faces))


def failures(report: LandmarkReport) -> str:
    """Return how many pictures failed, by reason, with the whole message of the first one; some did."""
    tally = Tally()
    for name, reason in report.failed.items():
        tally.add(reason.partition(":")[0], name)
    name, reason = next(iter(report.failed.items()))
    return f"{tally.total} of {report.images} pictures could not be used: {tally}; {name}: {reason}"


def _unmarked(faces: Iterable[Face]) -> list[Face]:
    """Return the faces without keypoints, which would be those of another set of points."""
    return [replace(face, keypoints=None) for face in faces]


def _matches(own: Sequence[Face], found: Sequence[FaceLandmarks]) -> list[int | None]:
    """Return, for every face that was found, which one of the image it is; None for a new one.

    It is the face whose box overlaps most, each one once, the best found first. A face without a box is the whole
    image: it is the first found face that is no other.
    """
    free = dict(enumerate(own))
    matches: list[int | None] = []
    for face in found:
        overlaps = {number: overlap(one.box, face.box) for number, one in free.items() if one.box is not None}
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] < _SAME_FACE:
            best = next((number for number, one in free.items() if one.box is None), None)
        matches.append(best)
        if best is not None:
            del free[best]
    return matches


def _keypoints(face: FaceLandmarks, image: Image) -> tuple[Keypoint, ...]:
    """Return the points to a hundredth of a pixel; those outside the picture are hidden (visibility 1)."""
    points = face.points.round(2)
    inside = np.all((points > -0.5) & (points < np.array([image.width, image.height]) - 0.5), axis=1).tolist()
    return tuple(Keypoint(x, y, 2 if seen else 1) for (x, y), seen in zip(points.tolist(), inside, strict=True))
