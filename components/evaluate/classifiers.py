"""Scores of the predictions of a classifier against the labels of its faces."""

import json
import logging
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluate.answers import result_of
from components.evaluate.classifier_details import write_classifier_details
from components.evaluate.fairness import fairness
from components.evaluate.labeled_faces import LabeledFace, labeled_faces
from components.evaluate.mistakes import with_explanations, with_pictures, worst_mistakes
from components.evaluate.model import evaluated_model
from components.evaluate.notify import NoticeScores, score_notices
from components.evaluate.report import Evaluated, Mistakes, render_report
from components.evaluate.scored import Scored, Truth
from components.evaluate.scores import Scores, score_predictions
from components.evaluate.slices import slices
from components.shared.dataset.join import join
from components.shared.dataset.marginal import marginal
from components.shared.dataset.persons import person_numbers
from components.shared.dataset.pictures import check_present, find_pictures
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.classification import attribute_classes, metric_names, predicted_classes
from components.shared.metrics.ranking import Curve
from serving.runtime.predictor import Classifier

_log = logging.getLogger(__name__)


def score_classification(predicted: Predictions, truth: Truth) -> Scored:
    """Score classes and probabilities, groups of faces and notices about masks, and show the worst mistakes.

    Raises InputError when rows are missing or extra, no face has a label, the pictures are others, or the model is not
    the one that predicted.
    """
    table = marginal(predicted, truth.annotations)
    joined = join(table, truth.annotations, max_missing=truth.max_missing)
    faces = labeled_faces(table, joined, truth.annotations)
    persons = person_numbers([subject.image for subject in faces])
    model = evaluated_model(truth.model, predicted)
    draws: dict[str, Any] = {"resamples": truth.resamples, "seed": truth.seed}
    scores = score_predictions(table, joined, persons, answers=truth.without_probabilities, **draws)
    guesses = predicted_classes(table.class_probabilities()[joined.rows])
    attributes = attribute_classes(table.space.attributes, table.space.class_labels)
    card = model.card if model is not None else None
    notices = None
    if not truth.without_probabilities:
        notices = score_notices(predicted, joined.rows, faces, persons, card, **draws)
    evaluated = Evaluated(
        table,
        joined,
        scores,
        truth.dataset,
        truth.annotations.info.leaks,
        truth.pictures,
        slices(faces, joined.truth, guesses, persons, len(table.space.class_labels), **draws),
        fairness(faces, joined.truth, guesses, attributes),
        notices,
        _mistakes(predicted, table, faces, joined.rows, joined.truth, model, truth),
    )
    metrics = scores.scalars() | (notices.rates.defined() if notices is not None else {})
    if scores.undefined():
        _log.warning("not defined on this data: %s", ", ".join(scores.undefined()))
    if truth.answer_table:
        _log.info("result: %s", json.dumps(result_of(scores.classes)))
    return Scored(
        metrics,
        metric_names(table.space),
        joined.splits,
        table.space.class_labels,
        scores.classes.confusion.tolist(),
        partial(render_report, evaluated, metrics),
        partial(write_classifier_details, evaluated, metrics, result=truth.answer_table),
        _decision(scores, notices),
    )


def _decision(scores: Scores, notices: NoticeScores | None) -> Curve | None:
    """Return the ROC curve of the notices, or of the second of two classes; None where there is no such decision."""
    curve = notices.roc if notices is not None else None
    if curve is None and scores.probabilities is not None and len(scores.labels) == 2:
        curve = scores.probabilities.ranking.classes[1].roc
    return curve.thinned() if curve is not None else None


def _mistakes(
    predicted: Predictions,
    table: Predictions,
    faces: list[LabeledFace],
    rows: NDArray[np.int64],
    truth: NDArray[np.int64],
    model: Classifier | None,
    given: Truth,
) -> Mistakes:
    probabilities = table.class_probabilities()[rows]
    total = int((predicted_classes(probabilities) != truth).sum())
    if given.without_probabilities:
        return Mistakes(total=total, without="class numbers have no probabilities to order mistakes by")
    worst = worst_mistakes(faces, rows, truth, probabilities, table.space.class_labels)
    if given.images is None:
        advice = "evaluate once more with the photos as images (facet step evaluate --images) to see the mistakes"
        return Mistakes(worst, total, without=advice)
    pictures, _ = find_pictures(given.images)
    check_present(pictures, (one.subject.image.file_name for one in worst))
    worst, failed = with_pictures(worst, pictures, given.annotations.keypoint_names, model)
    if model is not None:
        worst = with_explanations(worst, predicted, model)
    return Mistakes(worst, total, failed, features=model is not None and model.card.features is not None)
