"""The card of an exported network: its labels, in the order of the label space, its points, and its input."""

import logging
from collections.abc import Mapping
from typing import Any

from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.label_spaces import label_space as space_of
from components.shared.dataset.text import some
from components.shared.models.detector_graphs import ADAPTERS
from components.train_yolo.library import tasks
from components.train_yolo.network import Network
from serving.runtime.card import (
    ClassificationCard,
    CropRule,
    DetectionCard,
    DetectionThresholds,
    Letterbox,
    Normalization,
)
from serving.runtime.errors import InputError

FACE = "face"
"""The one label of a detector without a label space."""

_log = logging.getLogger(__name__)


def card_labels(network: Network, label_space: str) -> tuple[tuple[str, ...], list[int]]:
    """Return the labels of the card and, for each, which of the model's classes it is.

    Raises InputError when the classes are not those of the label space.
    """
    names, path = network.names, network.path
    if not label_space:
        if network.classifies:
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


def classifier_card(facts: Mapping[str, Any], label_space: str, crop: CropRule) -> ClassificationCard:
    """Return the card of a classifier; `facts` are the entries that every card has."""
    space = space_of(label_space)
    plain = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return ClassificationCard(label_space=space.name, heads=space.heads, crop=crop, normalization=plain, **facts)


def detector_card(
    network: Network,
    facts: Mapping[str, Any],
    labels: tuple[str, ...],
    label_space: str,
    thresholds: DetectionThresholds,
) -> DetectionCard:
    """Return the card of a detector; `facts` are the entries that every card has."""
    # RT-DETR is trained and tested on pictures that are stretched to a square, and has no doubled boxes to suppress.
    resize = Letterbox(background=114, position="center", stride=network.stride, enlarge=True)
    if isinstance(network.head, tasks.RTDETRDecoder):
        resize, thresholds = Letterbox(stretch=True), thresholds.model_copy(update={"nms_iou": 1.0})
    return DetectionCard(
        labels=labels,
        label_space=space_of(label_space).name if label_space else None,
        points=_points(network),
        resize=resize,
        thresholds=thresholds,
        **facts,
    )


def _points(network: Network) -> tuple[str, ...]:
    """Return the names of the points: those of a face, where there are as many, and none else."""
    if not isinstance(network.head, tasks.Pose):
        return ()
    names = ADAPTERS["yunet"].points
    count = network.head.kpt_shape[0]
    if count == len(names):
        return names
    _log.info(
        "%s gives %d points, which are left out: a face has %d, %s",
        network.path.name, count, len(names), ", ".join(names),
    )  # fmt: skip
    return ()
