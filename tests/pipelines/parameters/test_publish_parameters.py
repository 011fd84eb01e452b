"""What is wrong with the parameters that judge and publish a model is said before anything starts."""

from pathlib import Path

import pytest

from pipelines.command.config import resolve
from serving.runtime.errors import InputError

CROSS = "pipeline: cross_validation\n"
EMOTION = "pipeline: emotion\n"
YOLO = EMOTION + "model: yolo11n-cls.yaml\nimage_height: 224\nimage_width: 224\n"


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "config.yaml"
    file.write_text(text)
    try:
        resolve(str(file), (), {})
    except InputError as error:
        return str(error).replace(f"{file}: ", "").splitlines()
    return []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("precision: int4", "precision = 'int4': unknown name, did you mean 'int8'?; known: fp16, fp32, int8"),
        ("calibration_faces: 64", "calibration_faces = 64: is for precision int8, and precision is fp32: leave it out"),
        (
            "calibration_faces: 64\nprecision: fp16",
            "calibration_faces = 64: is for precision int8, and precision is fp16",
        ),
        ("max_f1_drop: 0.02", "max_f1_drop = 0.02: is for precision int8 or fp16, and precision is fp32: leave it out"),
        ("max_f1_drop: 2\nprecision: int8", "max_f1_drop = 2: Input should be less than or equal to 1"),
        ("false_alarm_rate: 1", "false_alarm_rate = 1: Input should be less than 1"),
        (
            "label_space: emotion\nfalse_alarm_rate: 0.1",
            "false_alarm_rate = 0.1: label space 'emotion' does not tell worn",
        ),
        (
            "false_alarm_rate: 0.02\nnotify_threshold: 0.7",
            "false_alarm_rate = 0.02: chooses the threshold of the notice, and notify_threshold = 0.7 gives it: leave",
        ),
        (
            "false_alarm_rate: 0.02\nval_ratio: 0",
            "false_alarm_rate = 0.02: the threshold of the notice is chosen on the",
        ),
        (YOLO + "features: true", "features = True: a classifier of ultralytics is exported without its feature map"),
        ("promotion_confidence: 0.5", "promotion_confidence = 0.5: Input should be greater than 0.5"),
        ("promotion_confidence: 95", "promotion_confidence = 95: Input should be less than 1"),
        ("resamples: -1", "resamples = -1: Input should be greater than or equal to 0"),
        ("temperature: 2", "temperature = 2: Input should be a valid boolean"),
        ("temprature: true", "temprature = True: unknown key, did you mean 'temperature'?"),
        (YOLO + "false_alarm_rate: 0.1", "false_alarm_rate = 0.1: label space 'emotion' does not tell worn masks"),
        (
            CROSS + "precision: int8",
            "precision = 'int8': is for a model that is registered, and a cross-validation regi",
        ),
        (
            CROSS + "temperature: false",
            "temperature = False: is for a model that is registered, and a cross-validation",
        ),
        (
            EMOTION + "precision: int8\nmodel_name: moods\ncomposite: moods_int8",
            "composite = 'moods_int8': is the name of the classifier, see model_name: take another",
        ),
        (
            EMOTION + "precision: int8\nmodel_name: moods\ndetector_name: moods_int8",
            "detector_name = 'moods_int8': is the name of another model, see model_name: take another",
        ),
    ],
)
def test_a_wrong_value_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        "precision: int8\ncalibration_faces: 64\nmax_f1_drop: 0.02",
        "precision: fp16\nmax_f1_drop: 0",
        "label_space: mask\nfalse_alarm_rate: 0.02",
        "false_alarm_rate: 0.02\nval_ratio: 0\nsplit_options: {mode: all}",
        "temperature: false\nresamples: 0\npromotion_confidence: 0.99",
        YOLO + "precision: int8",
        EMOTION + "model_name: moods\ncomposite: moods_int8",
    ],
)
def test_what_goes_together(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == []
