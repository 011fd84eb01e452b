"""Prediction with classifiers: the probabilities of every face of a split."""

import logging
from pathlib import Path

from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.predictions import Predictions
from components.shared.prediction.ensemble import Ensemble
from components.shared.prediction.inputs import check_failures, present
from components.shared.prediction.photo_set import PhotoSet, bare_photo_set, photo_set_of
from components.shared.prediction.results import ModelFacts, table_of
from components.shared.prediction.stream import predicted_photos
from serving.runtime.errors import InputError
from serving.runtime.image.placement import EYES
from serving.runtime.predictor import Classifier

_log = logging.getLogger(__name__)


def classify(
    classifier: Classifier | Ensemble,
    images: Path,
    annotations: Path | None,
    *,
    split: str,
    workers: int,
    max_failed: int,
    may_be_empty: bool = False,
) -> tuple[Predictions, dict[str, int]]:
    """Return the probabilities of every face of a split, and how many faces could not be predicted, by reason.

    Faces are cut from the original image bytes by the code that serves the model, see `predicted_photos`.

    Args:
        classifier: the model or models; opened with one thread they compute on all cores, see `open_models`.
        images: folder with the image archives; without annotations also a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON with the faces; None predicts every picture of `images` as one face.
        split: test, val, train, or all.
        workers: threads that decode and compute.
        max_failed: how many faces may fail to decode.
        may_be_empty: accept a split without a face: the table has no row.

    Raises:
        InputError: the split is unknown or has no face, images are missing from the archive or are others there than
            the annotations describe, the heads are not those of the label space, or too many faces failed.
    """
    ensemble = classifier if isinstance(classifier, Ensemble) else Ensemble([classifier])
    photos = _photos(images, annotations, split, may_be_empty)
    _warn_of_eyes(ensemble, photos)
    done = list(predicted_photos(ensemble, photos, workers=workers))
    failed = [(photo.path, failure) for photo in done for failure in photo.failures]
    reasons = check_failures(failed, max_failed, photos.faces())
    table = table_of(ModelFacts.of(ensemble, photos.digest), done)
    assert isinstance(table, Predictions)
    return table, reasons


def _photos(images: Path, annotations: Path | None, split: str, may_be_empty: bool) -> PhotoSet:
    if annotations is None:
        return bare_photo_set(images)
    data = read_annotations(annotations)
    photos = photo_set_of(ImageArchive(images), data, split, may_be_empty=may_be_empty)
    if not photos.faces() and not may_be_empty:
        raise InputError(f"no face is in split '{split}'; present: {present(data)}")
    return photos


def _warn_of_eyes(ensemble: Ensemble, photos: PhotoSet) -> None:
    """Tell the log how many faces have no eyes where a model aligns faces by them."""
    missing = sum(not face.eyes for photo in photos.photos for face in photo.faces)
    if missing and any(member.card.crop.eyes is not None for member in ensemble.members):
        _log.warning("the model aligns faces by %s; %d of %d faces have not both and are cut by their boxes",
                     " and ".join(EYES), missing, photos.faces())  # fmt: skip
