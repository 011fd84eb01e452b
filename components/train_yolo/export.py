"""Export a checkpoint of ultralytics, a detector or a classifier, as a self-describing `model.onnx`."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field, ValidationError

from components.shared.dataset.annotations import digest
from components.shared.models.graph_file import graph_file
from components.shared.options import parse_options
from components.train_yolo.card import card_labels, classifier_card, detector_card
from components.train_yolo.config import NMS_IOU
from components.train_yolo.graphs import ClassifierGraph, DetectorGraph, differences, to_onnx
from components.train_yolo.library import VERSION
from components.train_yolo.network import Network, read_network
from components.train_yolo.weights import fetch_weights
from serving.runtime.card import (
    ClassificationCard,
    CropRule,
    DetectionCard,
    DetectionThresholds,
)
from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder
from serving.runtime.registry import MODEL_FILE
from serving.runtime.validation import Frozen, explain

SCORE_TOLERANCE = 1e-4
"""The most that a score or a probability may differ from torch's."""

PIXEL_TOLERANCE = 0.05
"""The most that a side of a box or a point may differ from torch's, in pixels of the input."""

_SCORE, _MAX_DETECTIONS = 0.25, 300
_LIBRARIES = ("onnx", "onnxscript", "torch", "torchvision")


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
    conf: float | None = Field(default=None, ge=0.0, le=1.0)
    iou: float | None = Field(default=None, gt=0.0, le=1.0)
    max_detections: int | None = Field(default=None, ge=1, le=10_000)
    crop_scale: float | None = Field(default=None, ge=0.5, le=4.0)
    trust_weights: bool = False
    download_weights: bool = False


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
    conf: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
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
        conf: of a detector: the lowest score of a face, by default 0.25.
        iou: of a detector: the largest overlap of two boxes of one label, by default 0.45; that of RT-DETR allows any.
        max_detections: of a detector: the most faces of one photo, by default 300.
        crop: of a classifier: what it sees of a photo, by default `CropRule()`.
        provenance: what the card says of the training.
        trust: read the pickle without an allow-list of classes, which runs what is in it.

    Raises:
        NotFoundError: there is no such file.
        InputError: the file is no checkpoint, is one of another task or cannot be served, its classes are not those of
            the label space, `output` exists and is not empty, or an argument is wrong or of the other kind
            of model.
        RuntimeError: ONNX Runtime's numbers differ from torch's by more than `SCORE_TOLERANCE` or `PIXEL_TOLERANCE`.
    """
    if not name.strip():
        raise InputError("name: must not be empty, the model is registered and served under it")
    network = read_network(weights, trust)
    _check_kind(network, conf=conf, iou=iou, max_detections=max_detections, crop_scale=crop)
    labels, order = card_labels(network, label_space)
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
        facts["input"] = network.input(imgsz)
        if network.classifies:
            card = classifier_card(facts, label_space, crop or CropRule())
            module = ClassifierGraph(network.model, order)
        else:
            thresholds = DetectionThresholds(
                score=_SCORE if conf is None else conf,
                nms_iou=NMS_IOU if iou is None else iou,
                max_detections=_MAX_DETECTIONS if max_detections is None else max_detections,
            )
            card = detector_card(network, facts, labels, label_space, thresholds)
            module = DetectorGraph(network.model, order, points="points" in card.outputs)
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


def _check_kind(network: Network, **options: Any) -> None:
    """Raise InputError where an option is set that the model has no use for."""
    alien = [name for name in options if (name == "crop_scale") != network.classifies and options[name] is not None]
    if alien:
        kinds = ("classifier", "detector")[:: 1 if network.classifies else -1]
        raise InputError(f"{', '.join(alien)}: {network.path} is a {kinds[0]}; leave out what a {kinds[1]} needs")
