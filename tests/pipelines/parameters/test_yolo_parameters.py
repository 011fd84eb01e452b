"""The parameters of pipelines that train with ultralytics: which pipeline is meant, what is wrong, what is called."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from components.train_yolo.config import NOT_DOWNLOADED, YoloConfig
from pipelines.command.config import find_config, resolve
from pipelines.emotion import EmotionConfig, EmotionYoloConfig
from pipelines.environment.settings import Settings
from pipelines.face_detection import FaceDetectionConfig
from pipelines.local.run import check
from pipelines.parameters.addresses import check_addresses
from serving.runtime.errors import InputError

EMOTION = "pipeline: emotion\n"
YOLO = f"{EMOTION}model: yolo11n-cls.yaml\n"
DETECTION = "pipeline: face_detection\n"


def resolved(tmp_path: Path, text: str) -> Any:
    (tmp_path / "mine.yaml").write_text(text)
    return resolve(str(tmp_path / "mine.yaml"), (), {})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("resnet18", EmotionConfig),
        ("poster_v2", EmotionConfig),
        ("their_package.nets:Net", EmotionConfig),
        ("yolo11n-cls.yaml", EmotionYoloConfig),
        ("nets/Mine.YML", EmotionYoloConfig),
        ("s3://weights/best.pt", EmotionYoloConfig),
    ],
)
def test_the_model_says_what_trains_the_classifier(model: str, expected: type, tmp_path: Path) -> None:
    trust = "training: {trust_weights: true}" if model.startswith("s3:") else ""
    text = f"{EMOTION}model: {model}\nimage_height: 224\nimage_width: 224\n{trust}"
    assert type(resolved(tmp_path, text)) is expected
    assert type(resolve("", ["pipeline=emotion", "model=yolo11n-cls.yaml"], {})) is EmotionYoloConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the detector, in all pipelines that train one
        (DETECTION + "detector: {epoch: 3}", "detector.epoch = 3: "),
        (DETECTION + "detector: {epochs: 0}", "detector.epochs = 0: Input should be greater than or equal to 1"),
        (DETECTION + "detector: {imgsz: 100}", "detector.imgsz = 100: Input should be a multiple of 32"),
        (DETECTION + "detector: {task: classify}", "detector.task = 'classify': follows from the pipeline"),
        (DETECTION + "detector: {seed: 1}", "detector.seed = 1: is a parameter of its own: write it as seed"),
        (DETECTION + "detector: {model: yolo11n}", "detector.model = 'yolo11n': expected a .yaml"),
        (DETECTION + "detector: {data: a}", "detector.data = 'a': "),
        (DETECTION + "detector: {label_space: moods}", "detector.label_space = 'moods': "),
        (
            DETECTION + "detector: {label_space: all}",
            "detector.label_space = 'all': has several",
        ),
        (DETECTION + "detector: {hsv_hh: 1}", "detector.hsv_hh = 1: "),
        (DETECTION + "detector: {pretrained: false}", "detector.pretrained = False: is called model here"),
        (DETECTION + "detector: 3", "detector = 3: Input should be a valid dictionary"),
        (
            DETECTION + "detector: {model: s3://raw/best.pt}",
            "detector.model = 's3://raw/best.pt': is a pickle, which can run anything: set trust_weights: true",
        ),
        (DETECTION + "detector_name: a/b", "detector_name = 'a/b': use letters, digits"),
        (DETECTION + "detector_floors: {macro_f1: 1}", "detector_floors.macro_f1 = 1.0: no metric of that name can"),
        (DETECTION + "detector_floors: {map50: 50}", "detector_floors.map50 = 50.0: a floor lies between 0 and 1"),
        (DETECTION + "split_options: {mod: all}", "split_options.mod = 'all': unknown key, did you mean 'mode'?"),
        (DETECTION + "label_space: mask", "label_space = 'mask': unknown key"),
        (EMOTION + "detector: {epochs: x}", "detector.epochs = 'x': Input should be a valid integer"),
        (YOLO + "detector: {epochs: x}", "detector.epochs = 'x': Input should be a valid integer"),
        # the classifier
        (YOLO + "training: {epochs: 3}", "training.epochs = 3: is a parameter of its own: write it as epochs"),
        (YOLO + "training: {batch: 3}", "training.batch = 3: is a parameter of its own: write it as batch_size"),
        (YOLO + "training: {imgsz: 64}", "training.imgsz = 64: is a parameter of its own: write it as image_height"),
        (YOLO + "training: {lr: 0.1}", "training.lr = 0.1: is a parameter of its own: write it as learning_rate"),
        (YOLO + "training: {ema_decay: 0.1}", "training.ema_decay = 0.1: "),
        (YOLO + "training: {optimizer: adamm}", "training.optimizer = 'adamm': unknown optimizer, did you mean 'Adam"),
        (YOLO + "batch_size: 0", "batch_size = 0: Input should be greater than or equal to 1"),
        (YOLO + "image_width: 96", "image_width = 96: the input of a YOLO classifier is square: write 224"),
        (YOLO + "image_height: 50\nimage_width: 50", "image_height = 50: Input should be a multiple of 32"),
        (YOLO + "learning_rate: 0.1", "learning_rate = 0.1: the optimizer auto chooses its own: name another by"),
        (YOLO + "learning_rate: 7\ntraining: {optimizer: SGD}", "learning_rate = 7.0: Input should be less than or"),
        (YOLO + "label_space: all", "label_space = 'all': has several heads"),
        (YOLO + "label_space: moods", "label_space = 'moods': "),
        (EMOTION + "model: s3://raw/best.pt", "model = 's3://raw/best.pt': is a pickle, which can run anything"),
        (EMOTION + "training: {dropout: 2, ema_deca: 1}", "training.dropout = 2: "),
        (YOLO + "floors: {map50: 0.5}", "floors.map50 = 0.5: no metric of that name can have a floor"),
        # the chain
        (
            EMOTION + "faces: {detectors: [dlib_hog]}",
            "faces.detectors = ['dlib_hog']: the detector of this run finds no",
        ),
        (
            EMOTION + "faces: {detectors: [{trained: {model: a}}]}",
            "faces.detectors.0.trained.model = 'a': unknown key; known: name, nms_iou, score, tile",
        ),
        (
            EMOTION + "faces: {detectors: [{trained: {name: mine}}]}",
            "faces.detectors.0.trained.name = 'mine': is registered as face_detector: write that as detector_name",
        ),
        (YOLO + "faces: {crops: {scale: 1.4}}", "faces.crops.scale = 1.4: is less than the training reads: 1.625"),
        (YOLO + "faces: {fallback: keep}", "faces.fallback = 'keep': unknown name"),
        # the names
        (
            EMOTION + "detector_name: emotions",
            "detector_name = 'emotions': is the name of another model, see model_name",
        ),
        (
            EMOTION + "composite: face_detector",
            "detector_name = 'face_detector': is the name of another model, see com",
        ),
        (EMOTION + "composite: emotions", "composite = 'emotions': is the name of the classifier, see model_name"),
    ],
)
def test_a_problem_is_said_before_anything_starts(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        resolved(tmp_path, text)
    lines = [line.partition(": ")[2] for line in str(refused.value).splitlines()]
    assert any(line.startswith(expected) for line in lines), lines


def test_the_config_names_commands_that_take_another_classifier() -> None:
    text = re.sub(r"\n# ", " ", find_config("emotion_yolo").read_text(encoding="utf-8"))
    commands = [shlex.split(command) for command in re.findall(r"`(--set [^`]+)`", text)]
    models = []
    for command in commands:
        assert set(command[::2]) == {"--set"}
        config = resolve("emotion_yolo", command[1::2], {})
        assert isinstance(config, EmotionConfig) and config.train_config
        models.append(config.model)
    assert models == ["resnet18", "poster_v2"]


def test_the_options_are_checked_without_ultralytics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ultralytics" else whole(name))
    with pytest.raises(InputError, match=r"detector\.imgsz = 100: Input should be a multiple of 32"):
        resolved(tmp_path, DETECTION + "detector: {imgsz: 100}")
    assert resolved(tmp_path, YOLO).model == "yolo11n-cls.yaml"


def test_a_run_without_ultralytics_says_so_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.local.run.find_spec", lambda name: None)
    settings = Settings.from_environment({"FACET_HOME": str(tmp_path / "home")})
    with pytest.raises(InputError, match="face_detection trains with ultralytics, not installed here; run make setup"):
        check(FaceDetectionConfig(), settings)


@pytest.mark.parametrize(
    ("detector", "model", "expected"),
    [
        ({}, "yolo11n-cls.yaml", []),
        ({"model": "yolov8s.yaml"}, "yolov8-cls.yaml", []),
        ({"model": "rtdetr-l.yaml"}, "yolo11n-cls.yaml", []),
        ({"model": "yolo11n-pose.yaml"}, "yolo11n-cls.yaml", []),
        (
            {"model": "yolo11n-cls.yaml"},
            "yolo11n-cls.yaml",
            ["detector.model = 'yolo11n-cls.yaml': .*ends with Classify"],
        ),
        (
            {"model": "yolo11n-seg.yaml"},
            "yolo11n.yaml",
            ["model.*ends with Detect", "detector.model.*ends with Segment"],
        ),
        ({"model": "yolo99n.yaml"}, "yolo11n-cls.yaml", ["detector.model = 'yolo99n.yaml': does not exist, and ultra"]),
        ({"model": "FOLDER/none.pt"}, "FOLDER/none.pt", ["model = .*does not exist", "detector.model = .*does not"]),
        ({"model": "FOLDER/text.yaml"}, "yolo11n-cls.yaml", ["detector.model = .*is no network of ultralytics"]),
        ({"model": "yolo11n.pt"}, "yolo11n-cls.yaml", [f"detector.model = 'yolo11n.pt': {NOT_DOWNLOADED}"]),
        (
            {"model": "FOLDER/text.pt"},
            "FOLDER/empty.pt",
            ["model = .*is no checkpoint of torch", "detector.model"],
        ),
        (
            {"model": "FOLDER/zip.pt"},
            "FOLDER/folder.pt",
            ["model = .*is a folder", "detector.model = .*is no ch"],
        ),
        ({"model": "FOLDER/good.pt"}, "FOLDER/good.pt", []),
        ({"model": "yolo11n.pt", "download_weights": True}, "yolo11n-cls.yaml", []),
        ({"resume": "FOLDER"}, "yolo11n-cls.yaml", ["detector.resume = .*there is no last.pt of a training"]),
    ],
)
def test_networks_and_weights_are_looked_for(
    detector: dict[str, Any], model: str, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "text.yaml").write_text("nothing")
    (tmp_path / "text.pt").write_text("nothing")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "folder.pt").mkdir()
    for name in ("good", "zip"):
        with ZipFile(tmp_path / f"{name}.pt", "w") as archive:
            archive.writestr("x/data.pkl" if name == "good" else "x.txt", "x")
    located = {key: str(value).replace("FOLDER", str(tmp_path)) if key != "download_weights" else value
               for key, value in detector.items()}  # fmt: skip
    config = EmotionYoloConfig(detector=located, model=model.replace("FOLDER", str(tmp_path)))
    lines: list[str] = []
    try:
        check_addresses(config.addresses(), on_cluster=False, echo=print)
    except InputError as error:
        lines = str(error).splitlines()
    assert len(lines) == len(expected)
    for line, message in zip(lines, expected, strict=True):
        assert re.match(message, line), line


def test_what_the_pipelines_are_called_with(tmp_path: Path) -> None:
    config = resolved(
        tmp_path,
        f"{YOLO}learning_rate: 0.01\ntraining: {{optimizer: SGD}}\n"
        "detector: {model: yolov8n.yaml, imgsz: 96, epochs: 2, mosaic: 0.5}",
    )
    arguments = config.arguments()
    assert arguments["training"] == {"optimizer": "SGD", "lr": 0.01}
    assert not {"learning_rate", "image_width"} & arguments.keys()
    assert "detector" not in arguments and arguments["detector_options"] == {"mosaic": 0.5}
    typed = {name: arguments[f"detector_{name}"] for name in ("model", "imgsz", "epochs", "batch", "label_space")}
    assert typed == {"model": "yolov8n.yaml", "imgsz": 96, "epochs": 2, "batch": 16, "label_space": ""}
    assert arguments["detectors"] == ["trained"]
    assert config.train_config == YoloConfig(
        task="classify", label_space="emotion", model="yolo11n-cls.yaml", epochs=30, batch=32, imgsz=224, seed=0,
        lr=0.01, optimizer="SGD",
    )  # fmt: skip
    assert resolve("", ["pipeline=emotion"], {}).arguments()["learning_rate"] == 0.001
