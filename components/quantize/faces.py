"""The labeled faces of a data set as a model reads them: to calibrate on, and to compare on."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

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
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map

_AHEAD = 32  # faces that are cut before they are asked for

_log = logging.getLogger(__name__)


class LabeledFace(NamedTuple):
    """A face with its class in the label space of the model."""

    image: Image
    face: Face
    label: int


class LabeledFaces:
    """The faces with a label, cut by the code that serves the model.

    Args:
        images: the image archive.
        annotations: COCO annotations whose images are assigned to train, val and test.
        card: of the model.

    Raises:
        InputError: a file is not what it should be, or the card's label space is not known.
        NotFoundError: there is no such file.
    """

    def __init__(self, images: Path, annotations: Path, card: ClassificationCard) -> None:
        self.space = label_space(card.label_space)
        if self.space.heads != card.heads:
            ours, theirs = ([head.name for head in heads] for heads in (card.heads, self.space.heads))
            raise InputError(f"model '{card.name}': its heads {ours} are not those of '{self.space.name}', {theirs}")
        self._card = card
        self._data = read_annotations(annotations)
        self._archive = ImageArchive(images)
        self._annotations = annotations

    def of_split(self, split: str) -> list[LabeledFace]:
        """Return the faces of a split, in the order of image id and face id."""
        found = [
            LabeledFace(image, face, label)
            for image in self._data.images
            if image.split == split
            for face in image.faces
            if (label := self.space.class_of(face.attributes)) is not None
        ]
        return sorted(found, key=lambda one: (one.image.id, one.face.id))

    def cut(self, faces: list[LabeledFace]) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Yield pixels (height, width, 3) and label of faces; those whose image cannot be used are left out and logged.

        Raises InputError when the archive has not all of their images.
        """
        check_present(self._archive, (one.image.file_name for one in faces))
        failed: Counter[str] = Counter()
        try:
            for one, pixels in ordered_map(self._cut, faces, workers=usable_cpus(), ahead=_AHEAD):
                if isinstance(pixels, ImageError):
                    failed[pixels.reason] += 1
                    _log.warning("%s is not used: %s", one.image.file_name, pixels)
                else:
                    yield pixels, one.label
        finally:
            if failed:
                _log.warning("%d faces could not be used: %s", failed.total(), dict(failed))

    def _cut(self, one: LabeledFace) -> NDArray[np.uint8] | ImageError:
        crop, names = self._card.crop, self._data.keypoint_names
        points = None if crop.eyes is None else eye_points(named_points(one.face, names))
        try:
            data = self._archive.read(one.image.file_name, one.image.sha256)
            return decode_crop_resize(data, one.face.box, self._card, keypoints=points)
        except ImageError as error:
            return error

    def draw(self, count: int, seed: int) -> NDArray[np.uint8]:
        """Return at most `count` faces of train, uint8 (N, height, width, 3), another choice for another seed.

        For a face whose image cannot be used another one is drawn.

        Raises:
            InputError: `count` is less than 1, no labeled face is in the train split or none of them can be used, or
                the archive has not all of their images.
        """
        if count < 1:
            raise InputError(f"calibration_faces: must be at least 1, got {count}")
        faces = self.of_split("train")
        order = np.random.default_rng(seed).permutation(len(faces))
        drawn = [pixels for pixels, _ in islice(self.cut([faces[number] for number in order]), count)]
        if not drawn:
            raise InputError(
                f"{self._annotations}: no usable face with a label of '{self.space.name}' is in split 'train', and "
                "int8 is calibrated on such faces; give the annotations that the training read"
            )
        return np.stack(drawn)


Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def batches(faces: Iterable[tuple[NDArray[np.uint8], int]], size: int) -> Iterator[Batch]:
    """Yield pixels (N, height, width, 3) and labels (N,) of faces, `size` or fewer at a time."""
    rest = iter(faces)
    while batch := list(islice(rest, size)):
        yield np.stack([pixels for pixels, _ in batch]), np.array([label for _, label in batch], np.int64)
