"""Prediction of every face of a split, with the exported model and the code that serves it."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations, Face, Image, named_points, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from components.shared.progress import progress
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.placement import EYES, Keypoints, eye_points
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.load import load_model
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import check_output
from serving.runtime.reference import brightness
from serving.runtime.session import Outputs

SPLITS = ("test", "val", "train", "all")
_AHEAD = 2
_EXAMPLES = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictReport:
    """How many faces were predicted, and how many could not be, by reason."""

    faces: int
    images: int
    failed: dict[str, int]


_Crop = NDArray[np.uint8] | InputError


def predict(
    model: Path,
    images: Path,
    annotations: Path | None,
    output: Path,
    *,
    split: str = "test",
    batch_size: int = 64,
    workers: int = 0,
    max_failed: int = 0,
) -> PredictReport:
    """Write the probabilities of every face of a split as CSV, in the order of image id and face id.

    Faces are cut from the original image bytes by the code that serves the model. Threads decode the images while the
    model computes.

    Args:
        model: folder with `model.onnx`, or the file itself; a classifier.
        images: folder with the image archives; without annotations also a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON with the faces; None predicts every picture of `images` as one face.
        output: the CSV to write.
        split: test, val, train, or all (images without a split too).
        batch_size: faces per run of the model.
        workers: decoding threads; 0 takes one per CPU.
        max_failed: how many faces may fail to decode; more fail the step.

    Raises:
        InputError: the split is unknown or has no face, images are missing from the archive or are others there than
            the annotations describe, the model is not a classifier of its label space, or too many faces failed.
        StorageError: there is no model.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    check_output(output, model, images, *([annotations] if annotations else []))
    predictor = load_model(str(model))
    card = predictor.card
    if not isinstance(card, ClassificationCard):
        raise InputError(f"{model}: a model of task '{card.task}'; this step predicts with classifiers")
    space = _label_space(card)
    archive, faces, eyes, digest = _inputs(images, annotations, split, card)

    predicted: list[PredictedFace] = []
    failed: list[tuple[PredictedFace, InputError]] = []
    outputs: list[Outputs] = []
    batches = _crop_batches(archive, faces, eyes, card, batch_size, workers or usable_cpus())
    for batch in progress(batches, "predict", -(-len(faces) // batch_size)):
        failed += [(face, crop) for face, crop in batch if isinstance(crop, InputError)]
        good = [(face, crop) for face, crop in batch if not isinstance(crop, InputError)]
        if good:
            predicted += [replace(face, brightness=round(brightness(crop), 2)) for face, crop in good]
            outputs.append(predictor.infer(np.stack([crop for _, crop in good])))
    reasons = _check_failures(failed, max_failed, len(faces))
    heads = {head.name: np.concatenate([batch[head.name] for batch in outputs]) for head in space.heads}
    table = Predictions(tuple(predicted), heads, space, predictor.name, predictor.version, digest)
    write_predictions(table, output)
    return PredictReport(len(predicted), len({face.image_id for face in predicted}), reasons)


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
    if split not in SPLITS:
        raise InputError(f"unknown split '{split}'; known: {', '.join(SPLITS)}; present: {_present(annotations)}")
    pairs: list[tuple[Image, Face]] = [
        (image, face) for image in annotations.images if split in ("all", image.split) for face in image.faces
    ]
    if not pairs:
        raise InputError(f"no face is in split '{split}'; present: {_present(annotations)}")
    pairs.sort(key=lambda pair: (pair[0].id, pair[1].id))
    return [
        PredictedFace(image.id, face.id, image.file_name, face.box, image.sha256, face.score) for image, face in pairs
    ]


def _eyes(annotations: Annotations, faces: Sequence[PredictedFace]) -> dict[int, Keypoints]:
    """Return the eyes of the faces that have both, by face id; the log tells how many have not."""
    names = annotations.keypoint_names
    points = {face.id: eye_points(named_points(face, names)) for image in annotations.images for face in image.faces}
    missing = sum(not points[face.face_id] for face in faces)
    if missing:
        _log.warning("the model aligns faces by %s; %d of %d faces have not both and are cut by their boxes",
                     " and ".join(EYES), missing, len(faces))  # fmt: skip
    return points


def _present(annotations: Annotations) -> str:
    counts: Counter[str] = Counter()
    for image in annotations.images:
        counts[image.split or "no split"] += len(image.faces)
    return ", ".join(f"{name} {count} faces" for name, count in sorted(counts.items())) or "no images"


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


def _check_failures(failed: Sequence[tuple[PredictedFace, InputError]], max_failed: int, total: int) -> dict[str, int]:
    """Raise InputError above the threshold, otherwise log the faces that are left out and count them by reason."""
    if not failed:
        return {}
    errors = [error.reason if isinstance(error, ImageError) else "box" for _, error in failed]
    reasons = dict(sorted(Counter(errors).items()))
    counts = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    examples = "; ".join(f"{face.path}: {error}" for face, error in failed[:_EXAMPLES])
    message = f"{len(failed)} of {total} faces could not be predicted ({counts}), such as {examples}"
    if len(failed) > max_failed or len(failed) == total:
        raise InputError(f"{message}; repair or remove these images, or allow so many with max_failed={len(failed)}")
    _log.warning("%s", message)
    return reasons
