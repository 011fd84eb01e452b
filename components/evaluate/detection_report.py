"""The page of the evaluation of a detector, rendered from detection_report.html.jinja."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluate.report import metric_name
from components.evaluate.scored import Truth
from components.shared.dataset.annotations import Box, Face
from components.shared.dataset.detections import Detections
from components.shared.dataset.label_spaces import ATTRIBUTES, label_space
from components.shared.dataset.pictures import Pictures
from components.shared.metrics.bootstrap import Interval
from components.shared.metrics.detection import SIZES, DetectionScores
from components.shared.metrics.matching import IOU, Counts, Matches
from components.shared.metrics.true_boxes import TrueBoxes
from components.shared.report.plots import Plot, precision_recall
from components.shared.report.rendering import printable, render
from components.shared.report.thumbnails import FRAME, Thumbnail, Thumbnails
from serving.runtime.detection import corners, pairwise_iou
from serving.runtime.errors import InputError

TRUE, FOUND, IGNORED, SUBJECT = "#3f8cff", FRAME, "#d0d0d0", "#ff3b30"
_OTHERS = (TRUE, "annotated"), (FOUND, "found, at the threshold of the model"), (IGNORED, "does not count")
LEGENDS = {
    "misses": ((SUBJECT, "the face that is missed"), *_OTHERS),
    "false_alarms": ((SUBJECT, "the false alarm"), *_OTHERS),
}
"""Colors of boxes and what they mean, by section."""

SECOND = "second box on a found face"
"""What is said of a false alarm that overlaps a face enough to be it."""

NO_FACE = "no face"
SHOWN = 24
"""As many misses, and as many false alarms, are shown."""

_NAMES = {
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    "map50_from_24": "mAP50, 24 px and more",
    "false_positives": "False alarms per photo",
}
_TILES = ("map50", "map50_95", "map50_from_24", "precision", "recall", "false_positives")
_SIZES = {"under_24": "under 24 px", "24_to_48": "24 to 48 px", "48_to_96": "48 to 96 px", "from_96": "96 px and more"}
_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_MOST_VALUES = 10
_BYTES, _SIDE = 800_000, 200
_AROUND, _LEAST_AROUND = 3.0, 96.0
_NEAR = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class DetectionEvaluation:
    """Predictions of a detector, the annotated boxes, and the scores of both.

    `metrics` are those with a value, `without` the names of the others, `intervals` those that there are.
    """

    table: Detections
    boxes: TrueBoxes
    scores: DetectionScores
    metrics: Mapping[str, float]
    without: Sequence[str]
    truth: Truth
    intervals: Mapping[str, Interval]

    def label_rows(self) -> "list[Row]":
        """Return a row for each label."""
        loose, strict = (one.average_precision().tolist() for one in (self.scores.overall.by_label, self.scores.strict))
        return [
            Row(label, self.scores.at_threshold(self.scores.overall, number), loose[number], strict[number])
            for number, label in enumerate(self.boxes.labels)
        ]


def render_detection_report(
    evaluation: DetectionEvaluation, pictures: Pictures | None, floors: Mapping[str, float], missed: Sequence[str]
) -> str:
    """Return the page; equal arguments give equal text. Its pictures take at most some 1.6 MB.

    Args:
        evaluation: the scores and what they are about.
        pictures: the photos; None shows none.
        floors: the lowest accepted value by metric.
        missed: the metrics below their floor.
    """
    scores, boxes = evaluation.scores, evaluation.boxes
    page = _Pictures(evaluation, pictures)
    curve, drawn = _curve(scores, boxes.labels)
    return render(
        "evaluate/detection_report.html.jinja",
        evaluation=evaluation,
        metric_name=_name,
        metrics=evaluation.metrics,
        tiles=_TILES,
        floors=floors,
        missed=missed,
        counts=scores.at_threshold(scores.overall),
        curve=curve,
        drawn=drawn,
        sizes=_sizes(scores),
        labels=evaluation.label_rows() if len(boxes.labels) > 1 else [],
        slices=_slices(boxes, scores),
        thresholds=_thresholds(scores),
        legends=LEGENDS,
        shown=SHOWN,
        pictures=pictures is not None,
        misses=page.misses(),
        false_alarms=page.false_alarms(),
        failed=page.failed,
    )


def _name(metric: str) -> str:
    """Return the name of a metric for people."""
    if metric in _NAMES:
        return _NAMES[metric]
    figure, _, rest = metric.partition("_")
    return f"{_NAMES.get(figure, metric_name(figure))}, {_SIZES[rest]}" if rest in _SIZES else metric_name(metric)


def _curve(scores: DetectionScores, labels: Sequence[str]) -> tuple[Plot, list[str]]:
    """Return precision by recall, and the labels that have a line there: those with a true face.

    The lines are those of AP; the marks are what the endpoint gives.
    """
    precision = scores.overall.by_label.precision[0]
    lines, marks = {}, {}
    for number, label in enumerate(labels):
        if not np.isnan(precision[0, number]):
            lines[label] = precision[:, number].tolist()
            served = scores.at_threshold(scores.overall, number)
            marks[label] = (served.recall, served.precision)
    return precision_recall(lines, marks), list(lines)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: what it is about, the counts at the threshold of the model, and the APs; NaN for none."""

    name: str
    counts: Counts
    ap50: float
    ap50_95: float = math.nan


def _sizes(scores: DetectionScores) -> list[Row]:
    named = [("all", scores.overall), ("24 px and more", scores.from_24)]
    named += [(_SIZES[name], scores.sizes[name]) for name in SIZES]
    return [Row(name, scores.at_threshold(one), one.map50) for name, one in named]


def _thresholds(scores: DetectionScores) -> list[tuple[float, bool, Counts]]:
    """Return score thresholds, whether one is that of the model, and the counts there."""
    own = scores.threshold
    return [(one, one == own, scores.overall.served.at(one)) for one in sorted({*_THRESHOLDS, own})]


@dataclass(frozen=True, slots=True)
class Slice:
    """The faces with one value of an attribute, and how many of them were found."""

    attribute: str
    value: str
    faces: int
    found: int


def _slices(boxes: TrueBoxes, scores: DetectionScores) -> list[Slice]:
    """Return recall by value of each attribute of the label spaces that some face has, where these are few values.

    What else is known of a face, such as the place of a photo, may be any text.
    """
    matches = scores.any_label
    found = matches.found_with >= scores.threshold
    values: dict[str, dict[str, list[bool]]] = {}
    for (photo, index, _), hit in zip(matches.truths.tolist(), found.tolist(), strict=True):
        for attribute, value in _attributes(boxes.faces[photo][index]):
            values.setdefault(attribute, {}).setdefault(value, []).append(hit)
    return [
        Slice(attribute, value, len(hits), sum(hits))
        for attribute, of_value in sorted(values.items())
        if len(of_value) <= _MOST_VALUES
        for value, hits in sorted(of_value.items())
    ]


def _attributes(face: Face) -> list[tuple[str, str]]:
    """Return the attributes of a face and their values, an age as its class."""
    values = {name: face.attributes.get(name) for name in ATTRIBUTES if name != "age"}
    known = {name: str(value) for name, value in values.items() if value is not None}
    space = label_space("age")
    try:
        age = space.class_of(face.attributes)
    except InputError:
        age = None
    if age is not None:
        known["age"] = space.class_labels[age]
    return list(known.items())


@dataclass(frozen=True, slots=True)
class Shown:
    """Boxes of a kind: how many there are, and the first of them as pictures."""

    total: int
    photos: list[Thumbnail]


class _Pictures:
    """Misses and false alarms as pictures of the page; without pictures only their number."""

    def __init__(self, evaluation: DetectionEvaluation, pictures: Pictures | None) -> None:
        self._boxes, self._threshold = evaluation.boxes, evaluation.scores.threshold
        self._matches: Matches = evaluation.scores.any_label
        self._pictures = pictures
        self.failed: list[tuple[str, str]] = []

    def misses(self) -> Shown:
        """The annotated faces that are not found at the threshold, the largest first."""
        matches = self._matches
        missed = np.flatnonzero(matches.found_with < self._threshold)
        entries = []
        for number in missed.tolist():
            photo, index, label = matches.truths[number].tolist()
            box = self._boxes.photos[photo].truths[index].tolist()
            score = float(matches.found_with[number])
            state = f"found with {score:.2f}" if score >= 0 else f"not found{self._near(photo, index)}"
            lines = [self._labeled(label, box), state]
            entries.append((-min(box[2:]), photo, box, lines))
        return self._shown(entries)

    def false_alarms(self) -> Shown:
        """The boxes of the threshold and more that are no face, the surest first."""
        matches = self._matches
        false = np.flatnonzero((matches.scores >= self._threshold) & ~matches.right)
        entries = []
        for number in false.tolist():
            photo, index, label = matches.found[number].tolist()
            boxes = self._boxes.photos[photo]
            box = boxes.found[index].tolist()
            score = float(matches.scores[number])
            overlaps = pairwise_iou(corners(boxes.found[index : index + 1]), corners(boxes.truths))
            overlap = float(overlaps.max(initial=0))
            near = f", overlaps a face by {_share(overlap)}" if overlap >= _NEAR else ""
            lines = [self._labeled(label, box), f"score {score:.2f}{near}"]
            if overlap >= IOU:  # it would be right, had no surer box taken the face
                lines.append(SECOND)
            entries.append((-score, photo, box, lines))
        return self._shown(entries)

    def _near(self, photo: int, index: int) -> str:
        """Say how much of a missed face a box of the threshold and more overlaps."""
        boxes = self._boxes.photos[photo]
        shown = boxes.found[boxes.scores >= self._threshold]
        overlap = float(pairwise_iou(corners(boxes.truths[index : index + 1]), corners(shown)).max(initial=0))
        return f", a box overlaps it by {_share(overlap)}" if overlap >= _NEAR else ""

    def _labeled(self, label: int, box: Sequence[float]) -> str:
        size = f"{box[2]:.0f}×{box[3]:.0f} px"
        return f"{printable(self._boxes.labels[label], 24)}, {size}" if len(self._boxes.labels) > 1 else size

    def _shown(self, entries: Sequence[tuple[float, int, list[float], list[str]]]) -> Shown:
        photos: list[Thumbnail] = []
        if self._pictures is not None:
            thumbnails = Thumbnails(self._pictures, _BYTES, _SIDE)
            for _, photo, box, lines in sorted(entries, key=lambda entry: entry[:3])[:SHOWN]:
                image, whole = self._boxes.images[photo], _box(box)
                marks = [one for one in self._marks(photo) if one[0] != whole]
                uri = thumbnails.part(image, _around(whole), [*marks, (whole, SUBJECT)])
                name = printable(image.file_name, 120)
                photos.append(Thumbnail(uri, name, [*lines, printable(image.file_name, 40)]))
            self.failed += thumbnails.failed
        return Shown(len(entries), photos)

    def _marks(self, photo: int) -> list[tuple[Box, str]]:
        """Return the boxes of a photo with their colors, those of whole images left out."""
        boxes, image = self._boxes.photos[photo], self._boxes.images[photo]
        whole = 0.0, 0.0, float(image.width), float(image.height)
        drawn = [(_box(box), IGNORED) for box in boxes.ignored.tolist()]
        drawn += [(_box(box), TRUE) for box in boxes.truths.tolist()]
        drawn += [(_box(box), FOUND) for box in boxes.found[boxes.scores >= self._threshold].tolist()]
        return [mark for mark in drawn if mark[0] != whole]


def _share(overlap: float) -> str:
    """Write an overlap with two digits, rounded down: 0.497 is below 0.5."""
    return f"{math.floor(100 * overlap) / 100:.2f}"


def _box(values: Sequence[float]) -> Box:
    x, y, width, height = values
    return x, y, width, height


def _around(box: Box) -> Box:
    """Return a square around a box with what is beside it."""
    x, y, width, height = box
    side = max(_AROUND * max(width, height), _LEAST_AROUND)
    return x + (width - side) / 2, y + (height - side) / 2, side, side
