"""Model cards: what a `model.onnx` says about itself, as JSON in its ONNX metadata; one type of card per task."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import from_json

from serving.runtime.errors import InputError
from serving.runtime.validation import UNSET, Frozen, explain

# As a share of the input's width; closer ones would show a few pixels of the picture.
_LEAST_BETWEEN_EYES = 0.05

METADATA_KEY = "facet_card"
INPUT_NAME = "images"

Shape = tuple[int | None, ...]
"""Shape of an output without its batch axis; None for an axis that the graph decides."""


class Head(Frozen):
    """One output of the graph: `name` is its ONNX output, float32 (N, len(labels)) probabilities."""

    name: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=2)


class InputSize(Frozen):
    """Height and width in pixels of the graph's `images` input, uint8 (N, height, width, 3)."""

    height: int = Field(ge=8, le=4096)
    width: int = Field(ge=8, le=4096)


Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _has_area(frame: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = frame
    if left >= right or top >= bottom:
        raise ValueError("frame is left, top, right, bottom with left < right and top < bottom")
    return frame


Frame = Annotated[tuple[Share, Share, Share, Share], AfterValidator(_has_area)]
"""A fixed part of an upright image: left, top, right, bottom as shares of its width and height."""

WHOLE: Frame = (0.0, 0.0, 1.0, 1.0)


Point = tuple[Share, Share]

DEFAULT_PADDING_SCALE = 0.8


class CropShape(Frozen):
    """How the cut around a face box is shaped and laid into the input.

    What is None is left out of a card. `mode`:

    - None: the smallest rectangle of the input's aspect ratio around the box, or of `aspect`, height by width; times
      `scale`, clipped to the image, stretched to the input.
    - `rectangle`: the box times `scale`, clipped, stretched to the input.
    - `square`: a square around the box, its longer side times `scale`, stretched to the input and not clipped: beyond
      the image is the background. With `padding_scale` it is laid into the input as by `short_side` instead, in a frame
      of background.
    - `fit_inside`: the box times `scale`, clipped, as large as it fits into the input, on the background.
    - `short_side`: the box times `scale`, clipped, so large that the side that is the shorter one compared with the
      input's aspect ratio takes `padding_scale` of the input's side, 0.8 by default; what of the longer side does not
      fit is cut equally at both ends. On the background.

    `background` is a gray level, black by default. `eyes` are where the left and the right eye of a face go, x and y as
    shares of the input; left is the viewer's left. A face whose eyes are known is moved, turned and scaled so
    (a similarity transform), without regard to its box; beyond the image is the background. Others are cut by `mode`.
    """

    mode: Literal["rectangle", "square", "fit_inside", "short_side"] | None = UNSET
    aspect: Annotated[float, Field(ge=0.1, le=10.0)] | None = UNSET
    padding_scale: Annotated[float, Field(ge=0.1, le=1.0)] | None = UNSET
    background: Annotated[int, Field(ge=0, le=255)] | None = UNSET
    eyes: tuple[Point, Point] | None = UNSET

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.aspect is not None and self.mode is not None:
            raise ValueError(f"aspect belongs to the rule without a mode; mode {self.mode} takes none")
        if self.padding_scale is not None and self.mode not in ("short_side", "square"):
            raise ValueError("padding_scale belongs to mode short_side or square")
        if self.background is not None and self.mode in (None, "rectangle") and self.eyes is None:
            raise ValueError("background belongs to mode square, fit_inside or short_side, or to eyes")
        if self.eyes is not None and self.eyes[1][0] - self.eyes[0][0] < _LEAST_BETWEEN_EYES:
            raise ValueError(f"eyes are x, y of the left and the right one, at least {_LEAST_BETWEEN_EYES} apart in x")
        return self


class CropRule(CropShape):
    """What is cut from a photo, and how its JPEG is decoded.

    The cut around a face box is scaled about its center by `scale`: 1 is a tight cut, more adds context, less cuts
    into the face. A cut smaller than a box that the image border truncates is moved to cover as much of the box's
    visible part as it can; larger ones cover it anyway. Without a box it is the whole image, and `scale` is 1. With a
    `frame` it is that part of every photo instead, wherever the face is, stretched to the input. A JPEG is decoded at
    the smallest of 1/8, 1/4, 1/2 and 1 at which the cut still measures `min_decode` times the input size on both
    sides.
    """

    scale: float = Field(default=1.3, ge=0.5, le=4.0)
    min_decode: float = Field(default=1.0, ge=1.0, le=8.0)
    frame: Frame | None = None

    @model_validator(mode="after")
    def _frame_alone(self) -> Self:
        shape = [name for name in CropShape.model_fields if getattr(self, name) is not None]
        if self.frame is not None and shape:
            raise ValueError(f"frame is cut wherever the face is, so it cannot have {', '.join(shape)}")
        return self


class Letterbox(Frozen):
    """The whole photo, scaled to fit the input with its aspect ratio kept, on a background of one gray level.

    It lies in the center of the input or in its top left corner. With a `stride` the graph takes any height and width
    that are multiples of it, up to those of the card's input: a photo is scaled down to fit, and padded to the next
    multiples. It is scaled up only with `enlarge`. With `stretch` the photo fills the input, and its aspect ratio is
    not kept.
    """

    background: int = Field(default=114, ge=0, le=255)
    position: Literal["center", "top_left"] = "center"
    stride: int | None = Field(default=None, ge=1, le=256)
    enlarge: bool | None = UNSET
    stretch: bool | None = UNSET

    @model_validator(mode="after")
    def _free(self) -> Self:
        if self.stretch is not None and self.stride is not None:
            raise ValueError("stretch belongs to an input of one size: with a stride a photo keeps its aspect ratio")
        if self.enlarge is not None and self.stride is None:
            raise ValueError("enlarge belongs to a stride: without one every photo is scaled to fit")
        return self


class Normalization(Frozen):
    """Per-channel RGB mean and standard deviation in 0..1, applied inside the graph."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class PseudoLabels(Frozen):
    """Training on unlabeled faces with pseudo-labels from the network itself (Lee, 2013).

    `share` of each batch were such faces; the weight of their loss was at most `weight`.
    """

    share: float = Field(gt=0.0, lt=1.0)
    weight: float = Field(ge=0.0)


class DetectionThresholds(Frozen):
    """Which candidate boxes are faces: lowest score, most IoU with a box of higher score, number per image."""

    score: float = Field(default=0.5, ge=0.0, le=1.0)
    nms_iou: float = Field(default=0.5, gt=0.0, le=1.0)
    max_detections: int = Field(default=100, ge=1, le=10_000)

    def changed(self, options: Mapping[str, Any]) -> Self:
        """Return these with the `score` and `nms_iou` of `options` where they are not None."""
        changes = {name: options.get(name) for name in ("score", "nms_iou")}
        return self.model_copy(update={name: value for name, value in changes.items() if value is not None})


Reason = Literal["incorrect", "absent"]
"""What may be wrong with a face mask: it is worn wrongly, or there is none."""

NOTIFY_THRESHOLD = 0.5


class Notify(Frozen):
    """When a face is noticed for its mask: the labels of `reasons` sum to a probability of `threshold` or more.

    Attributes:
        head: the head that judges masks.
        reasons: for each reason the labels of that head that mean it.
        threshold: the lowest probability that is noticed.
    """

    head: str
    reasons: dict[Reason, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(min_length=1)
    threshold: Share = NOTIFY_THRESHOLD

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all reasons."""
        return tuple(label for labels in self.reasons.values() for label in labels)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_distinct("labels of the reasons", self.labels)
        return self


Precision = Literal["fp32", "fp16", "int8"]
"""The numbers that a graph computes in; its input is uint8 and its outputs are float32 in all of them."""


CombineRule = Literal["mean", "log_mean"]
"""How probabilities of several models become one: the mean of them, or of their logarithms, divided by its sum."""


class Member(Frozen):
    """A model that is a part of a graph: its card's name, and the sha256 of its file."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Combined(Frozen):
    """The models that a graph computes together, and the rule for those with the same heads."""

    rule: CombineRule
    members: tuple[Member, ...] = Field(min_length=2)


class _GraphCard(Frozen):
    """What every card of an ONNX graph holds.

    What is None is left out of the JSON, so that an older version reads every card without what it does not know.
    """

    card_version: Literal[1] = 1
    name: str = Field(min_length=1)
    input: InputSize
    precision: Precision = Field(default="fp32", exclude_if=lambda value: value == "fp32")
    leaks: bool = Field(description="trained on a split that has a person on both sides")
    versions: dict[str, str] = Field(description="library versions that made the graph")
    dataset_digest: str = Field(description="sha256 of the annotations the model was trained on; empty when unknown")
    training_digest: str = Field(
        description="sha256 of the resolved training config and dataset digest; of an adopted graph, of its file"
    )

    @property
    def stride(self) -> int | None:
        """What height and width of the graph's input are multiples of, up to `input`; None where they are `input`."""
        return None

    @property
    def unserved(self) -> tuple[str, ...]:
        """Outputs of the graph beside `outputs`, which nothing that serves asks for or describes."""
        return ()

    def to_metadata(self) -> dict[str, str]:
        """Return the card as ONNX metadata; `read_card` reads the value."""
        return {METADATA_KEY: self.model_dump_json(exclude_none=True)}


class ClassificationCard(_GraphCard):
    """A classifier of face crops: one output per head, its probabilities.

    `features` is the name of one output more, float32 (N, C, h, w): the last feature map of the network, which nothing
    that serves asks for. `temperature` says by head what the graph divides the logarithms of its probabilities by, so
    that they say how often it is right. `normalization` is None where `combined` models normalize differently.
    """

    task: Literal["classification"] = "classification"
    label_space: str
    heads: tuple[Head, ...] = Field(min_length=1)
    crop: CropRule = CropRule()
    normalization: Normalization | None = UNSET
    pseudo_labels: PseudoLabels | None = None
    notify: Notify | None = UNSET
    features: Annotated[str, Field(min_length=1)] | None = UNSET
    temperature: dict[str, Annotated[float, Field(gt=0.0)]] | None = UNSET
    combined: Combined | None = UNSET

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [head.name for head in self.heads]
        _check_distinct("head names", names)
        if self.features in names:
            raise ValueError(f"features: '{self.features}' is the name of a head")
        if unknown := [name for name in self.temperature or () if name not in names]:
            raise ValueError(f"temperature: {unknown} are none of the heads {names}")
        return self

    @model_validator(mode="after")
    def _notifiable(self) -> Self:
        if self.notify is None:
            return self
        labels = {head.name: head.labels for head in self.heads}
        if self.notify.head not in labels:
            raise ValueError(f"notify.head '{self.notify.head}' is none of the heads {list(labels)}")
        known, reasons = labels[self.notify.head], self.notify.labels
        if unknown := [label for label in reasons if label not in known]:
            raise ValueError(f"notify.reasons: {unknown} are no labels of head '{self.notify.head}', {list(known)}")
        if len(reasons) == len(known):
            raise ValueError(f"notify.reasons: all labels of head '{self.notify.head}' are reasons; leave one out")
        return self

    @property
    def outputs(self) -> dict[str, Shape]:
        """Shapes of the graph's outputs, all float32, without the batch axis."""
        return {head.name: (len(head.labels),) for head in self.heads}

    @property
    def unserved(self) -> tuple[str, ...]:
        """The feature map, where the graph gives it."""
        return () if self.features is None else (self.features,)


class DetectionCard(_GraphCard):
    """A detector: A candidate boxes per image with a score per label, before thresholds and non-maximum suppression.

    Boxes are left, top, right, bottom in input pixels, scores in 0..1; points are x, y in input pixels, one pair for
    each name in `points`. The input has `color` channel order. `label_space` is the one whose classes the labels are;
    None where there is the one label `face`.
    """

    task: Literal["detection"] = "detection"
    labels: tuple[str, ...] = Field(min_length=1)
    label_space: str | None = UNSET
    points: tuple[str, ...] = ()
    resize: Letterbox = Letterbox()
    color: Literal["RGB", "BGR"] = "RGB"
    thresholds: DetectionThresholds = DetectionThresholds()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_distinct("labels", self.labels)
        _check_distinct("points", self.points)
        if self.stride is not None and (self.input.height % self.stride or self.input.width % self.stride):
            raise ValueError(f"height and width of the input must be multiples of the stride, {self.stride}")
        return self

    @property
    def stride(self) -> int | None:
        """See `Letterbox`."""
        return self.resize.stride

    @property
    def outputs(self) -> dict[str, Shape]:
        """Shapes of the graph's outputs, all float32, without the batch axis."""
        shapes: dict[str, Shape] = {"boxes": (None, 4), "scores": (None, len(self.labels))}
        return shapes | ({"points": (None, len(self.points), 2)} if self.points else {})


ModelCard = Annotated[ClassificationCard | DetectionCard, Field(discriminator="task")]
_MODEL_CARD: TypeAdapter[ModelCard] = TypeAdapter(ModelCard)


def read_card(text: str, source: str) -> ModelCard:
    """Read a model card from JSON; one without a `task` describes a classifier. `source` names the file in errors.

    Raises InputError for a card that this version does not understand; an unknown task lists the known ones.
    """
    try:
        values = from_json(text)
    except ValueError as error:
        raise InputError(f"{source}: its model card is not valid JSON: {error}") from error
    if isinstance(values, dict):
        values.setdefault("task", "classification")
    try:
        return _MODEL_CARD.validate_python(values)
    except ValidationError as error:
        problems = explain(error)
        raise InputError(f"{source}: its model card is not valid for this version of Facet: {problems}") from error


def _check_distinct(name: str, values: Sequence[str]) -> None:
    if len(set(values)) != len(values):
        raise ValueError(f"{name} must differ, got {list(values)}")
