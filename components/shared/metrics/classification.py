"""Classification metrics over class indices and class probabilities, and the calibration of the probabilities.

They are ratios of the confusion matrix, computed with NumPy: importing scikit-learn would cost every step that trains
or evaluates several seconds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.label_spaces import LabelSpace
from serving.runtime.errors import InputError

SCALARS = ("accuracy", "log_loss", "macro_f1", "micro_f1", "weighted_f1")
LOWER_IS_BETTER = (
    "log_loss", "calibration_error", "notify_miss_rate", "notify_false_alarm_rate", "false_positives"
)  # fmt: skip
"""Metrics, of detectors too, of which a lower value is better; all others are better when higher."""
_SMALLEST = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class against all others, as fractions.

    `support` counts its faces in the truth, `predicted` those in the predictions. A ratio without a denominator is 0.
    A class with neither is absent: no mean contains it.
    """

    precision: float
    recall: float
    f1: float
    support: int
    predicted: int

    @property
    def absent(self) -> bool:
        """True when the class occurs neither in the truth nor in the predictions."""
        return self.support == 0 and self.predicted == 0


@dataclass(frozen=True)
class LabelScores:
    """Metrics of predicted labels; `confusion` is int (K, K), rows truth, columns prediction."""

    count: int
    accuracy: float
    macro_f1: float
    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]

    @property
    def micro_f1(self) -> float:
        """Micro F1: with one label per face it equals accuracy."""
        return self.accuracy

    @property
    def weighted_f1(self) -> float:
        """The mean of F1 over the classes, each counted as often as it has faces."""
        return sum(score.f1 * score.support for score in self.classes) / self.count

    def scalars(self) -> dict[str, float]:
        """Return the scalar metrics that need no probabilities by name."""
        return {name: float(getattr(self, name)) for name in SCALARS if name != "log_loss"}


@dataclass(frozen=True)
class ClassificationScores(LabelScores):
    """`LabelScores` plus the metric that needs probabilities."""

    log_loss: float

    def scalars(self) -> dict[str, float]:
        """Return the scalar metrics by name, in the order of `SCALARS`."""
        return {name: float(getattr(self, name)) for name in SCALARS}


def label_scores(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> LabelScores:
    """Score predicted against true class indices, both int (N,) in 0..classes-1.

    Macro F1 is the plain mean of F1 over the classes that occur in the truth or among the
    predictions (scikit-learn's `f1_score(average="macro")` with its default labels): a class that
    was predicted but does not exist in the truth counts as 0, a class with neither is left out.
    """
    assert truth.shape == predicted.shape and truth.ndim == 1, (truth.shape, predicted.shape)
    if len(truth) == 0:
        raise InputError("no face has both a label and a prediction, so no metric can be computed")
    for name, indices in (("truth", truth), ("predicted", predicted)):
        assert indices.min() >= 0 and indices.max() < classes, f"{name} has indices outside 0..{classes - 1}"
    pairs = truth.astype(np.int64) * classes + predicted
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    hits, support, predictions = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    ratios = _ratio(hits, predictions), _ratio(hits, support), _ratio(2 * hits, predictions + support)
    columns = [values.tolist() for values in (*ratios, support, predictions)]
    scores = tuple(ClassScore(*row) for row in zip(*columns, strict=True))
    return LabelScores(
        count=len(truth),
        accuracy=float(np.trace(confusion) / len(truth)),
        macro_f1=float(np.mean([score.f1 for score in scores if not score.absent])),
        classes=scores,
        confusion=confusion,
    )


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def classification_metrics(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> ClassificationScores:
    """Score class probabilities (N, K) against true class indices (N,); the prediction is the most probable class.

    Log loss is the mean of -ln(probability of the true class), clipped from below to float32's
    epsilon. See `label_scores` for the rest. Raises InputError for no rows or probabilities that
    are not finite.
    """
    assert probabilities.ndim == 2 and len(probabilities) == len(truth), (probabilities.shape, truth.shape)
    broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if broken:
        raise InputError(f"{broken} of {len(truth)} rows of probabilities are not finite: the model has diverged")
    scores = label_scores(truth, predicted_classes(probabilities), probabilities.shape[1])
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return ClassificationScores(**vars(scores), log_loss=float(-np.log(np.clip(chosen, _SMALLEST, 1.0)).mean()))


def predicted_classes(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Index of the most probable class per row of (N, K); the first one of equals."""
    indices: NDArray[np.int64] = probabilities.argmax(axis=1)
    return indices


def metric_names(space: LabelSpace) -> list[str]:
    """Return the names of the scalar metrics of a label space that may have a floor: higher is better."""
    names = [name for name in SCALARS if name not in LOWER_IS_BETTER]
    if len(space.attributes) > 1:
        names += [f"{attribute}_{metric}" for attribute in space.attributes for metric in ("accuracy", "macro_f1")]
    return names


def label_words(labels: Sequence[str]) -> list[str]:
    """Return labels as parts of metric names, which MLflow takes: under_30 for <30, from_60 for >=60.

    Where two would be equal, labels are counted instead.
    """
    spelled = (label.replace("<", "under_").replace(">=", "from_") for label in labels)
    words = [re.sub(r"[^\w.-]+", "_", label).strip("_") for label in spelled]
    return words if len({*words, ""}) > len(words) else [str(number) for number in range(len(labels))]


@dataclass(frozen=True)
class AttributeScores:
    """One attribute of a composed label space, such as gender out of `worn/male/<30`."""

    name: str
    labels: tuple[str, ...]
    scores: LabelScores


@dataclass(frozen=True)
class AttributeClasses:
    """An attribute, its values, and the index of its value in each of the classes that it is part of, int (K,)."""

    name: str
    labels: tuple[str, ...]
    of_class: NDArray[np.int64]


def attribute_classes(names: Sequence[str], class_labels: Sequence[str]) -> list[AttributeClasses]:
    """Return the attributes that a class label is composed of.

    `names` are the attributes in the order in which `class_labels` join their values with "/"; a label of one attribute
    is its value.
    """
    rows = [label.split("/") if len(names) > 1 else [label] for label in class_labels]
    assert all(len(row) == len(names) for row in rows), (names, class_labels)
    result = []
    for part, name in enumerate(names):
        labels = tuple(dict.fromkeys(row[part] for row in rows))
        result.append(AttributeClasses(name, labels, np.array([labels.index(row[part]) for row in rows], np.int64)))
    return result


def attribute_scores(
    names: Sequence[str], class_labels: Sequence[str], truth: NDArray[np.integer], predicted: NDArray[np.integer]
) -> list[AttributeScores]:
    """Score every attribute that a class label is composed of, see `attribute_classes`.

    The value of an attribute is the one in the label of the true or the predicted class.
    """
    return [
        AttributeScores(
            one.name, one.labels, label_scores(one.of_class[truth], one.of_class[predicted], len(one.labels))
        )
        for one in attribute_classes(names, class_labels)
    ]


@dataclass(frozen=True, slots=True)
class Bin:
    """Faces whose highest probability lies in (low, high]; means are None for an empty bin."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Reliability bins and the expected calibration error, a fraction (0 is perfect)."""

    bins: tuple[Bin, ...]
    error: float


def calibration(truth: NDArray[np.integer], probabilities: NDArray[np.floating], bins: int = 10) -> Calibration:
    """Compare confidence with accuracy in equally wide bins.

    `truth` is int (N,), `probabilities` (N, K). The expected calibration error is the mean over
    faces of |accuracy - confidence| of their bin (Guo et al., "On Calibration of Modern Neural
    Networks", 2017); the bins are those of scikit-learn's `calibration_curve`.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == truth
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    counts = np.bincount(index, minlength=bins).tolist()
    confidences, hits = (np.bincount(index, values, bins) for values in (confidence, correct))
    rows = [
        Bin(k / bins, (k + 1) / bins, count, total / count if count else None, right / count if count else None)
        for k, (count, total, right) in enumerate(zip(counts, confidences.tolist(), hits.tolist(), strict=True))
    ]
    return Calibration(tuple(rows), float(np.abs(hits - confidences).sum() / len(truth)))
