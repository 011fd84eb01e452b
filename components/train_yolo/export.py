"""Export a checkpoint of ultralytics, a detector or a classifier, as a self-describing `model.onnx`."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field, ValidationError

from components.shared.dataset.annotations import digest
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.label_spaces import label_space as space_of
from components.shared.dataset.text import some
from components.shared.models.detector_graphs import ADAPTERS
from components.shared.models.graph_file import graph_file
from components.shared.options import parse_options
from components.train_yolo.graphs import ClassifierGraph, DetectorGraph, differences, to_onnx
from components.train_yolo.library import VERSION, tasks
from components.train_yolo.weights import fetch_weights, read_model
from serving.runtime.card import (
    ClassificationCard,
    CropRule,
    DetectionCard,
    DetectionThresholds,
    InputSize,
    Letterbox,
    Normalization,
)
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import whole_folder
from serving.runtime.registry import MODEL_FILE
from serving.runtime.validation import Frozen, explain

SCORE_TOLERANCE = 1e-4
"""The most that a score or a probability may differ from torch's."""

PIXEL_TOLERANCE = 0.05
"""The most that a side of a box or a point may differ from torch's, in pixels of the input."""

FACE = "face"
"""The one label of a detector without a label space."""

_LEAST_STRIDE = 32
_LIBRARIES = ("onnx", "onnxscript", "torch", "torchvision")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the card says of the training.

    Attributes:
        leaks: a person is on both sides of the split.
        dataset_digest: sha256 of the annotations; "" when unknown.
        training_digest: sha256 of the configuration and the data; "" for that of the checkpoint's file.
        versions: of further libraries.
    """

    leaks: bool = False
    dataset_digest: str = ""
    training_digest: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written, and how it compares with the torch model.

    Attributes:
        sha256: of the file.
        max_difference: the largest difference of a score or probability on random pixels.
        max_pixels: the largest difference of a box or a point there, in pixels of the input; 0 for a classifier.
    """

    sha256: str
    max_difference: float
    max_pixels: float = 0.0

    @property
    def metrics(self) -> dict[str, float]:
        """The differences, by name."""
        return {"max_difference": self.max_difference, "max_pixels": self.max_pixels}


class ExportOptions(Frozen):
    """What is chosen of an export: see `export`, and `weights.fetch_weights` for the last two."""

    imgsz: int | None = Field(default=None, ge=32, le=4096)
    conf: float = Field(default=0.25, ge=0.0, le=1.0)
    iou: float = Field(default=0.7, gt=0.0, le=1.0)
    max_detections: int = Field(default=300, ge=1, le=10_000)
    crop_scale: float | None = Field(default=None, ge=0.5, le=4.0)
    trust_weights: bool = False
    download_weights: bool = False


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A model of ultralytics.

    Attributes:
        path: its file.
        model: in float32, ready to predict, its layers not fused.
        names: its classes, in its order.
        imgsz: height and width of the input that it was trained with.
    """

    path: Path
    model: Any
    names: tuple[str, ...]
    imgsz: int

    @property
    def head(self) -> Any:
        """The last layer."""
        return self.model.model[-1]

    @property
    def stride(self) -> int:
        """What height and width of the input are multiples of, as in ultralytics' `predict`; 1 for a classifier."""
        return 1 if self.classifies else max(_LEAST_STRIDE, int(max(self.model.stride)))

    @property
    def classifies(self) -> bool:
        """Whether it is a classifier."""
        return isinstance(self.head, tasks.Classify)

    def input(self, imgsz: int | None) -> InputSize:
        """Return the input, the largest one of a detector; `imgsz` in place of that of the training."""
        if imgsz is not None and imgsz % self.stride:
            raise InputError(f"imgsz = {imgsz}: expected a multiple of {self.stride}, the stride of {self.path}")
        side = imgsz or -(-self.imgsz // self.stride) * self.stride  # rounded up, as ultralytics does
        return InputSize(height=side, width=side)


def export_weights(
    weights: str, output: Path, *, name: str, label_space: str = "", options: Mapping[str, Any] | None = None
) -> ExportResult:
    """Fetch a checkpoint of ultralytics and write the folder `output` with model.onnx, see `export`.

    Args:
        weights: a path or `s3://` address, or the plain name of a file that ultralytics publishes.
        output: a new or empty folder.
        name: the model's name in its card.
        label_space: what the classes mean.
        options: see `ExportOptions`.

    Raises:
        InputError: an option is wrong, or as `fetch_weights` and `export` do.
        NotFoundError: there is no such file.
        StorageError: it cannot be read.
        RuntimeError: as `export` does.
    """
    chosen = parse_options(ExportOptions, options or {}, "options of export_yolo")
    with TemporaryDirectory(prefix="facet-weights-") as folder:
        trust = chosen.trust_weights
        path = fetch_weights(weights, Path(folder), trust=trust, download=chosen.download_weights)
        return export(
            path,
            output,
            name=name,
            label_space=label_space,
            imgsz=chosen.imgsz,
            conf=chosen.conf,
            iou=chosen.iou,
            max_detections=chosen.max_detections,
            crop=None if chosen.crop_scale is None else CropRule(scale=chosen.crop_scale),
            trust=trust,
        )


def export(
    weights: Path,
    output: Path,
    *,
    name: str,
    label_space: str = "",
    imgsz: int | None = None,
    conf: float = 0.25,
    iou: float = 0.7,
    max_detections: int = 300,
    crop: CropRule | None = None,
    provenance: Provenance | None = None,
    trust: bool = False,
) -> ExportResult:
    """Write the folder `output` with model.onnx, made from a checkpoint of ultralytics.

    The graph takes `images`, uint8 (N,height,width,3) RGB with any N. That of a detector takes any height and width
    that are multiples of its stride, up to `imgsz`; RT-DETR's takes `imgsz` only. It gives `boxes`, `scores` and
    perhaps `points`, see `DetectionCard`. That of a classifier gives its probabilities. The bytes depend only on the
    checkpoint, the arguments and the library versions.

    Args:
        weights: a .pt of ultralytics for detect, pose or classify. It is a pickle, see `weights`.
        output: a new or empty folder.
        name: the model's name in its card.
        label_space: what the classes mean, a label space of one head, whose order the card has. "" for a detector whose
            one class is `face`, or whose classes are no label space.
        imgsz: height and width of the input in pixels, the largest of a detector; by default those of the training.
        conf: the lowest score of a face, in a detector's card.
        iou: the largest overlap of two boxes of one label, in a detector's card; that of RT-DETR allows any.
        max_detections: the most faces of one photo, in a detector's card.
        crop: what of a photo a classifier sees; by default `CropRule()`.
        provenance: what the card says of the training.
        trust: read the pickle without an allow-list of classes, which runs what is in it.

    Raises:
        NotFoundError: there is no such file.
        InputError: the file is no checkpoint, is one of another task or cannot be served, its classes are not those of
            the label space, `output` exists and is not empty, or an argument is wrong.
        RuntimeError: ONNX Runtime's numbers differ from torch's by more than `SCORE_TOLERANCE` or `PIXEL_TOLERANCE`.
    """
    if not name.strip():
        raise InputError("name: must not be empty, the model is registered and served under it")
    checkpoint = _read(weights, trust)
    labels, order = _labels(checkpoint, label_space)
    made_of = provenance or Provenance()
    libraries = {one: version(one) for one in _LIBRARIES} | {"ultralytics": VERSION}
    facts: dict[str, Any] = {
        "name": name,
        "leaks": made_of.leaks,
        "versions": libraries | dict(made_of.versions),
        "dataset_digest": made_of.dataset_digest,
        "training_digest": made_of.training_digest or digest(weights),
    }
    module: DetectorGraph | ClassifierGraph
    card: DetectionCard | ClassificationCard
    try:
        facts["input"] = checkpoint.input(imgsz)
        if checkpoint.classifies:
            card = _classifier_card(facts, label_space, crop or CropRule())
            module = ClassifierGraph(checkpoint.model, order)
        else:
            thresholds = DetectionThresholds(score=conf, nms_iou=iou, max_detections=max_detections)
            card = _detector_card(checkpoint, facts, labels, label_space, thresholds)
            module = DetectorGraph(checkpoint.model, order, points="points" in card.outputs)
    except ValidationError as error:
        raise InputError(f"{weights}: {explain(error)}") from error
    with whole_folder(output) as folder:
        data = graph_file(to_onnx(module, card), card)
        found = differences(module, data, card)
        if not (found.scores <= SCORE_TOLERANCE and found.pixels <= PIXEL_TOLERANCE):  # also true for NaN
            raise RuntimeError(
                f"{weights}: the exported graph differs from the model: scores by up to {found.scores:.2g}, boxes by "
                f"{found.pixels:.2g} pixels; at most {SCORE_TOLERANCE:g} and {PIXEL_TOLERANCE:g} are allowed"
            )
        (folder / MODEL_FILE).write_bytes(data)
    return ExportResult(hashlib.sha256(data).hexdigest(), found.scores, found.pixels)


def _read(path: Path, trust: bool) -> _Checkpoint:
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file; expected a checkpoint of ultralytics")
    model: Any = read_model(path, trust=trust)
    head = model.model[-1]
    if isinstance(head, tasks.Detect):
        if head.cv2 is None:
            raise InputError(
                f"{path}: its layers are fused, and only the one-to-one branch is left; name the file that the "
                "training wrote"
            )
        head.end2end = False
    channels = model.yaml.get("channels", 3)
    if channels != 3:
        raise InputError(f"{path}: takes pictures of {channels} channels; expected 3, RGB")
    imgsz = model.args["imgsz"]
    sides = imgsz if isinstance(imgsz, list | tuple) else [imgsz]
    names = tuple(str(model.names[index]) for index in range(len(model.names)))
    return _Checkpoint(path, model, names, max(int(side) for side in sides))


def _labels(checkpoint: _Checkpoint, label_space: str) -> tuple[tuple[str, ...], list[int]]:
    """Return the labels of the card and, for each, which of the model's classes it is.

    Raises InputError when the classes are not those of the label space.
    """
    names, path = checkpoint.names, checkpoint.path
    if not label_space:
        if checkpoint.classifies:
            raise InputError(
                f"label_space: a classifier needs one; {path} has the classes {some(names, 10)}. It is a label space "
                "such as emotion, or their list, as in 'hat:cap,none'"
            )
        if len(set(names)) < len(names):
            raise InputError(f"{path}: has several classes of one name: {some(names, 10)}")
        return (FACE,) if len(names) == 1 else names, list(range(len(names)))
    space = space_of(label_space)
    if len(space.heads) > 1:
        heads = ", ".join(head.name for head in space.heads)
        raise InputError(f"label_space: '{label_space}' has several heads ({heads}); ultralytics' models have one")
    labels = space.class_labels
    meant = [_label(space, name) for name in names]
    if len(names) != len(labels) or set(meant) != set(labels):
        raise InputError(
            f"{path}: its classes are {some(names, 20)}, those of label space '{label_space}' are {some(labels, 20)}; "
            "name the label space that it was trained with"
        )
    return labels, [meant.index(label) for label in labels]


def _label(space: LabelSpace, name: str) -> str:
    """Return the label that a class's name means; the name itself where it is none."""
    if name in space.class_labels or len(space.attributes) > 1:
        return name
    try:
        index = space.class_of({space.attributes[0]: name})
    except InputError:
        return name
    return name if index is None else space.class_labels[index]


def _classifier_card(facts: Mapping[str, Any], label_space: str, crop: CropRule) -> ClassificationCard:
    space = space_of(label_space)
    plain = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return ClassificationCard(label_space=space.name, heads=space.heads, crop=crop, normalization=plain, **facts)


def _detector_card(
    checkpoint: _Checkpoint,
    facts: Mapping[str, Any],
    labels: tuple[str, ...],
    label_space: str,
    thresholds: DetectionThresholds,
) -> DetectionCard:
    # RT-DETR is trained and tested on pictures that are stretched to a square, and has no doubled boxes to suppress.
    resize = Letterbox(background=114, position="center", stride=checkpoint.stride, enlarge=True)
    if isinstance(checkpoint.head, tasks.RTDETRDecoder):
        resize, thresholds = Letterbox(stretch=True), thresholds.model_copy(update={"nms_iou": 1.0})
    return DetectionCard(
        labels=labels,
        label_space=space_of(label_space).name if label_space else None,
        points=_points(checkpoint),
        resize=resize,
        thresholds=thresholds,
        **facts,
    )


def _points(checkpoint: _Checkpoint) -> tuple[str, ...]:
    """Return the names of the points: those of a face, where there are as many, and none else."""
    if not isinstance(checkpoint.head, tasks.Pose):
        return ()
    names = ADAPTERS["yunet"].points
    count = checkpoint.head.kpt_shape[0]
    if count == len(names):
        return names
    _log.info(
        "%s gives %d points, which are left out: a face has %d, %s",
        checkpoint.path.name, count, len(names), ", ".join(names),
    )  # fmt: skip
    return ()
