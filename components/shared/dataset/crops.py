"""Faces that were cut out before the training: a folder with an image archive and the annotations of its crops."""

import hashlib
from dataclasses import replace
from pathlib import Path

from components.shared.dataset.annotations import Annotations, Face, Image, digest, read_annotations
from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder

ANNOTATIONS = "annotations.json"
"""The crops' annotations, in their folder. A crop shows one face, whose id is that of the face in the photo."""

_READ_BY_TRAINING = ("train", "val")


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

    Args:
        annotations: of the photos.
        folder: the crops.

    Raises:
        InputError: a face has no crop, and which.
    """
    content = read_annotations(folder / ANNOTATIONS)
    crops = {face.id: (image, face) for image in content.images for face in image.faces}
    images = tuple(
        _on_crop(photo, face, crops.get(face.id), folder)
        for photo in annotations.images
        if photo.split in _READ_BY_TRAINING
        for face in photo.faces
    )
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
    return replace(
        crop,
        faces=(replace(face, box=on_crop.box, keypoints=on_crop.keypoints),),
        person=photo.person,
        split=photo.split,
        fold=photo.fold,
        trainable=photo.trainable,
    )
