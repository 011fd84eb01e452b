"""Drops images and faces: without a box or label, too small, disputed, duplicates."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.curate.operation import Options, Outcome
from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.duplicates import MAX_DISTANCE, NEAR, exact_duplicates, near_duplicates
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import label_space
from serving.runtime.errors import InputError

Reason = Literal["no_box", "small_box", "unlabeled", "disagreement", "duplicate", "near_duplicate"]

# Of a group of duplicates the copy stays that a score depends on.
_KEEP_FIRST = ("test", "val", "train", None)


class DropOptions(Options):
    """Options of drop.

    Attributes:
        reasons: what to drop, in this order: faces without a box (`no_box`), with a side below `min_box`
            (`small_box`), without a class of `label_space` (`unlabeled`), with fewer than `min_agree` annotators'
            votes for their emotion (`disagreement`); further copies of the same file (`duplicate`), and of pictures
            that look alike (`near_duplicate`).
        min_box: pixels.
        label_space: the name of a label space.
        min_agree: votes. Faces without votes stay.
        max_distance: how many of the 128 bits of the fingerprints of pictures that look alike may differ.
    """

    reasons: tuple[Reason, ...] = Field(min_length=1)
    min_box: float | None = Field(default=None, gt=0)
    label_space: str | None = None
    min_agree: int = Field(default=2, ge=1)
    max_distance: int = Field(default=NEAR, ge=0, le=MAX_DISTANCE)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for reason, option in {"small_box": "min_box", "unlabeled": "label_space"}.items():
            if reason in self.reasons and getattr(self, option) is None:
                raise ValueError(f"reason '{reason}' needs the option '{option}'")
        return self


def drop(images: Sequence[Image], options: DropOptions) -> Outcome:
    """Drop images for the given reasons; each is counted under the first that applies.

    The first four reasons look at faces: an image loses the faces they apply to (counted `<reason>_faces`), and is
    dropped when none is left. An image without faces is dropped for `no_box` and `unlabeled`. Of duplicates one copy
    stays: the test set's before the val set's before the train set's, so that scores rest on the whole test set and
    training cannot have seen it; then the one with the lowest id. Groups whose copies differ in attributes are
    counted as `<reason>_label_conflict`.
    """
    outcome = Outcome(list(images))
    for reason in dict.fromkeys(options.reasons):
        if reason == "duplicate":
            _drop_copies(outcome, reason, exact_duplicates(outcome.images))
        elif reason == "near_duplicate":
            _drop_copies(outcome, reason, near_duplicates(outcome.images, options.max_distance))
        else:
            _drop_faces(outcome, reason, _predicate(reason, options), reason in ("no_box", "unlabeled"))
    return outcome


def _predicate(reason: str, options: DropOptions) -> Callable[[Face], bool]:
    """Return the predicate of the faces to drop."""
    if reason == "no_box":
        return lambda face: face.box is None
    if reason == "small_box":
        smallest = options.min_box or 0.0
        return lambda face: face.box is not None and min(face.box[2:]) < smallest
    if reason == "disagreement":
        return lambda face: _disagree(face.attributes, options.min_agree)
    class_of = FaceClasses(label_space(options.label_space or ""))
    return lambda face: class_of(face) is None


def _disagree(attributes: dict[str, Any], min_agree: int) -> bool:
    votes = attributes.get("votes")
    return isinstance(votes, list) and sum(vote == attributes.get("emotion") for vote in votes) < min_agree


def _drop_faces(outcome: Outcome, reason: str, applies: Callable[[Face], bool], drop_faceless: bool) -> None:
    kept = []
    for image in outcome.images:
        try:
            faces = tuple(face for face in image.faces if not applies(face))
        except InputError as error:
            raise InputError(f"image '{image.file_name}': {error}") from error
        for _ in range(len(image.faces) - len(faces)):
            outcome.notes.add(f"{reason}_faces", image.file_name)
        if faces or (not image.faces and not drop_faceless):
            kept.append(image if len(faces) == len(image.faces) else replace(image, faces=faces))
        else:
            outcome.dropped.add(reason, image.file_name)
    outcome.images = kept


def _drop_copies(outcome: Outcome, reason: str, groups: Iterable[Sequence[Image]]) -> None:
    dropped_ids: set[int] = set()
    for group in groups:
        first, *copies = sorted(group, key=lambda image: (_KEEP_FIRST.index(image.split), image.id))
        dropped_ids.update(image.id for image in copies)
        outcome.notes.add(f"{reason}_groups", first.file_name)
        if any(_attributes(image) != _attributes(first) for image in copies):
            outcome.notes.add(f"{reason}_label_conflict", first.file_name)
    outcome.drop(outcome.images, dropped_ids, reason)


def _attributes(image: Image) -> list[dict[str, Any]]:
    return [face.attributes for face in image.faces]
