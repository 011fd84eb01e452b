"""Faces that were cut out before the training: a folder with an image archive and the annotations of its crops."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from components.shared.dataset.annotations import Annotations, Face, Image, digest, read_annotations
from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder

ANNOTATIONS = "annotations.json"
"""The crops' annotations, in their folder. A crop shows one face, whose id is that of the face in the photo."""

_READ_BY_TRAINING = ("train", "val")
_log = logging.getLogger(__name__)


def write_none(folder: Path) -> None:
    """Write a folder without crops: with one file, since an object store keeps no empty folders."""
    with whole_folder(folder) as partial:
        (partial / "no-crops.txt").touch()


def has_crops(folder: Path | None) -> bool:
    """Tell whether there are crops in a folder; a step that was not asked for any wrote none."""
    return folder is not None and (folder / ANNOTATIONS).is_file()


def on_crops(annotations: Annotations, folder: Path) -> Annotations:
    """Return the faces of the splits train and val on their crops, each an image of its own.

    Picture, size, box and keypoints are the crop's; split, fold, person and attributes stay those of `annotations`.
    Faces that `crop_faces` was allowed to lose are left out, and the log says how many.

    Args:
        annotations: of the photos.
        folder: the crops.

    Raises:
        InputError: a face has no crop, or that of another photo, and which.
    """
    content = read_annotations(folder / ANNOTATIONS)
    crops = {face.id: (image, face) for image in content.images for face in image.faces}
    failed = frozenset(() if content.info.crops is None else content.info.crops.failed)
    photos = [image for image in annotations.images if image.split in _READ_BY_TRAINING]
    faces = [(photo, face) for photo in photos for face in photo.faces]
    cut = [(photo, face) for photo, face in faces if face.id in crops or face.id not in failed]
    if len(cut) < len(faces):
        _log.warning("%d of %d faces could not be cropped and are left out", len(faces) - len(cut), len(faces))
    images = tuple(_on_crop(photo, face, crops.get(face.id), folder) for photo, face in cut)
    return Annotations(images, annotations.info, content.keypoint_names)


def digest_with_crops(annotations: Path, folder: Path | None) -> str:
    """Return the sha256 of the annotations file, in hex; where there are crops, that of both files' digests."""
    if folder is None or not has_crops(folder):
        return digest(annotations)
    both = f"{digest(annotations)}\n{digest(folder / ANNOTATIONS)}\n"
    return hashlib.sha256(both.encode()).hexdigest()


def _on_crop(photo: Image, face: Face, cut: tuple[Image, Face] | None, folder: Path) -> Image:
    if cut is None:
        raise InputError(
            f"{folder}: face {face.id} of {photo.file_name} has no crop; cut the crops from the annotations that are "
            "split"
        )
    crop, on_crop = cut
    source = photo.source or photo.file_name
    if crop.source != source if photo.sha256 is None else crop.photo_sha256 != photo.sha256:
        raise InputError(
            f"{folder}: face {face.id} of {photo.file_name}: its crop {crop.file_name} is not known to show this "
            "photo; cut the crops again from the annotations that are split"
        )
    return replace(
        crop,
        faces=(replace(face, box=on_crop.box, keypoints=on_crop.keypoints),),
        person=photo.person,
        split=photo.split,
        fold=photo.fold,
        trainable=photo.trainable,
    )
