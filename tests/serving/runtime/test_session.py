"""Sessions check every kind of graph against its card; only the tasks with a predictor are served."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_model import detection_facts

from serving.runtime.card import METADATA_KEY
from serving.runtime.errors import InputError
from serving.runtime.load import PREDICTORS, open_model
from serving.runtime.session import Session


def detector(boxes: tuple[int, ...] = (6, 4), scores: tuple[int, ...] = (6, 1), **changes: Any) -> bytes:
    """Build a graph whose boxes and scores are the mean color of the image, in the shape of a detector's outputs."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
    ]
    outputs, weights = [], []
    for name, shape in (("boxes", boxes), ("scores", scores)):
        weights.append(numpy_helper.from_array(np.array([-1, *[1] * len(shape)], np.int64), f"{name}.column"))
        weights.append(numpy_helper.from_array(np.ones((1, *shape), np.float32), f"{name}.ones"))
        nodes.append(helper.make_node("Reshape", ["mean", f"{name}.column"], [f"{name}.mean"]))
        nodes.append(helper.make_node("Mul", [f"{name}.mean", f"{name}.ones"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", *shape)))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ("N", 40, 32, 3))
    graph = helper.make_graph(nodes, "detector", [images], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(detection_facts(**changes))})
    return model.SerializeToString()


def test_a_detector_is_checked_and_run_by_its_card() -> None:
    session = Session(detector())
    assert {name: values.shape for name, values in session.check_graph().items()} == {
        "boxes": (2, 6, 4),
        "scores": (2, 6, 1),
    }
    outputs = session.run(np.full((70, 40, 32, 3), 9, np.uint8))
    assert outputs["boxes"].shape == (70, 6, 4) and np.all(outputs["boxes"] == 9)
    assert session.run(np.zeros((0, 40, 32, 3), np.uint8))["boxes"].shape == (0, 0, 4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (detector(boxes=(6, 5)), r"'boxes' is float32 \(2, 6, 5\), but the card requires float32 \(2, any, 4\)"),
        (detector(scores=(6,)), r"'scores' is float32 \(2, 6\)"),
        (detector(labels=["face", "mask"]), r"requires float32 \(2, any, 2\)"),
        (detector(points=["nose"]), r"gives \['boxes', 'scores'\], but the card names .*'points'"),
    ],
)
def test_a_detector_that_differs_from_its_card_is_refused(model: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Session(model).check_graph()


def test_a_checkpoint_is_no_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.pt", "w") as archive:
        archive.writestr("best/data.pkl", b"x")
    message = r"best.pt: a checkpoint of torch \(.pt\), or another ZIP archive, and what is served is a model.onnx"
    with pytest.raises(InputError, match=message):
        Session((tmp_path / "best.pt").read_bytes(), source="best.pt")


def test_a_task_without_a_predictor_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(PREDICTORS, "detection")
    with pytest.raises(InputError, match="a model of task 'detection'; this version serves models of task classific"):
        open_model(detector())


@pytest.mark.parametrize("location", ["w.bin", "../folder/w.bin", "sub/../w.bin"])
def test_weights_in_another_file_are_refused(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory may hold a file of that name, which no digest of the model covers."""
    model = onnx.load_from_string(detector())
    tensor = next(one for one in model.graph.initializer if one.name == "boxes.ones")
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "w.bin").write_bytes(tensor.raw_data)
    external = {"location": location, "offset": "0", "length": str(len(tensor.raw_data))}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in external.items():
        tensor.external_data.add(key=key, value=value)
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="m.onnx: its weights are in another file.*inside the model"):
        Session(model.SerializeToString(), source="m.onnx")
