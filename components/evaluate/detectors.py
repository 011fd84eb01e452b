"""Scores of the predictions of a detector against annotated boxes."""

from components.evaluate.scored import Scored, Truth
from components.shared.dataset.detections import Detections


def score_detections(table: Detections, truth: Truth) -> Scored:
    """Score found boxes.

    Metrics are those of `components.shared.metrics.detection.DetectionScores`; `map50` is COCO's AP at IoU 0.5, the
    mean over the labels, as ultralytics names it. Faces that have no annotated box, or no class in the label space of
    the detector, are regions in which nothing is missed or false.

    Raises InputError when images are missing, extra or double, or no face has an annotated box.
    """
    raise NotImplementedError
