"""Prediction with a detector: the boxes in every image of a split."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Image, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.detections import Detections, FoundBoxes, SearchedImage
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.prediction.inputs import Failure, check_failures, images_of_split
from components.shared.progress import progress
from serving.runtime.card import DetectionThresholds
from serving.runtime.detection import Candidates, Floats, choose, clip, suppress
from serving.runtime.detector import Detector
from serving.runtime.errors import ImageError
from serving.runtime.image.photo import Photo
from serving.runtime.ordered_map import ordered_map

LOWEST_SCORE = 0.001
"""Boxes are kept from this score on: a curve of precision needs those that are not sure too."""

_AHEAD = 4


def detect(
    detector: Detector,
    images: Path,
    annotations: Path | None,
    *,
    split: str,
    workers: int,
    max_failed: int,
    may_be_empty: bool = False,
) -> tuple[Detections, dict[str, int]]:
    """Return the boxes of every image of a split, and how many images could not be decoded, by reason.

    Each photo is searched alone, as a request of one photo is, so nothing depends on the photos around it. The `served`
    boxes of the card's threshold and more are exactly those that the model answers when it serves: suppression begins
    with the highest score. A detector of several labels also gives the boxes of each label, as ultralytics validates:
    see `boxes_by_label`.

    Args:
        detector: the model; `workers` threads call it.
        images: folder with the image archives; without annotations also a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON; None searches every picture of `images`.
        split: test, val, train, or all.
        workers: threads that decode and search.
        max_failed: how many images may fail to decode.
        may_be_empty: accept a split without an image.

    Raises:
        InputError: the split is unknown or empty, images are missing from the archive or are others there than the
            annotations describe, the graph gives numbers that are none, or too many images failed.
    """
    pictures, chosen, digest = _inputs(images, annotations, split, may_be_empty)
    card = detector.card

    def search(image: Image) -> SearchedImage | ImageError:
        try:
            served, by_label = search_photo(detector, Photo(pictures.read(image.file_name, image.sha256)))
        except ImageError as error:
            return error
        return SearchedImage(image.id, image.file_name, served, by_label, image.sha256)

    searched: list[SearchedImage] = []
    failed = []
    found = ordered_map(search, chosen, workers=workers, ahead=_AHEAD * workers)
    for image, result in progress(found, "predict", len(chosen)):
        if isinstance(result, ImageError):
            failed.append((image.file_name, Failure.of(result)))
        else:
            searched.append(result)
    reasons = check_failures(failed, max_failed, len(chosen), "images")
    threshold, space = card.thresholds.score, card.label_space or ""
    table = Detections(tuple(searched), card.labels, space, threshold, detector.name, detector.version, digest)
    return table, reasons


def search_photo(detector: Detector, photo: Photo) -> tuple[FoundBoxes, FoundBoxes]:
    """Return the boxes that a photo has from LOWEST_SCORE on, under their best label and under every label.

    Raises:
        ImageError: the photo cannot be used.
        InputError: the graph gives numbers that are none.
    """
    card = detector.card
    thresholds = card.thresholds.changed({"score": min(LOWEST_SCORE, card.thresholds.score)})
    (found,) = detector.candidates([photo], score=thresholds.score)
    served = _served(found, thresholds, photo.upright)
    return served, served if len(card.labels) == 1 else boxes_by_label(found, thresholds, photo.upright)


def _inputs(
    images: Path, annotations: Path | None, split: str, may_be_empty: bool
) -> tuple[Pictures, list[Image], str]:
    """Return the pictures, the images to search, and the digest of the images."""
    if annotations is None:
        bare, names = find_pictures(images)
        return bare, [Image(number, name, 1, 1) for number, name in enumerate(names, 1)], ""
    data = read_annotations(annotations)
    archive, chosen = ImageArchive(images), images_of_split(data, split, may_be_empty=may_be_empty)
    check_present(archive, (image.file_name for image in chosen))
    return archive, chosen, data.info.images_digest or ""


def _served(found: Candidates, thresholds: DetectionThresholds, upright: tuple[int, int]) -> FoundBoxes:
    faces = choose(found, thresholds, upright)
    return FoundBoxes(_sized(faces.boxes), faces.scores, faces.scores.argmax(axis=1))


def boxes_by_label(found: Candidates, thresholds: DetectionThresholds, upright: tuple[int, int]) -> FoundBoxes:
    """Return the boxes of every label: each candidate under each label that it has at least the lowest score of.

    The candidates of one label suppress each other, whatever their best label is; of all labels together the
    `max_detections` of the highest scores stay. These are the boxes that the validation of ultralytics
    (`multi_label=True`) takes its average precision of.

    Args:
        found: candidates of a photo.
        thresholds: the lowest score, `nms_iou` and `max_detections`.
        upright: height and width of the photo.
    """
    rows, labels = np.nonzero(found.scores >= thresholds.score)
    scores = found.scores[rows, labels]
    kept: list[NDArray[np.intp]] = []
    for label in range(found.scores.shape[1]):
        own = np.flatnonzero(labels == label)
        kept.append(own[suppress(found.boxes[rows[own]], scores[own], labels[own], thresholds)])
    together = np.concatenate(kept)
    best = together[np.argsort(-scores[together], kind="stable")[: thresholds.max_detections]]
    boxes = clip(found.boxes[rows[best]], upright)
    return FoundBoxes(_sized(boxes), found.scores[rows[best]], labels[best])


def _sized(corners: Floats) -> NDArray[np.float64]:
    """Return boxes left, top, right, bottom, (n, 4), as x, y, width, height."""
    boxes = corners.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes
