"""From the augmentation that a configuration names to the pixels of training and of validation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from components.shared.by_name import by_name, check_arguments
from components.shared.options import parse_options
from components.train_classifier.augmentations.face_color import recolor
from components.train_classifier.augmentations.face_cut import cut_face
from components.train_classifier.augmentations.ranges import Pixels
from components.train_classifier.augmentations.steps import Change, InTurn, make_steps
from components.train_classifier.config.augmentation import Augment, AugmentationSpec, StepSpec
from components.train_classifier.config.augmentation_presets import PHOTO, PRESETS, frame_of
from serving.runtime.card import WHOLE, CropRule, Frame, InputSize, Normalization
from serving.runtime.errors import InputError
from serving.runtime.image.crop import Box, Rect, crop_rect, frame_rect
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, Header, read_header
from serving.runtime.image.preprocess import cut_resize

Cut = Callable[[bytes, Header, Rect, float, np.random.Generator], Pixels]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What training, and what validation, makes of one face of an encoded image. Can be pickled.

    `photo_change`, where there is one, changes the whole photo before the crop rule's frame is cut from it; `cut`
    reads what the crop rule says in a way of its own; `change` comes after the picture has the size `input`.
    """

    input: InputSize
    change: Change
    photo_change: Change | None = None
    cut: Cut | None = None

    def eval_pixels(self, data: bytes, box: Box | None, crop: CropRule) -> Pixels:
        """Return the pixels for validation: uint8 (height, width, 3) RGB of the size `input`, as serving cuts them.

        Raises ImageError or InputError when the image or the box cannot be used.
        """
        header = read_header(data, DEFAULT_MAX_PIXELS)
        rect = crop_rect(header.upright, box, crop, self.input)
        return cut_resize(data, header, rect, self.input, crop.min_decode)

    def train_pixels(self, data: bytes, box: Box | None, crop: CropRule, rng: np.random.Generator) -> Pixels:
        """Return the pixels for training, of the same kind; equal states of `rng` give equal bytes.

        Raises ImageError or InputError when the image or the box cannot be used, or a change of the user's own gives
        something else than such a picture.
        """
        header = read_header(data, DEFAULT_MAX_PIXELS)
        size = header.upright
        if self.photo_change is not None:
            assert crop.frame is not None
            photo = cut_resize(data, header, frame_rect(size, WHOLE), PHOTO, crop.min_decode)
            pixels = _cut(self.photo_change(photo, rng), crop.frame, self.input)
        elif self.cut is not None:
            pixels = self.cut(data, header, crop_rect(size, box, crop, self.input), crop.min_decode, rng)
        else:
            pixels = cut_resize(data, header, crop_rect(size, box, crop, self.input), self.input, crop.min_decode)
        pixels = self.change(pixels, rng)
        if pixels.shape != (self.input.height, self.input.width, 3) or pixels.dtype != np.uint8:
            raise InputError(
                f"the augmentation gave {pixels.dtype} {pixels.shape}; "
                f"expected uint8 ({self.input.height}, {self.input.width}, 3)"
            )
        return pixels


def make_augmentation(spec: AugmentationSpec, input_size: InputSize, normalization: Normalization) -> Augmentation:
    """Build an augmentation; its crop rules must have the frame of `spec`, see `frame_of`.

    A function at an import path is called with `input_size`, `normalization` and the spec's arguments, and returns a
    function of a picture, uint8 (height, width, 3) RGB of that size, and a generator, that returns such a picture.

    Raises:
        InputError: names the unknown name, step or argument, and those that are known.
    """
    made = _preset(spec, input_size, normalization)
    if frame_of(spec) is None and made.photo_change is not None:
        made = replace(made, change=InTurn((made.photo_change, made.change)), photo_change=None)
    if spec.steps:
        made = replace(made, change=InTurn((made.change, make_steps(spec.steps, normalization))))
    return made


def _preset(spec: AugmentationSpec, input_size: InputSize, normalization: Normalization) -> Augmentation:
    """Build what `spec` names, apart from its frame and the steps that come after it."""
    if spec.name == "face":
        return _face(
            parse_options(Augment, spec.arguments, "arguments of augmentation 'face'"), input_size, normalization
        )
    if ":" in spec.name:
        factory = by_name("augmentation", spec.name, PRESETS)
        given = {"input_size": input_size, "normalization": normalization}
        check_arguments(f"augmentation '{spec.name}'", factory, spec.arguments, reserved=given)
        return Augmentation(input_size, factory(**given, **spec.arguments))
    preset = PRESETS[spec.name]
    unused = dict(spec.arguments)
    photo_steps = [_laid_over(step, spec.arguments, unused) for step in preset.photo_steps]
    steps = [_laid_over(step, spec.arguments, unused) for step in preset.steps]
    if unused:
        raise InputError(
            f"augmentation '{spec.name}' has no step {', '.join(map(repr, unused))}; "
            f"its steps: {', '.join(_names((*preset.photo_steps, *preset.steps))) or 'none'}"
        )
    return Augmentation(
        input_size,
        make_steps(steps, normalization),
        photo_change=make_steps(photo_steps, normalization) if photo_steps else None,
    )


def _laid_over(step: StepSpec, changes: Mapping[str, Any], unused: dict[str, Any]) -> StepSpec:
    """Return the step with the arguments, and the `p`, that `changes` has under its name; takes it out of `unused`."""
    parts = tuple(_laid_over(part, changes, unused) for part in step.steps)
    unused.pop(step.name, None)
    own = changes.get(step.name, {})
    if not isinstance(own, Mapping):
        raise InputError(f"augmentation step '{step.name}': expected a mapping of its arguments, got {own!r}")
    facts = {
        "name": step.name,
        "p": own.get("p", step.p),
        "arguments": step.arguments | {name: value for name, value in own.items() if name != "p"},
        "steps": parts,
    }
    return parse_options(StepSpec, facts, f"augmentation step '{step.name}'")


def _names(steps: tuple[StepSpec, ...]) -> list[str]:
    return [name for step in steps for name in (step.name, *_names(step.steps))]


def _face(augment: Augment, input_size: InputSize, normalization: Normalization) -> Augmentation:
    red, green, blue = (round(255 * mean) for mean in normalization.mean)
    fill = (red, green, blue)
    return Augmentation(
        input_size,
        partial(recolor, augment=augment, fill=fill),
        cut=partial(cut_face, input_size=input_size, augment=augment, fill=fill),
    )


def _cut(photo: Pixels, frame: Frame, input_size: InputSize) -> Pixels:
    box = frame_rect(photo.shape[:2], frame)
    resized = Image.fromarray(photo).resize((input_size.width, input_size.height), Image.Resampling.BILINEAR, box=box)
    return np.array(resized)
