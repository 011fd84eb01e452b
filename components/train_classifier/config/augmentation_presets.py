"""Augmentations by name: what part of a photo they were made for, and their steps. Plain values.

Every preset ends at the network's input size and leaves the normalization to the network. Figures in pixels are meant
for photos of 384 x 512; other photos are stretched to that, or cut at the same shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.train_classifier.config.augmentation import AugmentationSpec, StepSpec
from serving.runtime.card import WHOLE, Frame, InputSize

PHOTO = InputSize(height=512, width=384)


@dataclass(frozen=True, slots=True)
class Preset:
    """What is cut from a photo (None: the face by the crop rule) and what happens to it in training.

    Where `photo_steps` are given, training makes them on the whole photo at PHOTO's size, before it is cut.
    """

    frame: Frame | None = WHOLE
    steps: tuple[StepSpec, ...] = ()
    photo_steps: tuple[StepSpec, ...] = ()


def center(height: int, width: int, *, down: int = 0) -> Frame:
    """Return the middle `height` x `width` pixels of a 384 x 512 photo, moved down by `down`, as shares."""
    left, top = (PHOTO.width - width) // 2, (PHOTO.height - height) // 2 + down
    return left / PHOTO.width, top / PHOTO.height, (left + width) / PHOTO.width, (top + height) / PHOTO.height


def _step(name: str, p: float = 0.5, **arguments: Any) -> StepSpec:
    return StepSpec(name=name, p=p, arguments=arguments)


def _one_of(p: float, *steps: StepSpec) -> StepSpec:
    return StepSpec(name="OneOf", p=p, steps=steps)


_FLIP = _step("HorizontalFlip")
_LIGHT_AND_COLOR = tuple(
    map(_step, ("CLAHE", "RandomBrightnessContrast", "RandomGamma", "HueSaturationValue", "RGBShift"))
)

_FACE_384 = (
    _step("ShiftScaleRotate", rotate=25, shift=0.0325, scale=(0.0, 0.2)),
    _FLIP,
    _one_of(0.5, _step("CLAHE", clip=1), _step("HueSaturationValue"), _step("RGBShift")),
    _step("RandomBrightnessContrast", brightness=0.2, contrast=0.3),
    _one_of(0.2, _step("Perspective"), _step("GridDistortion"), _step("OpticalDistortion")),
)


def _bust(shift: float, zoom: float, brightness: float, clahe: float, holes: StepSpec) -> Preset:
    """The photo is moved and made smaller before its middle 360 x 360 pixels are cut."""
    return Preset(
        frame=center(360, 360),
        photo_steps=(_step("ShiftScaleRotate", shift=shift, scale=(-zoom, 0.0), rotate=2),),
        steps=(
            _step("RandomBrightnessContrast", brightness=(0.0, brightness), contrast=(0.1, 0.3)),
            _step("GridDistortion"),
            _step("CLAHE", clahe),
            _FLIP,
            holes,
            _step("GaussNoise"),
        ),
    )


def _poster(p: float, area: Sequence[float]) -> Preset:
    return Preset(frame=None, steps=(_FLIP, _step("RandomErasing", p, area=tuple(area))))


PRESETS: dict[str, Preset] = {
    "none": Preset(frame=None),
    "BaseAugmentation": Preset(),
    "CustomAlbumentationAug": Preset(),
    "CustomAugmentation": Preset(center(320, 256), (_step("ColorJitter", 1), _step("NormalizedNoise", 1))),
    "AutoAugmentation": Preset(WHOLE, (_step("AutoAugment", 1),)),
    "MyAugmentationCenter": Preset(center(256, 256)),
    # 114 pixels are added left, right and below before the middle is cut: that moves the cut down by 57.
    "MyAugmentationBust": Preset(center(360, 360, down=57)),
    "GoodAugmentation": Preset(
        center(256, 256),
        (
            _FLIP,
            _step("ShiftScaleRotate", 0.2, rotate=10),
            _step("GaussNoise", 0.4, variance=(10, 20)),
            *_LIGHT_AND_COLOR,
        ),
    ),
    "AugForInception": Preset(
        center(299, 299),
        (_FLIP, _step("ShiftScaleRotate", rotate=5), _step("GaussNoise"), *_LIGHT_AND_COLOR[:4]),
    ),
    "myAlbumentationAug": _bust(0.625, 0.2, 0.2, 0.5, _step("CoarseDropout")),
    "BestAugForAlbum": _bust(0.075, 0.3, 0.1, 0.6, _step("CoarseDropout", holes=5, height=20, width=40)),
    "Aug0": Preset(
        WHOLE,
        (
            _FLIP,
            _step("ShiftScaleRotate", 0.75, shift=0.1, scale=0.1, rotate=15),
            _step("RGBShift", 0.75, red=15, green=15, blue=15),
            _step("RandomBrightnessContrast", 0.75),
        ),
    ),
    "BaseAugmentation_512": Preset(
        None,
        (
            _step("ShiftScaleRotate", rotate=20, shift=0.02),
            _FLIP,
            _one_of(0.5, _step("Blur", kernel=3), _step("MotionBlur", kernel=3)),
            _step("RandomBrightnessContrast", brightness=0.1, contrast=0.1),
        ),
    ),
    "Augmentation_384": Preset(None, _FACE_384),
    "Augmentation_384_384": Preset(None, _FACE_384),
    # The crop and the turn were never written down; these figures are a choice.
    "CenterCropRotation": Preset(center(256, 256), (_step("Rotate", 1, rotate=10),)),
    "poster_v2_raf_db": _poster(0.5, (0.02, 0.1)),
    "poster_v2_affectnet_7": _poster(1, (0.05, 0.05)),
    "poster_v2_caer_s": _poster(1, (0.05, 0.05)),
    "poster_v2_kfe_db": _poster(1, (0.05, 0.05)),
}


def frame_of(spec: AugmentationSpec) -> Frame | None:
    """Return what is cut from a photo in training, validation and serving; None is the face by the crop rule."""
    if spec.frame == "face":
        return None
    if spec.frame == "image":
        return WHOLE
    if spec.frame == "preset":
        return PRESETS[spec.name].frame if spec.name in PRESETS else None
    return spec.frame
