"""Export in int8 and float16, of a small network that was trained on drawn faces."""

import csv
import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from components.export_onnx.calibration import Calibration, draw_faces
from components.export_onnx.component import export_onnx
from components.export_onnx.export import export
from components.predict.predict import predict
from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.shared.models.checkpoint import load_checkpoint, save_checkpoint
from serving.runtime.card import METADATA_KEY, ClassificationCard
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.load import load_model
from serving.runtime.registry import MODEL_FILE

OLD = Path(__file__).parents[2] / "written_before"
IMAGES, SPLIT = OLD / "images", OLD / "split.json"
CALIBRATION = Calibration(IMAGES, SPLIT, faces=16)

Exported = dict[str, Path]


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """All faces in the order of their predictions, as the network reads them."""
    card, archive = load_model(str(OLD / "plain")).card, ImageArchive(IMAGES)
    assert isinstance(card, ClassificationCard)
    images = sorted(read_annotations(SPLIT).images, key=lambda image: image.id)
    cut = [decode_crop_resize(archive.read(image.file_name), image.faces[0].box, card) for image in images]
    return torch.from_numpy(np.stack(cut))


@pytest.fixture(scope="module")
def checkpoints(pixels: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network with a head that tells the faces apart as surely as after a long training."""
    source = load_checkpoint(OLD / "plain" / "best.pt")
    with torch.inference_mode():
        logits = source.network().eval()(pixels)
    for state in (source.model_state, source.ema_state or {}):
        for name, value in state.items():
            if name.endswith("fc.weight"):
                value.mul_(100)
            elif name.endswith("fc.bias"):
                value.copy_(100 * (value - logits.mean(dim=0)))
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(source, folder / "best.pt")
    return folder


@pytest.fixture(scope="module")
def exported(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A folder for each precision; that of float32 was written by an earlier version."""
    folder = tmp_path_factory.mktemp("precision") / "fp16"
    result = export(checkpoints, folder, name="faces", precision="fp16")
    assert result.metrics.keys() == {"max_difference"} and 0 < result.max_difference < 5e-3
    assert result.sha256 == hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
    return {"fp32": OLD / "plain", "fp16": folder, "int8": through_component(checkpoints, folder.with_name("int8"))}


def through_component(checkpoints: Path, output: Path) -> Path:
    """Exports in int8 as the pipelines do."""
    logged: dict[str, float] = {}
    model = SimpleNamespace(path=str(output), metadata={})
    export_onnx.python_func(
        checkpoints=SimpleNamespace(path=str(checkpoints)),
        model=model,
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        name="faces",
        precision="int8",
        calibration_faces=CALIBRATION.faces,
        images=SimpleNamespace(path=str(IMAGES)),
        annotations=SimpleNamespace(path=str(SPLIT)),
    )
    assert logged.keys() == {"max_difference", "agreement", "speedup"}
    assert 0 < logged["max_difference"] < 0.15 and 0.8 < logged["agreement"] <= 1 and logged["speedup"] > 0
    assert model.metadata["sha256"] == hashlib.sha256((output / MODEL_FILE).read_bytes()).hexdigest()
    return output


def probabilities(model: Path, output: Path) -> np.ndarray:
    predict(model, IMAGES, SPLIT, output, split="all")
    with output.open(newline="") as table:
        rows = list(csv.DictReader(table))
    return np.array([[float(row[f"mask/{label}"]) for label in ("worn", "incorrect", "absent")] for row in rows])


def test_every_precision_predicts_what_the_network_does(
    checkpoints: Path, pixels: torch.Tensor, exported: Exported, tmp_path: Path
) -> None:
    with torch.inference_mode():
        logits = load_checkpoint(checkpoints / "best.pt").network().eval()(pixels)
    expected = torch.softmax(logits, dim=1).numpy()
    assert len(expected) == 56 and expected.std(axis=0).max() > 0.1, "the faces differ, so agreement means something"
    for name, difference in (("fp16", 5e-3), ("int8", 0.15)):
        table = probabilities(exported[name], tmp_path / f"{name}.csv")
        assert 0 < np.abs(table - expected).max() < difference, name
        np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
        assert (table.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9, name


def test_the_card_has_the_precision_and_the_graph_the_same_input_and_outputs(exported: Exported) -> None:
    graphs = {name: onnx.load(folder / MODEL_FILE).graph for name, folder in exported.items()}
    for name, folder in exported.items():
        card = load_model(str(folder)).card
        assert isinstance(card, ClassificationCard) and card.precision == name
        assert ("precision" in card.to_metadata()[METADATA_KEY]) is (name != "fp32"), "older versions read it"
        assert ("onnxruntime" in card.versions) is (name != "fp32")
        assert [value.name for value in graphs[name].input] == ["images"]
        for ours, float32 in zip(graphs[name].output, graphs["fp32"].output, strict=True):
            assert ours.name == float32.name and ours.type.tensor_type.elem_type == TensorProto.FLOAT


def test_int8_is_unsigned_activations_and_signed_weights_for_each_channel(exported: Exported) -> None:
    graph = onnx.load(exported["int8"] / MODEL_FILE).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    activations = [constants[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert activations and all(zero.dtype == np.uint8 and zero.size == 1 for zero in activations)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) >= 8
    for node in convolutions:
        weights = made_by[node.input[1]]
        values, scales = (constants[name] for name in weights.input[:2])
        assert weights.op_type == "DequantizeLinear" and values.dtype == np.int8
        assert scales.shape == values.shape[:1] and np.unique(scales).size > 1
        assert made_by[node.input[0]].op_type == "DequantizeLinear"
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    assert softmax.output[0] == "mask", "probabilities are not rounded to 256 steps"


def test_fp16_has_its_weights_in_half_the_bytes(exported: Exported) -> None:
    graph = onnx.load(exported["fp16"] / MODEL_FILE).graph
    weights = [tensor for tensor in graph.initializer if tensor.name.endswith("weight")]
    assert weights and {tensor.data_type for tensor in weights} == {TensorProto.FLOAT16}
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    cast = next(node for node in graph.node if softmax.input[0] in node.output)
    assert cast.op_type == "Cast" and cast.attribute[0].i == TensorProto.FLOAT


def kept(splits: tuple[str, ...]) -> Annotations:
    data = read_annotations(SPLIT)
    return replace(data, images=tuple(image for image in data.images if image.split in splits))


def test_the_bytes_depend_on_the_training_faces_alone(checkpoints: Path, exported: Exported, tmp_path: Path) -> None:
    """Without the annotations and the pictures of the other splits the file is the same."""
    only, archive = kept(("train",)), ImageArchive(IMAGES)
    write_annotations(only, tmp_path / "train.json")
    with ArchiveWriter(tmp_path / "images") as writer:
        for image in only.images:
            writer.add(image.file_name, archive.read(image.file_name))

    alone = Calibration(tmp_path / "images", tmp_path / "train.json", faces=16)
    export(checkpoints, tmp_path / "model", name="faces", precision="int8", calibration=alone)
    assert (tmp_path / "model" / MODEL_FILE).read_bytes() == (exported["int8"] / MODEL_FILE).read_bytes()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(checkpoints: Path, exported: Exported, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from components.export_onnx.export import export; "
        "from components.export_onnx.calibration import Calibration; "
        "images, split, checkpoints, out = map(Path, sys.argv[2:]); "
        "print(export(checkpoints, out, name='faces', precision=sys.argv[1], "
        "calibration=Calibration(images, split, 16)).sha256)"
    )
    for name in ("int8", "fp16"):
        done = subprocess.run(
            [sys.executable, "-c", code, name, *map(str, (IMAGES, SPLIT, checkpoints, tmp_path / name))],
            env=os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == hashlib.sha256((exported[name] / MODEL_FILE).read_bytes()).hexdigest()


def test_faces_are_cut_as_they_are_served_and_a_damaged_one_is_replaced(
    exported: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    card = load_model(str(exported["int8"])).card
    assert isinstance(card, ClassificationCard)
    data, archive = read_annotations(SPLIT), ImageArchive(IMAGES)
    cut = {
        split: {
            decode_crop_resize(archive.read(image.file_name), face.box, card).tobytes()
            for image in data.images
            if image.split == split
            for face in image.faces
        }
        for split in ("train", "val")
    }
    faces = draw_faces(CALIBRATION, card)
    assert (len(faces.train), len(faces.held_out)) == (16, 14)
    assert {face.tobytes() for face in faces.train} < cut["train"]
    assert {face.tobytes() for face in faces.held_out} == cut["val"]
    others = draw_faces(replace(CALIBRATION, seed=1), card)
    assert not np.array_equal(others.train, faces.train) and {face.tobytes() for face in others.train} < cut["train"]

    damaged = next(image.file_name for image in data.images if image.split == "train")
    without = replace(data, images=tuple(replace(image, sha256=None) for image in kept(("train",)).images))
    write_annotations(without, tmp_path / "split.json")
    with ArchiveWriter(tmp_path / "images") as writer:
        for image in without.images:
            writer.add(image.file_name, b"none" if image.file_name == damaged else archive.read(image.file_name))
    faces = draw_faces(Calibration(tmp_path / "images", tmp_path / "split.json", faces=100), card)
    assert len(faces.train) == 27 and faces.held_out is faces.train
    assert damaged in caplog.text and "1 faces could not be used to calibrate" in caplog.text


def test_what_int8_needs(checkpoints: Path, tmp_path: Path) -> None:
    def refused(message: str, error: type[Exception] = InputError, **options: Any) -> None:
        with pytest.raises(error, match=message):
            export(checkpoints, tmp_path / "model", name="x", **{"precision": "int8", **options})
        assert not (tmp_path / "model").exists()

    refused("precision: unknown 'int4', did you mean 'int8'.; known: fp16, fp32, int8", precision="int4")
    refused("precision int8 is calibrated on faces: give images and annotations")
    refused("calibration_faces: must be at least 1, got 0", calibration=replace(CALIBRATION, faces=0))
    write_annotations(kept(("val", "test")), tmp_path / "others.json")
    others = Calibration(IMAGES, tmp_path / "others.json", faces=4)
    refused("others.json: no usable face with a label of 'mask' is in split 'train'", calibration=others)
    refused("no-images", NotFoundError, calibration=replace(CALIBRATION, images=tmp_path / "no-images"))
