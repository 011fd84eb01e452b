"""Scores of the predictions of a detector against annotated boxes."""

import logging
import math
from functools import partial

from components.evaluate.detection_report import NO_FACE, DetectionEvaluation, render_detection_report
from components.evaluate.detector_details import write_detector_details
from components.evaluate.scored import Scored, Truth
from components.shared.dataset.detections import Detections
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.metrics.bootstrap import Interval
from components.shared.metrics.detection import FLOORS, DetectionScores, detection_scores
from components.shared.metrics.drawn_precision import precision_interval
from components.shared.metrics.true_boxes import TrueBoxes, true_boxes

_log = logging.getLogger(__name__)


def score_detections(table: Detections, truth: Truth) -> Scored:
    """Score found boxes.

    Metrics are those of `components.shared.metrics.detection.DetectionScores`; `map50` is COCO's AP at IoU 0.5, the
    mean over the labels, as ultralytics names it. Faces that have no annotated box, or no class in the label space of
    the detector, are regions in which nothing is missed or false. The last class of the confusion matrix is no face.

    Raises InputError when images are missing or extra, also in `truth.images`, or no face has an annotated box.
    """
    boxes = true_boxes(table, truth.annotations, max_missing=truth.max_missing)
    pictures: Pictures | None = None
    if truth.images is not None:
        pictures, _ = find_pictures(truth.images)
        check_present(pictures, (image.file_name for image in boxes.images))
    scores = detection_scores(boxes.photos, boxes.by_label, len(boxes.labels), table.threshold)
    values = scores.scalars(boxes.labels)
    metrics = {name: value for name, value in values.items() if math.isfinite(value)}
    without = tuple(name for name in values if name not in metrics)
    if without:
        _log.warning("not defined on this data: %s", ", ".join(without))
    evaluation = DetectionEvaluation(table, boxes, scores, metrics, without, truth, _intervals(scores, boxes, truth))
    page = partial(render_detection_report, evaluation, pictures)
    labels, confusion = (*boxes.labels, NO_FACE), scores.confusion.tolist()

    details = partial(write_detector_details, evaluation)
    return Scored(metrics, FLOORS, boxes.splits, labels, confusion, page, details)


def _intervals(scores: DetectionScores, boxes: TrueBoxes, truth: Truth) -> dict[str, Interval]:
    """Return the intervals by the bootstrap over photos."""
    ranges = {"map50": scores.overall, "map50_from_24": scores.from_24}
    found = {
        name: precision_interval(one.by_label, len(boxes.labels), resamples=truth.resamples, seed=truth.seed)
        for name, one in ranges.items()
    }
    return {name: one for name, one in found.items() if one is not None}
