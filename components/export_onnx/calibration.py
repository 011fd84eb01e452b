"""Real faces for an export: what activations are calibrated on, and what the result is compared on."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Face, Image, named_points, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.pictures import check_present
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.placement import eye_points
from serving.runtime.image.preprocess import decode_crop_resize

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where the faces come from: labeled ones of the train split, drawn by `seed`; and of val, to compare.

    Attributes:
        images: the image archive.
        annotations: COCO annotations whose images are assigned to train, val and test.
        faces: at most so many of each split.
        seed: of the draw.
    """

    images: Path
    annotations: Path
    faces: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces as the model of a card reads them, uint8 (N, height, width, 3).

    Attributes:
        train: to calibrate on.
        held_out: to compare on: of the val split, or, where there is none, those of `train`.
    """

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]


def draw_faces(calibration: Calibration, card: ClassificationCard) -> Faces:
    """Read the faces of `calibration` and cut them as the model of `card` will see them, with the code that serves it.

    Faces whose image cannot be used are left out, with a line in the log, and others are drawn in their place.

    Raises:
        InputError: `faces` is less than 1, no labeled face is in the train split or none of them can be used, or the
            archive has not all of their images.
    """
    if calibration.faces < 1:
        raise InputError(f"calibration_faces: must be at least 1, got {calibration.faces}")
    data = read_annotations(calibration.annotations)
    space, archive = label_space(card.label_space), ImageArchive(calibration.images)

    def of_split(split: str) -> list[tuple[Image, Face]]:
        images = [image for image in data.images if image.split == split]
        faces = [(image, face) for image in images for face in image.faces if space.encode(face.attributes) is not None]
        return sorted(faces, key=lambda pair: (pair[0].id, pair[1].id))

    def cut(image: Image, face: Face) -> NDArray[np.uint8]:
        points = None if card.crop.eyes is None else eye_points(named_points(face, data.keypoint_names))
        return decode_crop_resize(archive.read(image.file_name, image.sha256), face.box, card, keypoints=points)

    def usable(faces: list[tuple[Image, Face]]) -> Iterator[NDArray[np.uint8]]:
        check_present(archive, (image.file_name for image, _ in faces))
        failed: Counter[str] = Counter()
        for number in np.random.default_rng(calibration.seed).permutation(len(faces)):
            image, face = faces[number]
            try:
                yield cut(image, face)
            except ImageError as error:
                failed[error.reason] += 1
                _log.warning("%s is not used to calibrate: %s", image.file_name, error)
        if failed:
            _log.warning("%d faces could not be used to calibrate: %s", failed.total(), dict(failed))

    train, held_out = (list(islice(usable(of_split(split)), calibration.faces)) for split in ("train", "val"))
    if not train:
        raise InputError(
            f"{calibration.annotations}: no usable face with a label of '{space.name}' is in split 'train', and int8 "
            "is calibrated on such faces; give the annotations that the training read"
        )
    pixels = np.stack(train)
    return Faces(pixels, np.stack(held_out) if held_out else pixels)
