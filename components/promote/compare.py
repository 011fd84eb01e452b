"""A candidate and the champion on the same test faces: is the candidate shown to be better?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations
from components.shared.dataset.detections import Detections
from components.shared.dataset.join import join
from components.shared.dataset.marginal import marginal
from components.shared.dataset.persons import person_numbers
from components.shared.dataset.predictions import Predictions
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


def compare_models(candidate: Table, champion: Table, annotations: Annotations, *, seed: int = 0) -> Compared:
    """Compare two models by their predictions of the same images, see `check_pictures`.

    Classifiers are compared by macro F1, over resamples of persons; an image without a person id is its own group.
    Detectors are compared by average precision at IoU 0.5, over resamples of photos. Faces without a label, and boxes
    of images that one of the two could not read, are left out.

    Args:
        candidate: the predictions of the first model.
        champion: those of the second one.
        annotations: those of the faces.
        seed: of the draws.

    Raises:
        IncomparableError: the tasks or the labels differ, or nothing is labeled.
        InputError: the predictions are of other faces than the annotations.
    """
    if candidate.task != champion.task:
        raise IncomparableError(f"one is for {candidate.task}, the other for {champion.task}")
    compare_tables: Callable[[Any, Any, Annotations, int], Compared] = _COMPARISONS[candidate.task]
    return compare_tables(candidate, champion, annotations, seed)


def _classifiers(candidate: Predictions, champion: Predictions, data: Annotations, seed: int) -> Compared:
    _check_labels(candidate.space.class_labels, champion.space.class_labels)
    candidate, champion = marginal(candidate, data), marginal(champion, data)
    joined = join(candidate, data, may_be_empty=True)
    rows = {(face.image_id, face.face_id): row for row, face in enumerate(champion.faces)}
    labeled = ((candidate.faces[row], row, truth) for row, truth in zip(joined.rows, joined.truth, strict=True))
    both = [(row, rows[key], truth) for face, row, truth in labeled if (key := (face.image_id, face.face_id)) in rows]
    if not both:
        raise IncomparableError(f"no face that both have predicted has a label of '{candidate.space.name}'")
    own, theirs, known = np.array(both, np.intp).T
    first = predicted_classes(candidate.class_probabilities()[own])
    second = predicted_classes(champion.class_probabilities()[theirs])
    images = {image.id: image for image in data.images}
    numbers = [candidate.faces[row].image_id for row in own]
    groups = person_numbers([images[number] for number in numbers])
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
