"""Networks to start from, and files that are none."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.train_yolo.config import NOT_DOWNLOADED
from components.train_yolo.library import tasks
from components.train_yolo.weights import fetch_weights, load_weights, read_description, start_description
from serving.runtime.errors import InputError, NotFoundError

RAN: list[str] = []


def run_code(text: str) -> None:
    RAN.append(text)


class Evil:
    """Runs code where its pickle is read."""

    def __reduce__(self) -> Any:
        return run_code, ("ran",)


def network(kind: str, **options: Any) -> Any:
    """A network of ultralytics with random weights."""
    makers = {"pose": tasks.PoseModel, "seg": tasks.SegmentationModel, "cls": tasks.ClassificationModel}
    return makers[kind](tasks.yaml_model_load(f"yolov8n-{kind}.yaml"), verbose=False, **options)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": [1, 2]}))


def a_state_dict(path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2)}}, path)


def another_network(path: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2)}, path)


def a_network_alone(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def a_text(path: Path) -> None:
    path.write_text("hello")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def a_picture(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))


def a_script(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)


def a_list(path: Path) -> None:
    torch.save([1, 2], path)


def another_class(path: Path) -> None:
    torch.save({"model": torch.nn.Identity(), "extra": run_code}, path)


def a_changed_file(path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(2000)}}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "write",
    [
        *(plain_pickle, a_state_dict, another_network, a_network_alone, a_text, nothing, a_changed_file, a_picture),
        *(a_script, a_list, another_class),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_what_is_no_checkpoint_is_one_message(write: Callable[[Path], None], trust: bool, tmp_path: Path) -> None:
    write(tmp_path / "x.pt")
    with pytest.raises(InputError, match="x.pt") as error:
        fetch_weights(str(tmp_path / "x.pt"), tmp_path, trust=trust)
    message = str(error.value)
    assert "\n" not in message and "❌" not in message and len(message) < 400
    assert ("trust_weights" in message) == (write is another_class and not trust), message


def test_code_in_a_file_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    torch.save({"model": Evil()}, tmp_path / "x.pt")
    RAN.clear()
    for trust in (False, True):
        with pytest.raises(InputError):
            fetch_weights(str(tmp_path / "x.pt"), tmp_path, trust=trust)
        assert bool(RAN) is trust
    with pytest.raises(InputError):  # trust ends with the call
        fetch_weights(str(tmp_path / "x.pt"), tmp_path)
    assert len(RAN) == 1


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("yolo11n.pt", NotFoundError, NOT_DOWNLOADED),
        ("yolo11n-face.pt", NotFoundError, "ultralytics publishes none of this name"),
        ("some/folder/yolo11n.pt", NotFoundError, "there is no such file"),
        ("s3://models/yolo11n.pt", InputError, "set trust_weights"),
    ],
)
def test_what_is_not_here_is_not_fetched(
    address: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        fetch_weights(address, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_task_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    torch.save({"model": network("seg")}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="its last layer is Segment, which cannot be served"):
        fetch_weights(str(tmp_path / "x.pt"), tmp_path)


def test_a_pose_network_is_a_start_for_detection(tmp_path: Path) -> None:
    """As the predecessor's yolov8n-face.pt: one class, five points."""
    pose = network("pose", nc=1, data_kpt_shape=[5, 3])
    pose.names = {0: "face"}
    torch.save({"model": pose.half(), "train_args": {"task": "pose"}, "epoch": -1}, tmp_path / "face.pt")
    weights: Any = load_weights(str(tmp_path / "face.pt"), tmp_path)
    description = start_description(weights.yaml, "detect", "face.pt")
    detector = tasks.DetectionModel(description, nc=1, verbose=False)
    detector.names = {0: "face"}
    detector.load(weights, verbose=False)
    assert type(detector.model[-1]).__name__ == "Detect" and weights.yaml["head"][-1][-2] == "Pose"
    own, start = detector.state_dict(), weights.state_dict()
    assert own.keys() < start.keys()
    assert all(torch.equal(tensor, start[name]) for name, tensor in own.items())
    assert all(name.startswith("model.22.cv4") for name in start.keys() - own.keys())


def test_a_network_of_another_task_is_no_start() -> None:
    with pytest.raises(InputError, match="is a network for classify, and the task is detect; expected one for detect"):
        start_description(read_description("yolo11n-cls.yaml"), "detect", "yolo11n-cls.yaml")
    with pytest.raises(InputError, match="expected one for classify"):
        start_description(read_description("yolo11n.yaml"), "classify", "yolo11n.yaml")


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov5n", "yolov6n", "yolov8n", "yolov9t", "yolov10n", "yolo11n",
                                  "yolo12n", "yolo26n", "rtdetr-l"])  # fmt: skip
def test_every_family_is_a_start_for_detection(name: str) -> None:
    assert start_description(read_description(f"{name}.yaml"), "detect", name)["head"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1", "has no head"),
        ("- 1", "does not describe a network"),
        ("{", "does not describe a network"),
        ("backbone: []\nhead: [[-1, 1, Segment, [nc]]]", "its last layer is Segment"),
    ],
)
def test_a_wrong_description_is_one_message(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        read_description(str(tmp_path / "own.yaml"))


def test_a_missing_description_names_a_near_one() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'yolo12.yaml'"):
        read_description("yolo12q.yaml")


def test_a_description_never_has_weights_of_torchvision() -> None:
    description = start_description(read_description("yolo11-cls-resnet18.yaml"), "classify", "x")
    layers = [layer for layer in description["backbone"] if layer[2] == "TorchVision"]
    assert layers and all(layer[3][2] is None for layer in layers)
