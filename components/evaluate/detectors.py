"""Scores of the predictions of a detector against annotated boxes."""

import logging
import math
from functools import partial
from pathlib import Path

from components.evaluate.details import METRICS, write_confusion, write_json
from components.evaluate.detection_report import DetectionEvaluation, render_detection_report
from components.evaluate.scored import Scored, Truth
from components.shared.dataset.detections import Detections
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.metrics.detection import FLOORS, detection_scores
from components.shared.metrics.true_boxes import true_boxes

NO_FACE = "no face"
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
        _log.warning("no value, for want of such faces or boxes: %s", ", ".join(without))
    evaluation = DetectionEvaluation(table, boxes, scores, metrics, without, truth)
    page = partial(render_detection_report, evaluation, pictures)
    labels, confusion = (*boxes.labels, NO_FACE), scores.confusion.tolist()

    def write_details(folder: Path) -> None:
        write_json(folder / METRICS, {"metrics": metrics, "without_value": list(without)})
        write_confusion(folder, labels, confusion)

    return Scored(metrics, FLOORS, boxes.splits, labels, confusion, page, write_details)
