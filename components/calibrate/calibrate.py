"""Calibration of a classifier on val: temperatures inside its graph, and the threshold of its notice."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from components.calibrate.findings import Findings, analyze
from components.calibrate.graph import temper
from components.calibrate.report import render_report
from components.calibrate.temperature import tempered
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.join import join
from components.shared.dataset.persons import person_numbers
from components.shared.dataset.predictions import Predictions, read_predictions
from components.shared.dataset.same_pictures import check_pictures
from components.shared.models.graph_file import graph_file
from components.shared.prediction.same_model import check_predicted_by
from components.shared.tracking.runs import resume_run
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import InputError
from serving.runtime.load import open_model, read_model
from serving.runtime.notice import rule_of
from serving.runtime.output import check_outputs, whole_folder, write_text
from serving.runtime.predictor import Classifier, Predictor
from serving.runtime.registry import MODEL_FILE

_TOLERANCE = 1e-4
_IMAGES = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CalibrateResult:
    """What was written: the file's sha256, whether it is another file than before, and numbers by name."""

    sha256: str
    changed: bool
    metrics: dict[str, float]


def calibrate(
    model: Path,
    predictions: Path,
    annotations: Path,
    output: Path,
    report: Path,
    *,
    temperature: bool = True,
    false_alarm_rate: float = 0.0,
    run_id: str = "",
) -> CalibrateResult:
    """Write the folder `output` with a classifier whose probabilities say how often it is right on val, and a report.

    The temperature of each head is applied inside the graph and told by the card, as the threshold of the notice is.
    Labels stay as they are. What the faces do not tell stays too: a head's temperature, see `fit_temperature`; the
    threshold, see `choose_threshold`; all of a detector, and of any model where `predictions` has no row. A model of
    which nothing changes is passed through byte for byte, and the log says why.

    Args:
        model: folder with `model.onnx`, or the file itself.
        predictions: what this model says of val, CSV of the predict step.
        annotations: the annotations that were predicted.
        output: a new or empty folder.
        report: the HTML file to write.
        temperature: whether temperatures are fitted.
        false_alarm_rate: the largest share of properly worn masks that may be noticed; 0 keeps the threshold.
        run_id: MLflow run to log to; "" for none.

    Raises:
        InputError: the predictions are of another model or of other pictures; a rate is no share, or the model does not
            judge masks; the model is a composite.
        StorageError: there is no model.
        RuntimeError: ONNX Runtime does not give what the temperatures say.
    """
    if not 0 <= false_alarm_rate < 1:
        raise InputError(f"false_alarm_rate: must be at least 0 and below 1, got {false_alarm_rate}")
    check_outputs([output, report], model, predictions, annotations)
    run = resume_run(run_id, tolerant=True)
    with whole_folder(output) as folder:
        files = read_model(str(model))
        if files.card is not None:
            raise InputError(f"{model}: a composite, which has no graph; calibrate its classifiers")
        opened = files.open()
        content, findings = files.content, _examine(opened, predictions, annotations, temperature, false_alarm_rate)
        changes: dict[str, Any] = {}
        if isinstance(opened, Classifier):
            changes = _changes(opened.card, findings)
            if changes:
                content = _changed(opened, content, findings.temperatures, changes)
        if not changes:
            _log.warning(
                "model %s is passed through unchanged%s", opened.name, findings.reason and f": {findings.reason}"
            )
        (folder / MODEL_FILE).write_bytes(content)
        page = render_report(opened.name, files.sha256, hashlib.sha256(content).hexdigest(), findings)
        write_text(report, page)
    run.metrics({f"Calibration/{name}": value for name, value in findings.metrics.items()})
    run.text(page, "calibration/report.html")
    return CalibrateResult(hashlib.sha256(content).hexdigest(), bool(changes), findings.metrics)


def _examine(model: Predictor, predictions: Path, annotations: Path, temperature: bool, rate: float) -> Findings:
    if not isinstance(model, Classifier):
        return Findings("it is a detector, whose scores are of single boxes and do not sum to 1")
    if _is_empty(predictions):
        return Findings(f"{predictions} has no row, so there is no face to calibrate on")
    table = read_predictions(predictions)
    if not isinstance(table, Predictions) or table.space.heads != model.card.heads:
        of = table.space.name if isinstance(table, Predictions) else "a detector"
        raise InputError(f"{predictions}: predictions of '{of}', and the model is of '{model.card.label_space}'")
    check_predicted_by(table, model)
    data = read_annotations(annotations)
    check_pictures(table, data, predictions, annotations)
    labeled = join(table, data, may_be_empty=True)
    if labeled.splits != ("val",):
        splits = " + ".join(labeled.splits) or "none"
        _log.warning("calibrated on split %s: what is measured on these faces later looks better than it is", splits)
    images = {image.id: image for image in data.images}
    persons = person_numbers([images[table.faces[row].image_id] for row in labeled.rows.tolist()])
    findings = analyze(table, labeled, persons, model.card, temperature=temperature, false_alarm_rate=rate)
    for head in findings.heads:
        if temperature and head.fit.reason:
            _log.warning("head '%s' gets no temperature: %s", head.name, head.fit.reason)
    if findings.notify is not None and findings.notify.reason:
        _log.warning(
            "the threshold of the notice stays %g: %s", findings.notify.rates.threshold, findings.notify.reason
        )
    return findings


def _is_empty(predictions: Path) -> bool:
    """Tell whether a table has at most one line; what cannot be read is left to its reader."""
    try:
        with predictions.open(encoding="utf-8") as file:
            return len(list(islice(file, 2))) < 2
    except (OSError, UnicodeDecodeError):
        return False


def _changes(card: ClassificationCard, findings: Findings) -> dict[str, Any]:
    """Return what of the card changes."""
    changes: dict[str, Any] = {}
    if found := findings.temperatures:
        known = card.temperature or {}
        changes["temperature"] = known | {name: known.get(name, 1.0) * value for name, value in found.items()}
    rule = rule_of(card)
    if findings.notify is not None and findings.notify.chosen is not None and rule is not None:
        changes["notify"] = rule.model_copy(update={"threshold": findings.notify.chosen})
    return changes


def _changed(model: Classifier, content: bytes, temperatures: Mapping[str, float], changes: Mapping[str, Any]) -> bytes:
    """Return the model file with the temperatures in its graph and the changes in its card.

    Raises RuntimeError when it does not compute what the temperatures say.
    """
    graph = onnx.load_from_string(content)
    temper(graph, temperatures)
    changed = graph_file(graph, model.card.model_copy(update=dict(changes)))
    size = model.card.input
    pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, size.height, size.width, 3), np.uint8)
    before, after = model.infer(pixels), open_model(changed, source="the calibrated model").infer(pixels)
    for name, values in after.items():
        expected = tempered(before[name], temperatures[name]) if name in temperatures else before[name]
        if not np.allclose(values, expected, atol=_TOLERANCE) or (values.argmax(1) != before[name].argmax(1)).any():
            raise RuntimeError(f"head '{name}' of the calibrated graph does not give what its temperature says")
    return changed
