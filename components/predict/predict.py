"""Prediction of every face of a split, or of the boxes in its images, with the exported model as it is served."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.detections import write_detections
from components.shared.dataset.predictions import write_predictions
from components.shared.prediction.classify import classify
from components.shared.prediction.detect import detect
from components.shared.prediction.ensemble import Ensemble, open_models
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus
from serving.runtime.output import check_output


@dataclass(frozen=True)
class PredictReport:
    """How many faces were predicted, and how many could not be, by reason.

    Of a detector these are the boxes of the card's threshold and more, and the images that could not be decoded.
    """

    faces: int
    images: int
    failed: dict[str, int]


def predict(
    model: Path,
    images: Path,
    annotations: Path | None,
    output: Path,
    *,
    split: str = "test",
    workers: int = 0,
    max_failed: int = 0,
    tta: Sequence[str] = (),
    may_be_empty: bool = False,
) -> PredictReport:
    """Write what the model says of a split as CSV, in the order of image id and face id.

    A classifier gives the probabilities of every face; faces are cut from the original image bytes by the code that
    serves the model. A detector gives the boxes of every image, from a score of 0.001 on; one of several labels also
    those of each label. Threads decode and compute.

    Args:
        model: folder with `model.onnx`, or the file itself, a classifier or a detector; or a folder with the folders of
            several classifiers, such as folds, whose probabilities are averaged.
        images: folder with the image archives; without annotations also a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON with the faces; None predicts every picture of `images`, for a classifier as one face.
        output: the CSV to write.
        split: test, val, train, or all (images without a split too).
        workers: threads; 0 takes one per CPU.
        max_failed: how many faces may fail to decode, of a detector how many images; more fail the step.
        tta: views of each face besides itself, see `views.KINDS`; their probabilities are averaged.
        may_be_empty: write a table without a row where the split has no face, of a detector no image.

    Raises:
        InputError: the split is unknown or has no face, for a detector no image; images are missing from the archive or
            are others there than the annotations describe, the model is not a classifier of its label space, a view is
            unknown, or too many faces failed.
        StorageError: there is no model.
    """
    check_output(output, model, images, *([annotations] if annotations else []))
    models = open_models([str(model)], tta=tta)
    threads = workers or usable_cpus()
    chosen = {"split": split, "workers": threads, "max_failed": max_failed, "may_be_empty": may_be_empty}
    if isinstance(models, Ensemble):
        table, reasons = classify(models, images, annotations, **chosen)  # type: ignore[arg-type]
        write_predictions(table, output)
        return PredictReport(len(table.faces), len({face.image_id for face in table.faces}), reasons)
    if not isinstance(models, Detector):
        raise InputError(f"{model}: a composite; this step predicts with classifiers and detectors")
    found, reasons = detect(models, images, annotations, **chosen)  # type: ignore[arg-type]
    write_detections(found, output)
    faces = sum(int((image.served.score >= found.threshold).sum()) for image in found.images)
    return PredictReport(faces, len(found.images), reasons)
