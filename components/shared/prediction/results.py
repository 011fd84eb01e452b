"""What models say of photos, as files keep it, and as the rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from components.shared.dataset.annotations import Box
from components.shared.dataset.detections import Detections, FoundBoxes, SearchedImage
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.prediction.ensemble import Ensemble, Model
from components.shared.prediction.inputs import Failure
from components.shared.prediction.tables import FoundFaces, Part, SeenPhoto
from serving.runtime.card import Head
from serving.runtime.detector import Detector
from serving.runtime.predictor import FaceResult


class ModelFacts(msgspec.Struct, frozen=True):
    """What a table says of its model and its data set.

    Attributes:
        task: `classification`, `detection` or `faces`.
        name: the model's.
        version: the model's.
        label_space: of a classifier, or of a detector's labels; "" where there is none.
        heads: name and labels of each head; of a detector the one head of its labels, without a name.
        threshold: the lowest score that a detector serves.
        images_digest: names the data set; "" where it is not known.
        judges_masks: of a classifier, whether it gives notices about masks.
        sha256: the model's; of a composite it says which versions its members were.
    """

    task: str
    name: str
    version: str
    label_space: str
    heads: tuple[tuple[str, tuple[str, ...]], ...]
    threshold: float = 0.0
    images_digest: str = ""
    judges_masks: bool = False
    sha256: str = ""

    @classmethod
    def of(cls, model: Model, images_digest: str) -> "ModelFacts":
        """Return what is said of a model that runs over a data set."""
        if isinstance(model, Detector):
            card = model.card
            heads: tuple[tuple[str, tuple[str, ...]], ...] = (("", card.labels),)
            space, threshold = card.label_space or "", card.thresholds.score
            return cls(
                "detection", model.name, model.version, space, heads, threshold, images_digest, False, model.sha256
            )
        heads = tuple((head.name, head.labels) for head in model.heads)
        if isinstance(model, Ensemble):
            space, judges = model.space.name, model.notify is not None
            return cls(
                "classification", model.name, model.version, space, heads, 0.0, images_digest, judges, model.sha256
            )
        return cls("faces", model.name, model.version, "", heads, 0.0, images_digest, False, model.sha256)


class BoxList(msgspec.Struct, frozen=True):
    """`FoundBoxes` as a file keeps it: x, y, width and height, the scores of all labels, and the label of each box."""

    boxes: list[Box]
    scores: list[list[float]]
    labels: list[int]

    @classmethod
    def of(cls, found: FoundBoxes) -> "BoxList":
        """Return found boxes as they are kept."""
        return cls([tuple(box) for box in found.boxes.tolist()], found.scores.tolist(), found.labels.tolist())

    def found(self, labels: int) -> FoundBoxes:
        """Return the boxes of a detector of so many labels."""
        boxes = np.array(self.boxes, np.float64).reshape(-1, 4)
        scores = np.array(self.scores, np.float32).reshape(-1, labels)
        return FoundBoxes(boxes, scores, np.array(self.labels, np.intp))


@dataclass(frozen=True, slots=True)
class PredictedRow:
    """A face and what the models say of it.

    Attributes:
        face_id: that of the given face; a face that was found has its number in the photo, from 1 on.
        face: as the endpoint answers it: box, score, heads, points, notice.
    """

    face_id: int
    face: FaceResult


@dataclass(frozen=True, slots=True)
class PredictedPhoto:
    """What the models say of a photo.

    Attributes:
        image_id: the photo's `id`.
        path: its name.
        rows: its faces in their order; of a detector none.
        sha256: of the file, in hex; None where it was not known.
        failures: why faces have no row, one for each; of a photo that could not be read one for each given face, or
            one where the models find the faces.
        served: of a detector the boxes from a low score on, see `SearchedImage`; likewise `by_label`, which is None
            where it is the same.
    """

    image_id: int
    path: str
    rows: tuple[PredictedRow, ...] = ()
    sha256: str | None = None
    failures: tuple[Failure, ...] = ()
    served: BoxList | None = None
    by_label: BoxList | None = None


def table_of(facts: ModelFacts, photos: Sequence[PredictedPhoto]) -> Part:
    """Return the rows of photos; those that could not be read have none."""
    heads = tuple(Head(name=name, labels=labels) for name, labels in facts.heads if name)
    if facts.task == "classification":
        return _predictions(facts, heads, photos)
    if facts.task == "detection":
        ((_, labels),) = facts.heads
        searched = tuple(_searched(photo, photo.served, len(labels)) for photo in photos if photo.served is not None)
        return Detections(
            searched, labels, facts.label_space, facts.threshold, facts.name, facts.version, facts.images_digest
        )
    seen = tuple(
        SeenPhoto(photo.image_id, photo.path, tuple(row.face for row in photo.rows), photo.sha256)
        for photo in photos
        if not photo.failures
    )
    return FoundFaces(seen, heads, facts.name, facts.version, facts.images_digest)


def _predictions(facts: ModelFacts, heads: Sequence[Head], photos: Sequence[PredictedPhoto]) -> Predictions:
    rows = [(photo, row.face_id, row.face) for photo in photos for row in photo.rows]
    faces = tuple(
        PredictedFace(photo.image_id, face_id, photo.path, face.box, photo.sha256, face.score, _level(face.brightness))
        for photo, face_id, face in rows
    )
    values = {
        head.name: np.array([list(face.heads[head.name].values()) for _, _, face in rows], np.float32).reshape(
            -1, len(head.labels)
        )
        for head in heads
    }
    space = label_space(facts.label_space)
    notices = tuple(face.notice for _, _, face in rows if face.notice) if facts.judges_masks else None
    return Predictions(faces, values, space, facts.name, facts.version, facts.images_digest, notices)


def _level(brightness: Mapping[str, float]) -> float:
    return round(next(iter(brightness.values())), 2)


def _searched(photo: PredictedPhoto, served: BoxList, labels: int) -> SearchedImage:
    found = served.found(labels)
    by_label = found if photo.by_label is None else photo.by_label.found(labels)
    return SearchedImage(photo.image_id, photo.path, found, by_label, photo.sha256)
