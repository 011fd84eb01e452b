"""The annotated boxes of the images in which a detector searched."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from components.shared.dataset.annotations import Annotations, Box, Face, Image
from components.shared.dataset.detections import Detections, FoundBoxes
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import FACE, label_space
from components.shared.metrics.matching import PhotoBoxes
from serving.runtime.errors import InputError

_OWN = "annotations"
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, eq=False)
class TrueBoxes:
    """Images with their annotated and their found boxes, in the order of the predictions.

    Attributes:
        labels: what boxes are counted under.
        images: the images that were searched; `faces` are the faces of their true boxes.
        photos: their boxes, found as the endpoint gives them.
        by_label: their boxes, found under every label; with one label `photos` itself.
        splits: the splits of the images.
        unboxed: faces without an annotated box; `unlabeled`: those without a class in the label space. Both are regions
            where nothing is missed or false; of a face without any box that is the whole image.
        missing: images of the splits without a prediction.
    """

    labels: tuple[str, ...]
    images: tuple[Image, ...]
    photos: tuple[PhotoBoxes, ...]
    by_label: tuple[PhotoBoxes, ...]
    faces: tuple[tuple[Face, ...], ...]
    splits: tuple[str, ...]
    unboxed: int
    unlabeled: int
    missing: int


def true_boxes(table: Detections, annotations: Annotations, *, max_missing: int) -> TrueBoxes:
    """Join by image.

    Expected is every image of every split that the predictions touch. Without a label space every face is a `face`,
    whatever labels the detector has. Raises InputError on images that are not in the annotations, on more than
    `max_missing` images without a prediction, on labels that are not those of the label space, and when no face has an
    annotated box and a class.
    """
    images = {image.id: image for image in annotations.images}
    searched = {one.image_id: one for one in table.images}
    _refuse("predicted, but not in the annotations", [one.path for one in table.images if one.image_id not in images])
    splits = {images[number].split or "" for number in searched}
    expected = [image for image in annotations.images if (image.split or "") in splits]
    missing = [image.file_name for image in expected if image.id not in searched]
    _refuse("in the annotations, but not predicted", missing, allowed=max_missing)
    reader = _Reader(table)
    chosen = tuple(images[one.image_id] for one in table.images)
    read = [reader.read(image, one.served) for image, one in zip(chosen, table.images, strict=True)]
    if not any(faces for _, faces in read):
        raise InputError(
            f"none of the {sum(len(image.faces) for image in chosen)} faces in the {len(chosen)} searched images has "
            f"an annotated box{' and a class of ' + repr(table.label_space) if table.label_space else ''}: annotate "
            "boxes to evaluate a detector"
        )
    photos = tuple(photo for photo, _ in read)
    by_label = tuple(
        replace(photo, found=one.by_label.boxes, scores=one.by_label.score, found_labels=one.by_label.labels)
        for photo, one in zip(photos, table.images, strict=True)
    )
    return TrueBoxes(
        labels=reader.labels,
        images=chosen,
        photos=photos,
        by_label=by_label if len(reader.labels) > 1 else photos,
        faces=tuple(faces for _, faces in read),
        splits=tuple(sorted(split for split in splits if split)),
        unboxed=reader.left_out["box"],
        unlabeled=reader.left_out["class"],
        missing=len(missing),
    )


def annotated_box(image: Image, face: Face) -> Box | None:
    """Return the box that was annotated for a face, None where there is none or it may come from a detector.

    `choose_faces` keeps the box that another one replaced as `original_box`, and gives what a detector found its score.
    A box without a score may also be of a detector that gives none, or a guess.
    """
    if face.original_box is not None:
        return face.original_box
    if face.score is not None:
        return None
    own = image.detection is None or image.detection.method == _OWN
    return face.box if own or any(other.score is not None for other in image.faces) else None


class _Reader:
    """Reads the boxes of images and counts the faces that are no truth."""

    def __init__(self, table: Detections) -> None:
        self.labels: tuple[str, ...] = FACE.class_labels
        self.left_out: Counter[str] = Counter()
        self._classes: FaceClasses | None = None
        if table.label_space:
            space = label_space(table.label_space)
            self.labels, self._classes = space.class_labels, FaceClasses(space)
            if table.labels != space.class_labels:
                raise InputError(
                    f"the labels of the detector, {', '.join(table.labels)}, are not those of label space "
                    f"'{space.name}': {', '.join(space.class_labels)}"
                )

    def read(self, image: Image, found: FoundBoxes) -> tuple[PhotoBoxes, tuple[Face, ...]]:
        """Return the boxes of an image, and the faces of the true ones."""
        truths: list[tuple[Face, Box, int]] = []
        ignored: list[Box] = []
        for face in image.faces:
            box, label = annotated_box(image, face), self._label(image, face)
            if box is not None and label is not None:
                truths.append((face, box, label))
                continue
            self.left_out["class" if box is not None else "box"] += 1
            ignored.append(box or _region(image, face))
        return (
            PhotoBoxes(
                truths=np.array([box for _, box, _ in truths], np.float64).reshape(-1, 4),
                found=found.boxes,
                scores=found.score,
                truth_labels=np.array([label for _, _, label in truths], np.intp),
                found_labels=found.labels if self._classes else np.zeros(len(found.boxes), np.intp),
                ignored=np.array(ignored, np.float64).reshape(-1, 4),
            ),
            tuple(face for face, _, _ in truths),
        )

    def _label(self, image: Image, face: Face) -> int | None:
        if self._classes is None:
            return 0
        try:
            return self._classes(face)
        except InputError as error:
            raise InputError(f"image '{image.file_name}' face {face.id}: {error}") from error


def _region(image: Image, face: Face) -> Box:
    """Return where a face without an annotated box is: what a detector found, else anywhere."""
    if face.score is not None and face.box is not None:
        return face.box
    return 0.0, 0.0, float(image.width), float(image.height)


def _refuse(fault: str, names: Collection[str], allowed: int = 0) -> None:
    if len(names) <= allowed:
        return
    more = ", ..." if len(names) > _EXAMPLES else ""
    limit = f" (allowed: {allowed})" if allowed else ""
    raise InputError(
        f"{len(names)} images are {fault}{limit}: {', '.join(sorted(names)[:_EXAMPLES])}{more}; evaluate predictions "
        "with the annotations they were made from"
    )
