"""Test-time augmentation: further views of a face, whose probabilities are combined with those of the face itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from serving.runtime.card import ClassificationCard, CropRule
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels, Rect, clip
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box, Keypoints, Placement, place
from serving.runtime.image.preprocess import cut_placed
from serving.runtime.validation import known

_BLACK = 0
_LARGEST = 4.0
"""Factors are at most this one, and at least one over it."""


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at a face.

    Attributes:
        kind: `identity`, or one of KINDS.
        value: a factor, or degrees; 0 for kinds without one.
    """

    kind: str
    value: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.value!r}" if self.value else self.kind


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a view is written as, and what number would leave the face as it is; None where it takes no number."""

    written: str
    identity: float | None = None


KINDS = {
    "flip": _Kind("flip"),
    "scale": _Kind("scale:1.1", 1.0),
    "multiply": _Kind("multiply:0.9", 1.0),
    "rotate": _Kind("rotate:180", 0.0),
}
"""Name -> a view: mirrored; cut again with the crop rule's scale times a factor; brightness times a factor; turned by
degrees counterclockwise around the center of the input."""

IDENTITY = View("identity")


def parse_views(written: Sequence[str]) -> tuple[View, ...]:
    """Return the views of a face: the face itself, once, and those that are written, in their order.

    Args:
        written: such as `flip`, `scale:1.1`, `multiply:0.9` or `rotate:180`; empty for the face alone.

    Raises:
        InputError: a view is unknown, its number is none or out of range, it occurs twice, or it is the face itself.
    """
    views = [IDENTITY]
    for text in written:
        view = _parse(text)
        if view in views:
            raise InputError(f"tta: '{text}' occurs twice; name each view once")
        views.append(view)
    return tuple(views)


def _parse(text: str) -> View:
    name, colon, number = text.partition(":")
    examples = [kind.written for kind in KINDS.values()]
    if name == IDENTITY.kind:
        raise InputError(f"tta: '{text}' is always there, once; leave it out")
    if name not in KINDS:
        raise InputError(f"tta: unknown view '{text}'{known(name, KINDS)}, such as {', '.join(examples)}")
    kind = KINDS[name]
    if kind.identity is None:
        if colon:
            raise InputError(f"tta: '{text}': {name} takes no number; write {kind.written}")
        return View(name)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name == "rotate":
        value = value % 360 if math.isfinite(value) else math.nan
    elif not 1 / _LARGEST <= value <= _LARGEST:
        value = math.nan
    if math.isnan(value):
        limits = "degrees" if name == "rotate" else f"a factor from {1 / _LARGEST:g} to {_LARGEST:g}"
        raise InputError(f"tta: '{text}': expected {limits} after the colon, such as {kind.written}")
    if value == kind.identity:
        raise InputError(f"tta: '{text}' is the face as it is, which is always there, once; leave it out")
    return View(name, value)


def check_views(views: Sequence[View], card: ClassificationCard) -> None:
    """Raise InputError when a model cannot see one of the views."""
    if card.crop.frame is not None and any(view.kind == "scale" for view in views):
        raise InputError(
            f"tta: model '{card.name}' cuts the same frame out of every photo, so there is no scale to change; leave "
            "scale out"
        )


def crop_view(
    view: View, photo: Photo, box: Box | None, card: ClassificationCard, keypoints: Keypoints | None = None
) -> tuple[Pixels, Placement]:
    """Return the pixels of a view of a face as the model of `card` reads them, and what of the photo they show.

    The pixels are uint8 (height, width, 3) RGB. `identity` gives what serving cuts. `scale` cuts again from the photo:
    the crop rule's scale is multiplied, of a face that is placed by its eyes and of a whole photo what the input shows.
    `rotate` fills the corners with the background of the crop rule, black by default.

    Raises:
        ImageError: the image cannot be used, see `Photo.part`.
        InputError: the box cannot be used, see `place`.
    """
    placement = _placed(view, photo, box, card, keypoints)
    pixels = cut_placed(photo, placement, card.input, card.crop.min_decode)
    return _PIXELS.get(view.kind, _unchanged)(pixels, view.value, card.crop), placement


def _placed(
    view: View, photo: Photo, box: Box | None, card: ClassificationCard, keypoints: Keypoints | None
) -> Placement:
    placement = place(photo.upright, box, card.crop, card.input, keypoints)
    if view.kind != "scale":
        return placement
    if box is not None and not placement.aligned:
        rule = card.crop.model_copy(update={"scale": card.crop.scale * view.value})
        return place(photo.upright, box, rule, card.input, keypoints)
    scaled = placement.part(_scaled(placement.rect, view.value))
    # Without a background what is beyond the picture cannot be shown.
    return scaled if scaled.background is not None else replace(scaled, rect=clip(scaled.rect, photo.upright))


def _scaled(rect: Rect, factor: float) -> Rect:
    left, top, right, bottom = rect
    x, y = (left + right) / 2, (top + bottom) / 2
    across, down = factor * (right - left) / 2, factor * (bottom - top) / 2
    return x - across, y - down, x + across, y + down


def _unchanged(pixels: Pixels, value: float, rule: CropRule) -> Pixels:
    return pixels


def _flipped(pixels: Pixels, value: float, rule: CropRule) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


def _multiplied(pixels: Pixels, value: float, rule: CropRule) -> Pixels:
    brighter: Pixels = np.rint(np.minimum(pixels * np.float32(value), 255)).astype(np.uint8)
    return brighter


def _rotated(pixels: Pixels, value: float, rule: CropRule) -> Pixels:
    fill = (rule.background or _BLACK,) * 3
    return np.array(Image.fromarray(pixels).rotate(value, Image.Resampling.BILINEAR, fillcolor=fill))


_PIXELS: dict[str, Callable[[Pixels, float, CropRule], Pixels]] = {
    "flip": _flipped,
    "multiply": _multiplied,
    "rotate": _rotated,
}
