"""Excludes ages from training, such as gaps around the bounds of the age classes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, model_validator

from components.curate.operation import Options, Outcome
from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import canonical_value
from serving.runtime.errors import InputError

Years = Annotated[int, Field(ge=0, le=150)]
Range = tuple[Years, Years]


class DropAgesOptions(Options):
    """Options of drop_ages: one of the two.

    Attributes:
        ranges: ages to exclude from training, as [first, last] years, both included.
        keep: ages to train on; all others are excluded.
    """

    ranges: tuple[Range, ...] = ()
    keep: tuple[Range, ...] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.ranges) == bool(self.keep):
            raise ValueError("give 'ranges' or 'keep', such as ranges [[30, 34], [56, 58]]")
        for first, last in self.ranges + self.keep:
            if first > last:
                raise ValueError(f"the range [{first}, {last}] is reversed")
        return self


def drop_ages(images: Sequence[Image], options: DropAgesOptions) -> Outcome:
    """Mark images of the given ages as not trainable. No image is dropped; val and test do not change.

    A marked image in the train split loses its split. Faces without an age do not count.
    """
    outcome = Outcome([])
    for image in images:
        if image.split in ("val", "test") or not any(_is_out(age, options) for age in _ages(image)):
            outcome.images.append(image)
            continue
        outcome.notes.add("not_trainable", image.file_name)
        if image.split == "train":
            outcome.notes.add("out_of_train", image.file_name)
        outcome.images.append(replace(image, trainable=False, split=None))
    return outcome


def _ages(image: Image) -> list[int]:
    try:
        return [
            int(canonical_value("age", age)) for face in image.faces if (age := face.attributes.get("age")) is not None
        ]
    except InputError as error:
        raise InputError(f"image '{image.file_name}': {error}") from error


def _is_out(age: int, options: DropAgesOptions) -> bool:
    if options.keep:
        return not any(first <= age <= last for first, last in options.keep)
    return any(first <= age <= last for first, last in options.ranges)
