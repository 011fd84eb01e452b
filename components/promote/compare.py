"""A candidate and the champion on the same test faces: is the candidate shown to be better?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations
from components.shared.dataset.detections import Detections
from components.shared.dataset.marginal import marginal
from components.shared.dataset.persons import by_person
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.metrics.classification import predicted_classes
from components.shared.metrics.matching import Comparison as Boxes
from components.shared.metrics.matching import Matches
from components.shared.metrics.paired import McNemar, Paired, mcnemar, paired_average_precision, paired_macro_f1
from components.shared.metrics.true_boxes import TrueBoxes, true_boxes
from serving.runtime.errors import InputError

_EXAMPLES = 3
Table = Predictions | Detections


class IncomparableError(Exception):
    """The two models cannot be compared; the message says why, without a full stop."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two models on the same data, the candidate first.

    Attributes:
        metric: its name in metrics; `title` for people.
        title: of the metric.
        paired: the metric of both, and the bootstrap of the difference.
        mcnemar: the faces of which one model alone is right, of detectors those that it alone finds.
        faces: how many faces have a label, of detectors a box.
        right: how many of them the candidate and the champion have right.
        images: how many images they are in.
        unit: what is drawn: person or photo.
        equal: whether both answer the same everywhere.
    """

    metric: str
    title: str
    paired: Paired
    mcnemar: McNemar
    faces: int
    right: tuple[int, int]
    images: int
    unit: str
    equal: bool


def compare(candidate: Table, champion: Table, annotations: Annotations, *, seed: int = 0) -> Compared:
    """Compare two models by their predictions of the same images.

    Classifiers are compared by macro F1, over resamples of persons; an image of nobody known counts alone. Detectors
    are compared by average precision at IoU 0.5, over resamples of photos. Faces without a label, and boxes of images
    that one of the two could not read, are left out.

    Args:
        candidate: the predictions of the first model.
        champion: those of the second one.
        annotations: those of the faces.
        seed: of the draws.

    Raises:
        IncomparableError: the tasks or the labels differ, or nothing is labeled.
        InputError: the predictions are of other faces than the annotations, or of other pictures.
    """
    if candidate.task != champion.task:
        raise IncomparableError(f"one is for {candidate.task}, the other for {champion.task}")
    compare_tables: Callable[[Any, Any, Annotations, int], Compared] = _COMPARISONS[candidate.task]
    return compare_tables(candidate, champion, annotations, seed)


def _classifiers(candidate: Predictions, champion: Predictions, data: Annotations, seed: int) -> Compared:
    _check_labels(candidate.space.class_labels, champion.space.class_labels)
    candidate, champion = marginal(candidate, data), marginal(champion, data)
    images = {image.id: image for image in data.images}
    faces = {(image.id, face.id): face for image in data.images for face in image.faces}
    rows = {(face.image_id, face.face_id): row for row, face in enumerate(champion.faces)}
    truth, pairs = [], []
    for row, face in enumerate(candidate.faces):
        key = (face.image_id, face.face_id)
        if key not in faces:
            raise InputError(f"image {key[0]} face {key[1]} is predicted, but not in the annotations")
        if key not in rows:
            continue
        _check_same(face, champion.faces[rows[key]], images[face.image_id].sha256)
        encoded = candidate.space.encode(faces[key].attributes)
        if encoded is not None:
            truth.append(candidate.space.class_index(encoded))
            pairs.append((row, rows[key]))
    if not pairs:
        raise IncomparableError(f"no face that both have predicted has a label of '{candidate.space.name}'")
    own, theirs = np.array(pairs, np.intp).T
    known = np.array(truth, np.intp)
    first = predicted_classes(candidate.class_probabilities()[own])
    second = predicted_classes(champion.class_probabilities()[theirs])
    numbers = [candidate.faces[row].image_id for row in own]
    groups = _persons(data, numbers)
    classes = len(candidate.space.class_labels)
    return Compared(
        metric="macro_f1",
        title="macro F1",
        paired=paired_macro_f1(known, first, second, groups, classes, seed=seed),
        mcnemar=mcnemar(first == known, second == known),
        faces=len(known),
        right=(int((first == known).sum()), int((second == known).sum())),
        images=len(set(numbers)),
        unit="person",
        equal=bool((first == second).all()),
    )


def _persons(data: Annotations, images: Sequence[int]) -> NDArray[np.intp]:
    """Return the number of the person in each of the images."""
    seen = set(images)
    number = {
        image.id: group
        for group, members in enumerate(by_person(one for one in data.images if one.id in seen).values())
        for image in members
    }
    return np.array([number[one] for one in images], np.intp)


def _check_same(face: PredictedFace, other: PredictedFace, sha256: str | None) -> None:
    digests = {one for one in (face.sha256, other.sha256, sha256) if one}
    if face.path != other.path or face.box != other.box or len(digests) > 1:
        raise InputError(
            f"'{face.path}' face {face.face_id} is another picture or box in the candidate's predictions than in the "
            "annotations; pass the annotations and images that it was predicted from"
        )


def _check_labels(first: Sequence[str], second: Sequence[str]) -> None:
    if tuple(first) != tuple(second):
        ours, theirs = (
            f"{', '.join(one[:_EXAMPLES])}{', ...' if len(one) > _EXAMPLES else ''} ({len(one)})"
            for one in (first, second)
        )
        raise IncomparableError(f"the labels of the candidate are {ours}, those of the champion {theirs}")


def _detectors(candidate: Detections, champion: Detections, data: Annotations, seed: int) -> Compared:
    _check_labels(candidate.labels, champion.labels)
    if candidate.label_space != champion.label_space:
        raise IncomparableError(f"their label spaces differ: '{candidate.label_space}' and '{champion.label_space}'")
    read = {image.image_id: image for image in champion.images}
    chosen = tuple(image for image in candidate.images if image.image_id in read)
    if not chosen:
        raise IncomparableError("there is no image that both have searched")
    for image in chosen:
        if image.path != read[image.image_id].path or len({image.sha256, read[image.image_id].sha256} - {None}) > 1:
            raise InputError(
                f"'{image.path}' is another picture in the candidate's predictions than in the annotations"
            )
    tables = (
        replace(candidate, images=chosen),
        replace(champion, images=tuple(read[image.image_id] for image in chosen)),
    )
    try:
        sides = [_side(table, data) for table in tables]
    except InputError as error:
        raise IncomparableError(str(error)) from error
    (boxes, first, found), (_, second, theirs) = sides
    return Compared(
        metric="map50",
        title="average precision at IoU 0.5",
        paired=paired_average_precision(first, second, len(boxes.labels), seed=seed),
        mcnemar=mcnemar(found, theirs),
        faces=len(found),
        right=(int(found.sum()), int(theirs.sum())),
        images=len(chosen),
        unit="photo",
        equal=all(
            np.array_equal(one.served.boxes, read[one.image_id].served.boxes)
            and np.array_equal(one.served.scores, read[one.image_id].served.scores)
            for one in chosen
        ),
    )


def _side(table: Detections, data: Annotations) -> tuple[TrueBoxes, Matches, NDArray[np.bool_]]:
    """Return a detector's boxes, its matches for average precision, and which true faces the endpoint would find."""
    boxes = true_boxes(table, data, max_missing=len(data.images))
    served = Boxes(boxes.photos, len(boxes.labels)).match()
    order = np.lexsort((served.truths[:, 1], served.truths[:, 0]))
    found = (served.found_with >= table.threshold)[order]
    by_label = served if boxes.by_label is boxes.photos else Boxes(boxes.by_label, len(boxes.labels)).match()
    return boxes, by_label, found


_COMPARISONS: dict[str, Callable[..., Compared]] = {"classification": _classifiers, "detection": _detectors}
