"""Build the augmentation that a configuration names: pixels for training and for validation."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, get_type_hints

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, create_model

from components.shared.options import by_name, check_arguments, imported, parse_options
from components.train_classifier.augmentations.color import jitter
from components.train_classifier.augmentations.face_cut import cut_face
from components.train_classifier.augmentations.filters import mean_color, random_erasing
from components.train_classifier.augmentations.ranges import Pixels
from components.train_classifier.config.augmentation import (
    PHOTO,
    TRANSFORMS,
    AugmentationSpec,
    FaceArguments,
    StepSpec,
    frame_of,
)
from serving.runtime.card import WHOLE, CropRule, Frame, InputSize, Normalization
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box, Keypoints, Placement, frame_rect, place
from serving.runtime.image.preprocess import cut_placed, cut_resize

Transform = Callable[[Pixels, np.random.Generator], Pixels]
Cut = Callable[[Photo, Placement, float, np.random.Generator], Pixels]

_ERASED_AREA, _ERASED_ASPECT = (0.02, 0.2), (1 / 3, 3.0)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The pixels of one face of an encoded image, for training and for validation. Can be pickled.

    `photo_transform`, where there is one, is applied to the whole photo before the crop rule's frame is cut from it;
    `cut` replaces the resize of what the crop rule says; `transform` is applied at the size `input`.
    """

    input: InputSize
    transform: Transform
    photo_transform: Transform | None = None
    cut: Cut | None = None

    def eval_pixels(
        self, data: bytes, box: Box | None, crop: CropRule, *, keypoints: Keypoints | None = None
    ) -> Pixels:
        """Return the pixels for validation: uint8 (height, width, 3) RGB of the size `input`, as serving cuts them.

        Raises ImageError or InputError when the image or the box cannot be used.
        """
        photo = Photo(data)
        placement = place(photo.upright, box, crop, self.input, keypoints)
        return cut_placed(photo, placement, self.input, crop.min_decode)

    def train_pixels(
        self,
        data: bytes,
        box: Box | None,
        crop: CropRule,
        rng: np.random.Generator,
        *,
        keypoints: Keypoints | None = None,
    ) -> Pixels:
        """Return the pixels for training, of the same kind; equal states of `rng` give equal bytes.

        Raises ImageError or InputError when the image or the box cannot be used, or the user's own transform returns
        something else than such a picture.
        """
        photo = Photo(data)
        if self.photo_transform is not None:
            assert crop.frame is not None
            whole = cut_resize(photo, frame_rect(photo.upright, WHOLE), PHOTO, crop.min_decode)
            pixels = _cut_frame(self.photo_transform(whole, rng), crop.frame, self.input)
        else:
            placement = place(photo.upright, box, crop, self.input, keypoints)
            if self.cut is None:
                pixels = cut_placed(photo, placement, self.input, crop.min_decode)
            else:
                pixels = self.cut(photo, placement, crop.min_decode, rng)
        pixels = self.transform(pixels, rng)
        if pixels.shape != (self.input.height, self.input.width, 3) or pixels.dtype != np.uint8:
            raise InputError(
                f"the augmentation returned {pixels.dtype} {pixels.shape}; "
                f"expected uint8 ({self.input.height}, {self.input.width}, 3)"
            )
        return pixels


@dataclass(frozen=True, slots=True)
class RandomApply:
    """Applies `transform` with probability `p`."""

    p: float
    transform: Transform

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture, transformed or not."""
        return self.transform(pixels, rng) if rng.random() < self.p else pixels


@dataclass(frozen=True, slots=True)
class OneOf:
    """Applies one of `transforms`, chosen with probabilities that are proportional to `weights`."""

    weights: tuple[float, ...]
    transforms: tuple[Transform, ...]

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the transformed picture."""
        sums = np.cumsum(self.weights)
        chosen = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
        return self.transforms[chosen](pixels, rng)


@dataclass(frozen=True, slots=True)
class Compose:
    """Applies all transforms, one after the other."""

    transforms: tuple[Transform, ...]

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the transformed picture."""
        for transform in self.transforms:
            pixels = transform(pixels, rng)
        return pixels


def make_augmentation(spec: AugmentationSpec, input_size: InputSize, normalization: Normalization) -> Augmentation:
    """Build an augmentation; its crop rules must have the frame of `spec`, see `frame_of`.

    A function at an import path is called with `input_size`, `normalization` and the spec's arguments, and returns a
    function of a picture, uint8 (height, width, 3) RGB of that size, and a generator, that returns such a picture.

    Raises:
        InputError: names the unknown name, step or argument, and the valid ones.
    """
    made = _named(spec, input_size, normalization)
    if frame_of(spec) is None and made.photo_transform is not None:
        made = replace(made, transform=Compose((made.photo_transform, made.transform)), photo_transform=None)
    if spec.steps:
        made = replace(made, transform=Compose((made.transform, make_steps(spec.steps, normalization))))
    return made


def _named(spec: AugmentationSpec, input_size: InputSize, normalization: Normalization) -> Augmentation:
    """Build what `spec` names, without its frame and the steps that come after it."""
    if isinstance(spec.arguments, FaceArguments):
        return _face(spec.arguments, input_size, normalization)
    if ":" in spec.name:
        factory = imported("augmentation", spec.name)
        own = {"input_size": input_size, "normalization": normalization}
        check_arguments(f"augmentation '{spec.name}'", factory, spec.arguments, reserved=own)
        return Augmentation(input_size, factory(**own, **spec.arguments))
    preset = spec.preset
    unused = dict(spec.arguments)
    photo_steps = [_override(step, spec.arguments, unused) for step in preset.photo_steps]
    steps = [_override(step, spec.arguments, unused) for step in preset.steps]
    if unused:
        raise InputError(
            f"augmentation '{spec.name}' has no step {', '.join(map(repr, unused))}; "
            f"its steps: {', '.join(_names((*preset.photo_steps, *preset.steps))) or 'none'}"
        )
    photo_transform = make_steps(photo_steps, normalization) if photo_steps else None
    return Augmentation(input_size, make_steps(steps, normalization), photo_transform)


def _override(step: StepSpec, arguments: Mapping[str, Any], unused: dict[str, Any]) -> StepSpec:
    """Return the step with the arguments, and the `p`, that `arguments` has for its name; removes it from `unused`."""
    parts = tuple(_override(part, arguments, unused) for part in step.steps)
    unused.pop(step.name, None)
    own = arguments.get(step.name, {})
    if not isinstance(own, Mapping):
        raise InputError(f"augmentation step '{step.name}': expected a mapping of its arguments, got {own!r}")
    fields = {
        "name": step.name,
        "p": own.get("p", step.p),
        "arguments": step.arguments | {name: value for name, value in own.items() if name != "p"},
        "steps": parts,
    }
    return parse_options(StepSpec, fields, f"augmentation step '{step.name}'")


def _names(steps: tuple[StepSpec, ...]) -> list[str]:
    return [name for step in steps for name in (step.name, *_names(step.steps))]


def _face(arguments: FaceArguments, input_size: InputSize, normalization: Normalization) -> Augmentation:
    """Build a random cut, then random colors, then a random rectangle in the mean color."""
    strengths = arguments.model_dump(include={"brightness", "contrast", "saturation", "hue"})
    erase = partial(random_erasing, normalization=normalization, area=_ERASED_AREA, aspect=_ERASED_ASPECT)
    return Augmentation(
        input_size,
        Compose((partial(jitter, **strengths), RandomApply(arguments.erasing, erase))),
        cut=partial(cut_face, input_size=input_size, arguments=arguments, fill=mean_color(normalization)),
    )


def _cut_frame(photo: Pixels, frame: Frame, input_size: InputSize) -> Pixels:
    box = frame_rect(photo.shape[:2], frame)
    resized = Image.fromarray(photo).resize((input_size.width, input_size.height), Image.Resampling.BILINEAR, box=box)
    return np.array(resized)


def make_steps(steps: Sequence[StepSpec], normalization: Normalization) -> Compose:
    """Return the transform that applies `steps` in order. Raises InputError naming a step's wrong argument."""
    return Compose(tuple(RandomApply(step.p, _transform(step, normalization)) for step in steps))


def _transform(step: StepSpec, normalization: Normalization) -> Transform:
    if step.steps:
        weights = tuple(part.p for part in step.steps)
        return OneOf(weights, tuple(_transform(part, normalization) for part in step.steps))
    function = by_name("augmentation step", step.name, TRANSFORMS)
    arguments = dict(parse_options(_schema(step.name), step.arguments, f"augmentation step '{step.name}'"))
    if "normalization" in inspect.signature(function).parameters:
        arguments["normalization"] = normalization
    return partial(function, **arguments)


@cache
def _schema(name: str) -> type[BaseModel]:
    """The arguments of a transform as a pydantic model, made from the types of its keyword parameters."""
    function = by_name("augmentation step", name, TRANSFORMS)
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "normalization"
    }
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
