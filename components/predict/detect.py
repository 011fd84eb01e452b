"""Prediction with a detector: the boxes in every image of a split."""

from pathlib import Path

import numpy as np

from components.predict.inputs import check_failures, images_of_split
from components.shared.dataset.annotations import Image, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.detections import Detections, SearchedImage
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.progress import progress
from serving.runtime.detector import LABEL_HEAD, Detector
from serving.runtime.errors import ImageError
from serving.runtime.image.photo import Photo
from serving.runtime.ordered_map import ordered_map
from serving.runtime.predictor import FaceResult

LOWEST_SCORE = 0.001
"""Boxes are kept from this score on: a curve of precision needs those that are not sure too."""

_AHEAD = 4


def detect(
    detector: Detector, images: Path, annotations: Path | None, *, split: str, workers: int, max_failed: int
) -> tuple[Detections, dict[str, int]]:
    """Return the boxes of every image of a split, and how many images could not be decoded, by reason.

    Each photo is searched alone, as a request of one photo is, so nothing depends on the photos around it. Boxes of the
    card's threshold and more are exactly those that the model answers when it serves: suppression begins with the
    highest score.

    Args:
        detector: the model; `workers` threads call it.
        images: folder with the image archives; without annotations also a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON; None searches every picture of `images`.
        split: test, val, train, or all.
        workers: threads that decode and search.
        max_failed: how many images may fail to decode.

    Raises:
        InputError: the split is unknown or empty, images are missing from the archive or are others there than the
            annotations describe, the graph gives numbers that are none, or too many images failed.
    """
    pictures, chosen, digest = _inputs(images, annotations, split)
    card = detector.card
    thresholds = card.thresholds.changed({"score": min(LOWEST_SCORE, card.thresholds.score)})

    def search(image: Image) -> list[FaceResult] | ImageError:
        try:
            photo = Photo(pictures.read(image.file_name, image.sha256))
            return detector.detect([photo], thresholds=thresholds)[0]
        except ImageError as error:
            return error

    searched: list[SearchedImage] = []
    failed = []
    found = ordered_map(search, chosen, workers=workers, ahead=_AHEAD * workers)
    for image, faces in progress(found, "predict", len(chosen)):
        if isinstance(faces, ImageError):
            failed.append((image.file_name, faces))
        else:
            searched.append(_searched(image, faces, card.labels))
    reasons = check_failures(failed, max_failed, len(chosen), "images")
    threshold, space = card.thresholds.score, card.label_space or ""
    table = Detections(tuple(searched), card.labels, space, threshold, detector.name, detector.version, digest)
    return table, reasons


def _inputs(images: Path, annotations: Path | None, split: str) -> tuple[Pictures, list[Image], str]:
    """Return the pictures, the images to search, and the digest of the images."""
    if annotations is None:
        bare, names = find_pictures(images)
        return bare, [Image(number, name, 1, 1) for number, name in enumerate(names, 1)], ""
    data = read_annotations(annotations)
    archive, chosen = ImageArchive(images), images_of_split(data, split)
    check_present(archive, (image.file_name for image in chosen))
    return archive, chosen, data.info.images_digest or ""


def _searched(image: Image, faces: list[FaceResult], labels: tuple[str, ...]) -> SearchedImage:
    boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
    scores = [
        [face.heads[LABEL_HEAD][label] for label in labels] if len(labels) > 1 else [face.score] for face in faces
    ]
    table = np.array(scores, np.float32).reshape(-1, len(labels))
    return SearchedImage(image.id, image.file_name, boxes, table, image.sha256)
