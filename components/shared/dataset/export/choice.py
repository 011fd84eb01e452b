"""Selects the images and faces of an export with their splits and classes."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from components.shared.dataset.annotations import Annotations, Face, Image
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.tally import Tally
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen

SPLITS = ("train", "val", "test")


class ExportOptions(Frozen):
    """Options of an export.

    Attributes:
        unsplit: `train` puts images without a split there, `skip` leaves them out.
        classes: of the boxes of detection data: the one class `face`, or the classes of the label space.
    """

    unsplit: Literal["train", "skip"] = "train"
    classes: Literal["face", "label_space"] = "face"


@dataclass
class Remarks:
    """Images that are left out, and images (or splits and classes) that are noted, by reason and with every name."""

    left_out: Tally = field(default_factory=lambda: Tally(max_examples=None))
    notes: Tally = field(default_factory=lambda: Tally(max_examples=None))


@dataclass(frozen=True, slots=True)
class Choice:
    """One image to export: its split, and its faces with their class in the label space, None when they have none."""

    image: Image
    split: str
    faces: tuple[tuple[Face, int | None], ...]

    @property
    def category(self) -> int | None:
        """The class of the first face that has one."""
        return next((index for _, index in self.faces if index is not None), None)


def choose(
    data: Annotations,
    space: LabelSpace | None,
    options: ExportOptions,
    remarks: Remarks,
    splits: Collection[str] = SPLITS,
) -> list[Choice]:
    """Return every image of the splits, sorted by file name.

    Without a label space no face has a class. An image without a split that is not trainable is left out. Images of
    splits that were not asked for are no part of the export, and not counted.
    """
    class_of = FaceClasses(space) if space is not None else None
    chosen = []
    for image in sorted(data.images, key=lambda image: image.file_name):
        split = image.split
        if split is None:
            if options.unsplit == "skip" or not image.trainable:
                remarks.left_out.add("unsplit" if image.trainable else "not_trainable", image.file_name)
                continue
            remarks.notes.add("unsplit_to_train", image.file_name)
            split = "train"
        if split not in splits:
            continue
        faces = tuple((face, None if class_of is None else _class_or_none(face, class_of)) for face in image.faces)
        chosen.append(Choice(image, split, faces))
    return chosen


def _class_or_none(face: Face, class_of: FaceClasses) -> int | None:
    """Return the class; None where there is none or a value is invalid."""
    try:
        return class_of(face)
    except InputError:
        return None


def labeled(chosen: list[Choice], remarks: Remarks) -> list[Choice]:
    """Return the images with a class; their faces without one are left out and counted."""
    kept = []
    for choice in chosen:
        faces = tuple((face, index) for face, index in choice.faces if index is not None)
        if not faces:
            remarks.left_out.add("unlabeled" if choice.faces else "no_face", choice.image.file_name)
            continue
        if len(faces) < len(choice.faces):
            remarks.notes.add("unlabeled_face", choice.image.file_name)
        kept.append(Choice(choice.image, choice.split, faces))
    return kept
