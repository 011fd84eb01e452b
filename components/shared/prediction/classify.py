"""Prediction with a classifier: the probabilities of every face of a split."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations, named_points, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.prediction.inputs import check_failures, images_of_split, present
from components.shared.progress import progress
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.placement import EYES, Keypoints, eye_points
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.ordered_map import ordered_map
from serving.runtime.predictor import Classifier
from serving.runtime.reference import brightness
from serving.runtime.session import Outputs

_AHEAD = 2
_log = logging.getLogger(__name__)

_Crop = NDArray[np.uint8] | InputError


def classify(
    classifier: Classifier,
    images: Path,
    annotations: Path | None,
    *,
    split: str,
    batch_size: int,
    workers: int,
    max_failed: int,
) -> tuple[Predictions, dict[str, int]]:
    """Return the probabilities of every face of a split, and how many faces could not be predicted, by reason.

    Faces are cut from the original image bytes by the code that serves the model. Threads decode the images while the
    model computes.

    Args:
        classifier: the model.
        images: folder with the image archives; without annotations also a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON with the faces; None predicts every picture of `images` as one face.
        split: test, val, train, or all.
        batch_size: faces per run of the model.
        workers: decoding threads.
        max_failed: how many faces may fail to decode.

    Raises:
        InputError: the split is unknown or has no face, images are missing from the archive or are others there than
            the annotations describe, the heads are not those of the label space, or too many faces failed.
    """
    card = classifier.card
    space = _label_space(card)
    archive, faces, eyes, digest = _inputs(images, annotations, split, card)

    predicted: list[PredictedFace] = []
    failed: list[tuple[str, InputError]] = []
    outputs: list[Outputs] = []
    batches = _crop_batches(archive, faces, eyes, card, batch_size, workers)
    for batch in progress(batches, "predict", -(-len(faces) // batch_size)):
        failed += [(face.path, crop) for face, crop in batch if isinstance(crop, InputError)]
        good = [(face, crop) for face, crop in batch if not isinstance(crop, InputError)]
        if good:
            predicted += [replace(face, brightness=round(brightness(crop), 2)) for face, crop in good]
            outputs.append(classifier.infer(np.stack([crop for _, crop in good])))
    reasons = check_failures(failed, max_failed, len(faces))
    heads = {head.name: np.concatenate([batch[head.name] for batch in outputs]) for head in space.heads}
    return Predictions(tuple(predicted), heads, space, classifier.name, classifier.version, digest), reasons


def _label_space(card: ClassificationCard) -> LabelSpace:
    space = label_space(card.label_space)
    if space.heads != card.heads:
        ours, theirs = ([(head.name, head.labels) for head in heads] for heads in (space.heads, card.heads))
        raise InputError(f"model '{card.name}': its heads {theirs} are not those of label space '{space.name}': {ours}")
    return space


def _inputs(
    images: Path, annotations: Path | None, split: str, card: ClassificationCard
) -> tuple[Pictures, list[PredictedFace], dict[int, Keypoints], str]:
    """Return pictures, faces, the eyes of the faces where the model needs them, and the digest of the images."""
    if annotations is None:
        archive, names = find_pictures(images)
        return archive, [PredictedFace(number, number, name, None) for number, name in enumerate(names, 1)], {}, ""
    data = read_annotations(annotations)
    archive, faces = ImageArchive(images), _faces_of_split(data, split)
    check_present(archive, (face.path for face in faces))
    eyes = _eyes(data, faces) if card.crop.eyes is not None else {}
    return archive, faces, eyes, data.info.images_digest or ""


def _faces_of_split(annotations: Annotations, split: str) -> list[PredictedFace]:
    """Return the faces of a split in the order of image id and face id."""
    faces = [
        PredictedFace(image.id, face.id, image.file_name, face.box, image.sha256, face.score)
        for image in images_of_split(annotations, split)
        for face in sorted(image.faces, key=lambda face: face.id)
    ]
    if not faces:
        raise InputError(f"no face is in split '{split}'; present: {present(annotations)}")
    return faces


def _eyes(annotations: Annotations, faces: Sequence[PredictedFace]) -> dict[int, Keypoints]:
    """Return the eyes of the faces that have both, by face id; the log tells how many have not."""
    names = annotations.keypoint_names
    points = {face.id: eye_points(named_points(face, names)) for image in annotations.images for face in image.faces}
    missing = sum(not points[face.face_id] for face in faces)
    if missing:
        _log.warning("the model aligns faces by %s; %d of %d faces have not both and are cut by their boxes",
                     " and ".join(EYES), missing, len(faces))  # fmt: skip
    return points


def _crop_batches(
    archive: Pictures,
    faces: Sequence[PredictedFace],
    eyes: Mapping[int, Keypoints],
    card: ClassificationCard,
    batch_size: int,
    workers: int,
) -> Iterator[list[tuple[PredictedFace, _Crop]]]:
    """Yield faces with their pixels in batches; threads decode `_AHEAD` batches before the current one."""

    def crop(face: PredictedFace) -> _Crop:
        try:
            data = archive.read(face.path, face.sha256)
        except ImageError as error:
            return error
        try:
            return decode_crop_resize(data, face.box, card, keypoints=eyes.get(face.face_id))
        except InputError as error:
            return error

    crops = ordered_map(crop, faces, workers=workers, ahead=_AHEAD * batch_size)
    while batch := list(islice(crops, batch_size)):
        yield batch
