"""The members of a chain, open: each finds the faces of one photo."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from components.detect_faces.box_table import boxes_of_images
from components.detect_faces.config import OWN_BOXES
from components.detect_faces.dlib_detectors import CnnDetector, HogDetector
from components.shared.chain_file import ChainMember
from components.shared.dataset.annotations import Box, Image
from serving.runtime.detector import Detector
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model
from serving.runtime.predictor import FaceResult


class Finder(Protocol):
    """An open member."""

    def find(self, image: Image, photo: Photo) -> list[FaceResult]:
        """Find the faces of an image; threads may call it. Raises ImageError when the image cannot be used."""


class _Onnx:
    """A detection model; each photo is searched on the thread that asks."""

    def __init__(self, member: ChainMember, file: Path) -> None:
        model = load_model(str(file), threads=1)
        assert isinstance(model, Detector)
        self._model = model
        self._thresholds = model.card.thresholds.changed(member.options)
        self._tile = member.options.get("tile")

    def find(self, image: Image, photo: Photo) -> list[FaceResult]:
        return self._model.detect([photo], thresholds=self._thresholds, tile=self._tile)[0]


class _Dlib:
    def __init__(self, detector: HogDetector | CnnDetector) -> None:
        self._detector = detector

    def find(self, image: Image, photo: Photo) -> list[FaceResult]:
        return self._detector.find(photo)


class _KnownBoxes:
    """The boxes of a table or of the annotations, by file name of the image."""

    def __init__(self, boxes: Mapping[str, Sequence[Box]]) -> None:
        self._boxes = boxes

    def find(self, image: Image, photo: Photo) -> list[FaceResult]:
        return [FaceResult(box, None, "box", {}) for box in self._boxes.get(image.file_name, ())]


def _cnn(member: ChainMember, file: Path, workers: int, stack: ExitStack) -> Finder:
    detector = CnnDetector(file, **member.options, workers=workers)
    stack.callback(detector.close)
    return _Dlib(detector)


def _own_boxes(images: Sequence[Image]) -> Finder:
    boxes = {image.file_name: [face.box for face in image.faces if face.box] for image in images}
    return _KnownBoxes(boxes)


OPEN: Mapping[str, Callable[[ChainMember, Path, Sequence[Image], int, ExitStack], Finder]] = {
    "onnx": lambda member, file, images, workers, stack: _Onnx(member, file),
    "dlib_hog": lambda member, file, images, workers, stack: _Dlib(HogDetector(**member.options)),
    "dlib_cnn": lambda member, file, images, workers, stack: _cnn(member, file, workers, stack),
    "table": lambda member, file, images, workers, stack: _KnownBoxes(boxes_of_images(file, images)[0]),
    OWN_BOXES: lambda member, file, images, workers, stack: _own_boxes(images),
}
"""Kind of a member -> how it is opened: from its record, its file, all images of the data set, the number of threads
that will search, and a stack for what must be closed."""
