"""What a user writes about finding faces: the chain of detectors, and the options of the steps."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from components.shared.dataset.label_spaces import label_space
from components.shared.options import parse_options
from serving.runtime.card import Frame
from serving.runtime.errors import InputError
from serving.runtime.plausible import BoxLimits
from serving.runtime.validation import Frozen, known

OWN_BOXES = "annotations"
"""The member, and the method, of boxes that the annotations had."""

TRAINED = "trained"
"""The member that is the detector trained earlier in the same pipeline."""

METHODS = (OWN_BOXES, "person_mean", "center", "whole_image", "none")
"""How an image's faces got their boxes where no detector of the chain found them; no detector has such a name."""

_Name = Annotated[str, Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")]


class _Model(Frozen):
    name: _Name
    score: float | None = Field(default=None, ge=0.0, le=1.0)
    nms_iou: float | None = Field(default=None, gt=0.0, le=1.0)
    tile: int | None = Field(default=None, ge=32)


class Onnx(_Model):
    """A detection model; a threshold that is None is the one that its card holds.

    Attributes:
        model: `s3://bucket/path`, `models:/name/version` or a path: a detection model of this project, or a known graph
            (YuNet, UltraFace).
        name: the name that it is recorded under; by default that of its card.
        score: the lowest score of a face.
        nms_iou: the most overlap with a face of higher score.
        tile: the longer side in pixels of overlapping tiles that a larger photo is searched in besides; None for none.
    """

    address: ClassVar[str] = "model"
    model: str = Field(min_length=1)


class Trained(_Model):
    """The detection model that was trained earlier in the same pipeline; it has the options of `Onnx` but `model`."""

    address: ClassVar[str] = ""


_LARGEST = 8192
"""The longest side in pixels of a photo that dlib searches: 0.2 GB of pixels for each thread."""


def _bounded(options: "DlibT") -> "DlibT":
    """Bound the size of the doubled photo: memory grows fourfold each time."""
    side = options.max_side * 2**options.upsample
    if side > _LARGEST:
        raise ValueError(
            f"max_side {options.max_side} doubled {options.upsample} times (upsample) is {side:,} pixels; at most "
            f"{_LARGEST:,} are searched: choose max_side up to {_LARGEST // 2**options.upsample}, or a smaller upsample"
        )
    return options


class DlibHog(Frozen):
    """dlib's detector of frontal faces by histograms of oriented gradients; it needs no weights.

    Attributes:
        name: the name that it is recorded under.
        upsample: how often the photo is doubled before: 0 finds faces from 80 pixels on, 1 from 40, 2 from 20.
        threshold: the lowest score of a face; scores are not bounded, and 0 is dlib's own threshold.
        max_side: a photo is shrunk to that many pixels on its longer side before; doubled, it may have 8,192 of them.
    """

    address: ClassVar[str] = ""
    name: _Name
    upsample: int = Field(default=1, ge=0, le=4)
    threshold: float = 0.0
    max_side: int = Field(default=2048, ge=64, le=4096)
    _bound = model_validator(mode="after")(_bounded)


class DlibCnn(Frozen):
    """dlib's convolutional detector.

    Attributes:
        weights: `s3://bucket/path` or a path of `mmod_human_face_detector.dat`.
        name: the name that it is recorded under.
        upsample: how often the photo is doubled before: 0 finds faces from 80 pixels on, 1 from 40, 2 from 20.
        threshold: the lowest score of a face; dlib itself gives none below 0.
        max_side: a photo is shrunk to that many pixels on its longer side before; time and memory grow with its square.
            Doubled, it may have 8,192 of them.
    """

    address: ClassVar[str] = "weights"
    weights: str = Field(min_length=1)
    name: _Name
    upsample: int = Field(default=0, ge=0, le=4)
    threshold: float = 0.0
    max_side: int = Field(default=1280, ge=64, le=4096)
    _bound = model_validator(mode="after")(_bounded)


DlibT = TypeVar("DlibT", DlibHog, DlibCnn)


class Table(Frozen):
    """A CSV table of boxes that another program found.

    Attributes:
        path: `s3://bucket/path` or a path of a table with the columns `path,s_X,s_Y,e_X,e_Y`: left, top, right and
            bottom in upright pixels, one row for each face.
        name: the name that it is recorded under.
    """

    address: ClassVar[str] = "path"
    path: str = Field(min_length=1)
    name: _Name


class OwnBoxes(Frozen):
    """The boxes that the annotations have already."""

    address: ClassVar[str] = ""
    name: ClassVar[str] = ""


Member = Onnx | Trained | DlibHog | DlibCnn | Table | OwnBoxes
"""A member of the chain."""

MEMBERS: Mapping[str, type[Member]] = {
    "onnx": Onnx,
    TRAINED: Trained,
    "dlib_hog": DlibHog,
    "dlib_cnn": DlibCnn,
    "table": Table,
    OWN_BOXES: OwnBoxes,
}


def parse_chain(chain: Sequence[Any]) -> list[tuple[str, Member]]:
    """Return the kind and the options of every member of a chain.

    A member is `{kind: options}`, `{kind: address}` where only the address of its model, weights or table is stated, or
    `kind` alone. Raises InputError, naming the member, when it is none of these or its options are not valid.
    """
    if isinstance(chain, str) or not isinstance(chain, Sequence) or not chain:
        raise InputError(f"chain: expected a list with at least one detector, got {chain!r}; known: {_KNOWN}")
    members = [_parse_member(number, item) for number, item in enumerate(chain, start=1)]
    if len([kind for kind, _ in members if kind == OWN_BOXES]) > 1:
        raise InputError(f"chain: '{OWN_BOXES}' occurs twice; the second would see what the first did")
    return members


_KNOWN = ", ".join(MEMBERS)


def _parse_member(number: int, item: Any) -> tuple[str, Member]:
    subject = f"detector {number} of the chain"
    entry = {item: None} if isinstance(item, str) else item
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise InputError(f"{subject}: expected one name with its options, got {item!r}; known: {_KNOWN}")
    ((kind, values),) = entry.items()
    if kind not in MEMBERS:
        raise InputError(f"{subject}: '{kind}' is unknown{known(kind, MEMBERS)}")
    model = MEMBERS[kind]
    if isinstance(values, str) and values and model.address:
        values = {model.address: values}
    return kind, parse_options(model, values or {}, f"{subject} ({kind})")


class DetectOptions(BoxLimits):
    """Options of detect_faces: which boxes are plausible, and how much may fail.

    Attributes:
        max_failed: how many images of the shard may fail to decode before the step fails.
    """

    max_failed: int = Field(default=0, ge=0)


Fallback = Literal["drop", "person_mean", "whole_image"]
Choice = Literal["score", "largest", "best_iou", "all"]


def _space(name: str) -> str:
    if name:
        label_space(name)
    return name


class ChooseOptions(Frozen):
    """Options of choose_faces.

    Attributes:
        fallback: what becomes of an annotated face that no detector found: `drop` leaves it out and lists it,
            `person_mean` gives it the mean box of the person's other images and else the `center`, `whole_image`
            leaves it without a box.
        choose: which of several found faces becomes the annotated one: of the highest `score`, the `largest`, or the
            one that overlaps the annotated box most (`best_iou`; by score where there is no box). `all` keeps the
            other faces too, without a label.
        min_iou: the least overlap of a found and an annotated box that are one face.
        center: the fixed part of an image, left, top, right, bottom as shares of its width and height.
        near_threshold: a score above the detector's threshold by less than this counts as unsure.
        max_failed: how many images may have failed to decode before the step fails.
        label_space: the label space whose classes the report shows; empty shows the images without regard to it.
        per_class: so many images of every class are shown.
    """

    fallback: Fallback = "drop"
    choose: Choice = "best_iou"
    min_iou: float = Field(default=0.4, gt=0.0, le=1.0)
    center: Frame = (0.25, 0.24, 0.73, 0.73)
    near_threshold: float = Field(default=0.1, ge=0.0)
    max_failed: int = Field(default=0, ge=0)
    label_space: Annotated[str, BeforeValidator(_space)] = ""
    per_class: int = Field(default=20, ge=0)
