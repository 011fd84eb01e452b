"""Every option of every step with values that nobody wants: one message, no traceback, a documented exit code."""

import inspect
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import facet
from drawn_landmarks import EYE_CORNERS_AND_NOSE, train
from kfp import dsl
from tiny_detector import build_detector
from tiny_model import build_model
from video_clips import write_clip

from components.detect_faces.adopt import adopt_detectors
from components.detect_faces.detect import detect_faces
from components.predict.shard import predict_shard
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from components.shared.options import imported
from pipelines.catalog import STEPS
from pipelines.samples.profiles import draw_sample

CODES = (0, 1, 2, 3)
EACH = 4
"""Values drawn for an option."""

DIGITS = "9" * 5000
DEEP = "[" * 100_000
TEXTS = ("", " ", "\udcff", "x" * 5000, "../..", "기쁨", "{", "a/b:c@d", "nan", "a\nb", "-")
NUMBERS = ("-1", "0", "1e999", "nan", DIGITS, "x", "-99999999999999999999", "1e308", "2147483648", "")
STRUCTURES = (
    "{", "[]", "{}", "[1]", "[null]", "[[1]]", '["x"]', DEEP, '{"a":' * 50_000, '{"a": 1e999}', '[{"a": 1e999}]',
    f'{{"a": {DIGITS}}}', f'[{{"number": {DIGITS}}}]', '{"": {}}', "key", "a.b.c=[[[[", f"a={'[' * 2000}",
    f"a={DIGITS}", "a=.inf", "a=!!python/object:x y", "a=2024-13-45", "a=\udcff", "a=1", "a={b: 1}", "=", "a..b=1",
    '{"epochs": null}',
    '{"epochs": "x"}', '{"mode": []}', "number=1", '[{"number": 0}]', '[{"number": -1, "changes": {}}]',
    '[{"number": 7, "changes": {"epochs": 1}, "score": 0.5}]', '[{"number": 0, "changes": {}, "score": 0.5}]',
    '[{"number": 0, "changes": {"epochs": 9}}, {"number": 0, "changes": {"epochs": 1}}]',
)  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps read, made once."""
    work = tmp_path_factory.mktemp("garbage")
    draw_sample(work / "faces", persons=4)
    made = facet("step", "ingest", "--source", work / "faces", "--images", work / "images", "--annotations", work / "a")
    assert made.returncode == 0, made.stderr
    made = facet("step", "split-folds", "--annotations", work / "a", "--split-annotations", work / "folds",
                 "--label-space", "gender", "--folds", "3")  # fmt: skip
    assert made.returncode == 0, made.stderr
    images = [Image(n, f"{n}.jpg", 9, 9, (Face(n, None, {"gender": "male"}),), split="test") for n in (1, 2)]
    write_annotations(Annotations(tuple(images)), work / "truth")
    values = np.array([[1, 0], [0, 1]], np.float32)
    faces = tuple(PredictedFace(n, n, f"{n}.jpg", None) for n in (1, 2))
    write_predictions(Predictions(faces, {"gender": values}, label_space("gender"), "m", "v"), work / "predictions")
    (work / "model").mkdir()
    (work / "model/model.onnx").write_bytes(build_model())
    (work / "green.onnx").write_bytes(build_detector())
    train(work / "points.dat", EYE_CORNERS_AND_NOSE, pictures=4)
    (work / "detector").mkdir()
    (work / "detector/model.onnx").write_bytes(build_detector())
    write_clip(work / "clip.mp4", frames=3)
    adopt_detectors(work / "detectors", [{"onnx": str(work / "green.onnx")}])
    detect_faces(work / "images", work / "detectors", work / "found", annotations=work / "a")
    predict_shard(work / "images", work / "a", work / "shard", [str(work / "detector")])
    return work


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Paths of what is no artifact: files and folders in each other's place, damaged and endless documents."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, content in {
        "empty": b"",
        "binary": bytes(range(256)) * 20,
        "deep": DEEP.encode(),
        "deep_info": b'{"images":[],"annotations":[],"info":' + DEEP.encode(),
        "digits": b'{"images": [{"id": %s}]}' % DIGITS.encode(),
        "infinite": b'{"images": [{"id": 1e999}]}',
        "null": b"null",
        "broken.zip": b"PK\3\4" + b"\0" * 40,
        "other.csv": b"a,b\n1,2\n",
    }.items():
        (folder / name).write_bytes(content)
    for name in ("folder", "zip_folder/images-00000.zip", "onnx_folder/model.onnx", "checkpoint_folder/best.pt"):
        (folder / name).mkdir(parents=True)
    (folder / "onnx").mkdir()
    (folder / "onnx/model.onnx").write_bytes(b"garbage")
    (folder / "loop").symlink_to(folder / "loop")
    return [*sorted(folder.iterdir()), folder / "missing", "/dev/null", "x" * 300, "\udcff", ""]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Paths where nothing can be written."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "file").write_text("")
    (folder / "full").mkdir()
    (folder / "full/file").write_text("")
    return [folder / "full", folder / "file/below/it", "/proc/nothing/x", folder / ("x" * 300), "/dev/null/x", "", "."]


def _valid(step: str, work: Path, out: Path) -> Mapping[str, Any]:
    """Arguments with which the step runs, or fails late."""
    annotated = {"images": work / "images", "annotations": work / "a"}
    space = {"space": '{"epochs": [1, 2, 3, 4, 5]}', "method": "random", "seed": 0}
    outcomes = [{"number": n, "changes": {"epochs": n + 1}, "score": n / 10} for n in range(3)]
    training = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "image_height": 32, "image_width": 32, "seed": 0}
    report = {"report": out / "report"}
    arguments: dict[str, dict[str, Any]] = {
        "ingest": {"source": work / "faces", "images": out / "i", "annotations": out / "a"},
        "curate": {"annotations": work / "a", "curated_annotations": out / "a"},
        "split": {"annotations": work / "a", "split_annotations": out / "a", "label_space": "gender"},
        "split_folds": {"annotations": work / "a", "split_annotations": out / "a", "label_space": "gender"},
        "take_fold": {"annotations": work / "folds", "fold_annotations": out / "a", "fold": 0},
        "data_report": annotated | report,
        "crop_faces": annotated | {"crops": out / "c"},
        "adopt_detectors": {"detectors": out / "d", "chain": json.dumps([{"onnx": str(work / "green.onnx")}])},
        "detection_shards": {"annotations": work / "a"},
        "detect_faces": annotated | {"detectors": work / "detectors", "detections": out / "d"},
        "choose_faces": annotated | report | {"detections": work / "found", "detected_annotations": out / "a",
                                              "listing": out / "l", "options": '{"fallback": "whole_image"}'},
        "adopt_detector": {"model": out / "m", "weights": work / "green.onnx", "name": "x"},
        "export_yolo": {"exported": out / "m", "weights": work / "green.onnx", "name": "x"},
        "landmarks": annotated | {"landmarks_annotations": out / "a", "coordinates": out / "c", "pictures": out / "p",
                                  "listing": out / "l", "options": json.dumps({"weights": str(work / "points.dat")})},
        "annotate_video": {"model": work / "detector", "video": work / "clip.mp4", "labels": out / "l",
                           "annotated": out / "v"},
        "draw_faces": annotated | {"pictures": out / "p"},
        "export_dataset": annotated | {"dataset": out / "d", "label_space": "gender"},
        "suggest": space | {"trials": 5},
        "train_classifier": annotated | training | {"checkpoints": out / "c", "label_space": "gender", "model": "x"},
        "train_yolo": annotated | {"checkpoints": out / "c", "exported": out / "e", "name": "x", "model": "x"},
        "leaderboard": space | report | {"label_space": "gender", "past": "[]", "outcomes": json.dumps(outcomes)},
        "export_onnx": {"checkpoints": work / "model", "model": out / "m", "name": "x"},
        "combine_models": {"model": out / "m", "name": "x", "weights": json.dumps([str(work / "model")] * 2)},
        "quantize": annotated | report | {"model": work / "model", "quantized": out / "q"},
        "predict": annotated | {"model": work / "model", "predictions": out / "p", "split": "all"},
        "resolve_models": {"models": json.dumps([str(work / "detector"), "models:/x/1"])},
        "predict_shard": annotated | {"models": json.dumps([str(work / "detector")]), "predictions": out / "p"},
        "gather_predictions": {"predictions": work / "shard", "annotations": work / "a", "table": out / "t"},
        "calibrate": {"model": work / "model", "predictions": work / "predictions", "annotations": work / "truth",
                      "calibrated": out / "c"} | report,
        "evaluate": {"predictions": work / "predictions", "annotations": work / "truth"} | report | {
            "details": out / "details", "model": work / "model", "images": work / "images"},
        "vote": {"tables": work / "predictions", "table": out / "t"},
        "evaluate_folds": {"predictions": work / "predictions", "annotations": work / "folds"} | report,
        "register": {"model": work / "model", "name": "faces", "metrics_json": "{}"},
        "promote": {"model": work / "model", "predictions": work / "predictions", "images": work / "images",
                    "annotations": work / "truth", "name": "faces", "version": "1"} | report,
    }  # fmt: skip
    return arguments[step]


@pytest.mark.parametrize("step", STEPS)
def test_garbage_is_one_message(
    step: str,
    work: Path,
    inputs: list[object],
    outputs: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    server = request.getfixturevalue("mlflow_url") if step in ("register", "promote") else ""
    component = imported("component", STEPS[step].component)
    draw = random.Random(step)
    calls = 0
    for option, parameter in inspect.signature(component.python_func).parameters.items():
        spec = component.component_spec.inputs.get(option)
        artifact = "Artifact" in str(spec.type) or "system." in str(spec.type) if spec else True
        if (spec is None and dsl.Metrics.__name__ in str(parameter.annotation)) or parameter.annotation is bool:
            continue
        values: list[object] = outputs if spec is None else inputs if artifact else _values(str(spec.type))
        for value in draw.sample(values, min(EACH, len(values))):
            given = {**_valid(step, work, tmp_path / f"{calls}"), option: value}
            options = [part for name, one in given.items() for part in (f"--{name.replace('_', '-')}", one)]
            answer = facet("step", step.replace("_", "-"), *options, tracking_uri=server)
            calls += 1
            said = f"--{option} {str(value)[:80]!a}: {answer.returncode} {answer.stderr[-600:]}"
            assert answer.returncode in CODES, said
            assert "Traceback" not in answer.stderr, said
            assert len(answer.stderr.strip().splitlines()) <= 6 and len(answer.stderr) < 2500, said
            assert (answer.returncode == 0) or answer.stderr.strip(), said
    assert calls >= EACH


def _values(kind: str) -> list[object]:
    return list(STRUCTURES if kind.startswith(("Dict", "List")) else TEXTS if kind == "String" else NUMBERS)
