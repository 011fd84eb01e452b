"""Prediction of every face of a split, or of the boxes in its images, with the exported model as it is served."""

from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.detections import write_detections
from components.shared.dataset.predictions import write_predictions
from components.shared.prediction.classify import classify
from components.shared.prediction.detect import detect
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError
from serving.runtime.load import load_model
from serving.runtime.machine import usable_cpus
from serving.runtime.output import check_output
from serving.runtime.predictor import Classifier


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
    batch_size: int = 64,
    workers: int = 0,
    max_failed: int = 0,
) -> PredictReport:
    """Write what the model says of a split as CSV, in the order of image id and face id.

    A classifier gives the probabilities of every face; faces are cut from the original image bytes by the code that
    serves the model, and threads decode the images while the model computes. A detector gives the boxes of every image,
    from a score of 0.001 on; one of several labels also those of each label.

    Args:
        model: folder with `model.onnx`, or the file itself; a classifier or a detector.
        images: folder with the image archives; without annotations also a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON with the faces; None predicts every picture of `images`, for a classifier as one face.
        output: the CSV to write.
        split: test, val, train, or all (images without a split too).
        batch_size: faces per run of a classifier; a detector searches each photo alone.
        workers: decoding threads; 0 takes one per CPU.
        max_failed: how many faces may fail to decode, of a detector how many images; more fail the step.

    Raises:
        InputError: the split is unknown or has no face, for a detector no image; images are missing from the archive or
            are others there than the annotations describe, the model is not a classifier of its label space, or too
            many faces failed.
        StorageError: there is no model.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    check_output(output, model, images, *([annotations] if annotations else []))
    predictor = load_model(str(model))
    threads = workers or usable_cpus()
    if isinstance(predictor, Classifier):
        table, reasons = classify(
            predictor, images, annotations, split=split, batch_size=batch_size, workers=threads, max_failed=max_failed
        )
        write_predictions(table, output)
        return PredictReport(len(table.faces), len({face.image_id for face in table.faces}), reasons)
    detector = load_model(str(model), threads=1)  # each thread that searches photos computes alone
    if not isinstance(detector, Detector):
        raise InputError(f"{model}: a composite; this step predicts with classifiers and detectors, one at a time")
    found, reasons = detect(detector, images, annotations, split=split, workers=threads, max_failed=max_failed)
    write_detections(found, output)
    faces = sum(int((image.served.score >= found.threshold).sum()) for image in found.images)
    return PredictReport(faces, len(found.images), reasons)
