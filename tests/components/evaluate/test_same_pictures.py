"""Predictions and annotations of different data sets, whose numbers and often names are equal."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.evaluate import evaluate
from components.evaluate.folds import evaluate_folds
from components.shared.dataset.annotations import Annotations, Face, Image, images_digest, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from serving.runtime.errors import InputError

MASKS = ("worn", "incorrect", "absent")


def photos(folder: str = "a", seed: int = 0, *, named: bool = True) -> Annotations:
    """Nine pictures in a fold and a split, numbered from 1; `named` with digests of pictures and data set."""
    images = tuple(
        Image(
            number,
            f"{folder}/{number}.jpg",
            9,
            9,
            (Face(number, (1.0, 2.0, 3.0, 4.5), {"mask": MASKS[number % 3]}),),
            split="test",
            fold=0,
            sha256=f"{1000 * seed + number:064x}" if named else None,
        )
        for number in range(1, 10)
    )
    return Annotations(images, DatasetInfo(images_digest=images_digest(images)) if named else DatasetInfo())


def predictions_of(data: Annotations) -> Predictions:
    space = label_space("mask")
    faces = [
        PredictedFace(image.id, face.id, image.file_name, face.box, image.sha256)
        for image in data.images
        for face in image.faces
    ]
    values = np.eye(3, dtype=np.float32)[[face.image_id % 3 for face in faces]]
    return Predictions(tuple(faces), {"mask": values}, space, "m", "v", data.info.images_digest or "")


def write(folder: Path, table: Predictions, data: Annotations) -> tuple[Path, Path, Path]:
    write_predictions(table, folder / "p.csv")
    write_annotations(data, folder / "a.json")
    return folder / "p.csv", folder / "a.json", folder / "report"


def relabeled(data: Annotations) -> Annotations:
    """The data set with labels that a correction changed, which is still the same one."""
    faces = [replace(image.faces[0], attributes={"mask": "worn"}) for image in data.images]
    images = tuple(replace(image, faces=(face,)) for image, face in zip(data.images, faces, strict=True))
    return replace(data, images=images)


def other_box(data: Annotations) -> Annotations:
    first, *rest = data.images
    face = replace(first.faces[0], box=(1.0, 2.0, 3.0, 4.0))
    return replace(data, images=(replace(first, faces=(face,)), *rest))


def unnamed(data: Annotations) -> Annotations:
    return replace(data, info=DatasetInfo())


MISMATCHES = {
    "another data set": (photos(), photos("b", 1), "the predictions are of data set"),
    "equal names": (photos(), photos("a", 1), "the predictions are of data set"),
    "equal names without the name of the data set": (
        photos(), unnamed(photos("a", 1)), r"9 of 9 .*'a/1\.jpg' is another picture \(sha256",
    ),
    "other names": (photos(), unnamed(photos("b", 1)), r"image 1 is 'a/1\.jpg' in the predictions and 'b/1\.jpg'"),
    "other names, older table": (photos(named=False), photos("b", 1), r"image 1 is 'a/1\.jpg' in the predictions"),
    "another box": (photos(), other_box(photos()), r"1 of 9 .*'a/1\.jpg' face 1 has another box"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_mismatch_is_an_error_that_names_both_files(case: str, tmp_path: Path) -> None:
    predicted, annotated, message = MISMATCHES[case]
    table, annotations, report = write(tmp_path, predictions_of(predicted), annotated)
    with pytest.raises(InputError, match=rf"{message}.*p\.csv does not fit .*a\.json"):
        evaluate(table, annotations, report)
    with pytest.raises(InputError, match=rf"{message}.*p\.csv does not fit .*a\.json"):
        evaluate_folds([table], annotations, report)
    assert not report.exists()


@pytest.mark.parametrize("change", [lambda data: data, relabeled, unnamed])
def test_other_labels_of_the_same_pictures_are_no_mismatch(change, tmp_path: Path) -> None:
    table, annotations, report = write(tmp_path, predictions_of(photos()), change(photos()))
    evaluate(table, annotations, report)
    assert "the same by path and sha256" in report.read_text()


@pytest.mark.parametrize("older", ["predictions", "annotations", "both"])
def test_without_sha256_paths_are_compared_and_that_is_said(
    older: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predicted, annotated = photos(named=older == "annotations"), photos(named=older == "predictions")
    with caplog.at_level(logging.WARNING):
        result = evaluate(*write(tmp_path, predictions_of(predicted), annotated))
    assert result.metrics["accuracy"] == 1
    assert "p.csv: 9 of 9 faces are compared with" in caplog.text and "by path and box alone" in caplog.text
    assert "9 of 9 faces compared by path and box alone" in (tmp_path / "report").read_text()
