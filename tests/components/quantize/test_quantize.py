"""int8 and float16 of a small network that was trained on drawn faces."""

import csv
import functools
import hashlib
import io
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as PilImage
from tiny_detector import build_detector
from tiny_model import build_model

from components.calibrate.graph import temper
from components.export_onnx.export import export
from components.predict.predict import predict
from components.quantize.component import quantize as component
from components.quantize.faces import LabeledFaces
from components.quantize.precision import to_fp16, to_int8
from components.quantize.quantize import quantize
from components.quantize.rewrite import prepare
from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.shared.dataset.label_spaces import label_space
from components.shared.metrics.classification import label_scores
from components.shared.models.checkpoint import load_checkpoint, save_checkpoint
from components.shared.models.network import HeadProbabilities, build_network
from components.shared.models.spec import resolve_model
from components.shared.models.trace import trace
from serving.runtime.card import METADATA_KEY, ClassificationCard, Normalization
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.load import load_model
from serving.runtime.registry import MODEL_FILE

OLD = Path(__file__).parents[2] / "written_before"
IMAGES, SPLIT = OLD / "images", OLD / "split.json"
FACES = 16
LABELS = ("worn", "incorrect", "absent")

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
    """A folder for each precision."""
    folder = tmp_path_factory.mktemp("precision")
    export(checkpoints, folder / "fp32", name="faces")
    for precision in ("int8", "fp16"):
        through_component(folder / "fp32", folder / precision, precision)
    return {name: folder / name for name in ("fp32", "int8", "fp16")}


def through_component(source: Path, output: Path, precision: str) -> None:
    """Quantizes as the pipelines do."""
    logged: dict[str, float] = {}
    model = SimpleNamespace(path=str(output), metadata={})
    report = output.with_suffix(".html")
    (kept,) = component.python_func(
        model=SimpleNamespace(path=str(source)),
        images=SimpleNamespace(path=str(IMAGES)),
        annotations=SimpleNamespace(path=str(SPLIT)),
        quantized=model,
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        report=SimpleNamespace(path=str(report)),
        precision=precision,
        calibration_faces=FACES,
        max_f1_drop=0.2,
    )
    assert kept is (logged["f1_drop"] <= 0.2)
    assert 0 < logged["max_difference"] < {"int8": 0.15, "fp16": 5e-3}[precision]
    assert 0.8 < logged["agreement"] <= 1 and logged["speedup"] > 0 and logged["compared_on_train"] == 0
    assert logged["f1_drop"] == pytest.approx(logged["macro_f1_fp32"] - logged["macro_f1"])
    data = (output / MODEL_FILE).read_bytes()
    assert model.metadata == {"sha256": hashlib.sha256(data).hexdigest(), "precision": precision}
    assert logged["megabytes"] == len(data) / 1e6
    assert f"faces in {precision}" in report.read_text()


def probabilities(model: Path, output: Path, split: str = "all") -> np.ndarray:
    predict(model, IMAGES, SPLIT, output, split=split)
    with output.open(newline="") as table:
        rows = list(csv.DictReader(table))
    return np.array([[float(row[f"mask/{label}"]) for label in LABELS] for row in rows])


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
    made_by = {name: node for node in graph.node for name in node.output}
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    (split,) = (node for node in graph.node if softmax.input[0] in node.output)
    cast = made_by[split.input[0]] if split.op_type == "Split" else split
    assert cast.op_type == "Cast" and cast.attribute[0].i == TensorProto.FLOAT


def kept(splits: tuple[str, ...]) -> Annotations:
    data = read_annotations(SPLIT)
    return replace(data, images=tuple(image for image in data.images if image.split in splits))


def test_the_bytes_depend_on_the_training_faces_alone(exported: Exported, tmp_path: Path) -> None:
    """Without the annotations and the pictures of the other splits the file is the same, and the page says so."""
    only, archive = kept(("train",)), ImageArchive(IMAGES)
    write_annotations(only, tmp_path / "train.json")
    with ArchiveWriter(tmp_path / "images") as writer:
        for image in only.images:
            writer.add(image.file_name, archive.read(image.file_name))
    report = tmp_path / "report.html"
    source = (tmp_path / "images", tmp_path / "train.json")
    result = quantize(exported["fp32"], *source, tmp_path / "model", report, calibration_faces=FACES)
    assert (tmp_path / "model" / MODEL_FILE).read_bytes() == (exported["int8"] / MODEL_FILE).read_bytes()
    assert (result.split, result.metrics["compared_on_train"], result.comparison.faces) == ("train", 1, 28)
    assert "Compared on training faces" in report.read_text()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_without_torch(exported: Exported, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from components.quantize.quantize import quantize; "
        "images, split, model, out, page = map(Path, sys.argv[2:]); "
        "print(quantize(model, images, split, out, page, precision=sys.argv[1], calibration_faces=16).sha256); "
        "assert not {'torch', 'kfp'} & sys.modules.keys()"
    )
    for name in ("int8", "fp16"):
        paths = (IMAGES, SPLIT, exported["fp32"], tmp_path / name, tmp_path / f"{name}.html")
        done = subprocess.run(
            [sys.executable, "-c", code, name, *map(str, paths)],
            env=os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == hashlib.sha256((exported[name] / MODEL_FILE).read_bytes()).hexdigest()


def test_macro_f1_is_that_of_the_predictions(exported: Exported, tmp_path: Path) -> None:
    """Of val, by the table that the step predict writes."""
    truth = [image.faces[0].attributes["mask"] for image in sorted(kept(("val",)).images, key=lambda one: one.id)]
    labels = np.array([LABELS.index(mask) for mask in truth])
    result = quantize(exported["fp32"], IMAGES, SPLIT, tmp_path / "out", tmp_path / "page", calibration_faces=FACES)
    for number, name in enumerate(("fp32", "int8")):
        table = probabilities(exported[name], tmp_path / name, split="val")
        assert result.comparison.scores[number].macro_f1 == label_scores(labels, table.argmax(axis=1), 3).macro_f1


def test_a_model_that_loses_too_much_is_written_and_not_kept(
    exported: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its training pictures are black, so that the ranges hold nothing of a face; the labels are what fp32 says."""
    black = io.BytesIO()
    PilImage.new("RGB", (64, 64)).save(black, "PNG")
    archive, said = ImageArchive(IMAGES), iter(probabilities(exported["fp32"], tmp_path / "table").argmax(axis=1))
    images = [
        replace(image, sha256=None, faces=(replace(image.faces[0], box=None, attributes={"mask": LABELS[next(said)]}),))
        for image in sorted(read_annotations(SPLIT).images, key=lambda image: image.id)
    ]
    with ArchiveWriter(tmp_path / "images") as writer:
        for image in images:
            writer.add(image.file_name, black.getvalue() if image.split == "train" else archive.read(image.file_name))
    write_annotations(replace(read_annotations(SPLIT), images=tuple(images)), tmp_path / "split.json")
    source = tmp_path / "images", tmp_path / "split.json"
    for most, kept in ((0.01, False), (1.0, True)):
        result = quantize(exported["fp32"], *source, tmp_path / f"{most}", tmp_path / "page", max_f1_drop=most)
        assert result.comparison.f1_drop > 0.01 and result.kept is kept
        assert load_model(str(tmp_path / f"{most}")).card.name == "faces"
        assert ("keep the model in fp32" in caplog.text) is not kept
        assert ("not kept" in (tmp_path / "page").read_text()) is not kept
        caplog.clear()


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
    faces = LabeledFaces(IMAGES, SPLIT, card)
    drawn, held_out = faces.draw(FACES, 0), [pixels for pixels, _ in faces.cut(faces.of_split("val"))]
    assert (len(drawn), len(held_out)) == (16, 14)
    assert {face.tobytes() for face in drawn} < cut["train"]
    assert {face.tobytes() for face in held_out} == cut["val"]
    others = faces.draw(FACES, 1)
    assert not np.array_equal(others, drawn) and {face.tobytes() for face in others} < cut["train"]

    damaged = next(image.file_name for image in data.images if image.split == "train")
    without = replace(data, images=tuple(replace(image, sha256=None) for image in kept(("train",)).images))
    write_annotations(without, tmp_path / "split.json")
    with ArchiveWriter(tmp_path / "images") as writer:
        for image in without.images:
            writer.add(image.file_name, b"none" if image.file_name == damaged else archive.read(image.file_name))
    faces = LabeledFaces(tmp_path / "images", tmp_path / "split.json", card)
    assert len(faces.draw(100, 0)) == 27 and faces.of_split("val") == []
    assert damaged in caplog.text and "1 faces could not be used" in caplog.text


def test_what_it_refuses(exported: Exported, tmp_path: Path) -> None:
    def refused(
        message: str, error: type[Exception] = InputError, *, model: Path = exported["fp32"], images: Path = IMAGES,
        split: Path = SPLIT, **options: Any,
    ) -> None:  # fmt: skip
        with pytest.raises(error, match=message):
            quantize(model, images, split, tmp_path / "out", tmp_path / "page", **options)
        assert not (tmp_path / "out").exists() and not (tmp_path / "page").exists()

    refused("precision: unknown 'int4', did you mean 'int8'.; known: fp16, int8", precision="int4")
    refused("precision: unknown 'fp32'", precision="fp32")
    refused("max_f1_drop: must be from 0 to 1, got -1", max_f1_drop=-1)
    refused("calibration_faces: must be at least 1, got 0", calibration_faces=0)
    refused("seed: must not be negative, got -1", seed=-1)
    (tmp_path / "other_heads.onnx").write_bytes(build_model())
    refused("its heads .* are not those of 'all'", model=tmp_path / "other_heads.onnx")
    refused("is in int8 already; give the model in fp32 it was made from", model=exported["int8"])
    write_annotations(kept(("val", "test")), tmp_path / "others.json")
    refused("others.json: no usable face with a label of 'mask' is in split 'train'", split=tmp_path / "others.json")
    refused("no-images", NotFoundError, images=tmp_path / "no-images")
    (tmp_path / "detector.onnx").write_bytes(build_detector())
    refused("detector.onnx: is a detector; only classifiers", model=tmp_path / "detector.onnx")


def run(model: onnx.ModelProto, images: np.ndarray, names: list[str]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: list[np.ndarray] = session.run(names, {"images": images})
    return answers


def blocks(size: tuple[int, int], count: int = 8) -> np.ndarray:
    """Pictures of blocks of 8x8 pixels: noise of single pixels would leave a network nothing after its first pools."""
    small = np.random.default_rng(0).integers(0, 256, (count, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.parametrize("size", [(64, 64), (44, 36)])
def test_what_is_changed_before_int8_changes_no_answer(size: tuple[int, int]) -> None:
    """Padding, pooling and normalization; pooled sides are even, or odd somewhere."""
    graph = gabor_ensemble(size)
    images = blocks((size[0] + 7, size[1] + 7))[:, : size[0], : size[1]]
    prepared = prepare(graph)
    (expected,), (actual,) = run(graph, images, ["mask"]), run(prepared, images, ["mask"])
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert expected.std(axis=0).max() > 1e-3
    onnx.checker.check_model(prepared, full_check=True)

    before, after = (Counter(node.op_type for node in one.graph.node) for one in (graph, prepared))
    if size == (64, 64):
        assert after["Pad"] < before["Pad"] and after["AveragePool"] < before["AveragePool"]
    int8 = to_int8(graph, ["mask"], images)
    (rough,) = run(int8, images, ["mask"])
    np.testing.assert_allclose(rough, expected, atol=0.05)


@functools.cache
def gabor_ensemble(size: tuple[int, int]) -> onnx.ModelProto:
    """An exported network with random weights and the batch-norm statistics of pictures."""
    torch.manual_seed(0)
    normalization = Normalization(mean=(0.5, 0.45, 0.4), std=(0.25, 0.22, 0.2))
    built = build_network(
        resolve_model("gabor_ensemble"), label_space("mask").heads, normalization, load_pretrained=False
    ).train()
    with torch.no_grad():
        for _ in range(3):
            built(torch.from_numpy(blocks((48, 48))))
    example = torch.zeros((2, *size, 3), dtype=torch.uint8)
    return trace(HeadProbabilities(built).eval(), example, ["mask"], {0: torch.export.Dim("batch")})


def test_the_fixed_filters_and_the_last_layer_stay_float32() -> None:
    graph = to_int8(gabor_ensemble((64, 64)), ["mask"], blocks((64, 64))).graph
    constants = {tensor.name for tensor in graph.initializer}
    floats = [node for node in graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in constants]
    assert [node.op_type for node in floats] == ["Conv", "Conv", "Gemm"], "two scales of Gabor filters"


def calibrated(data: bytes) -> onnx.ModelProto:
    """The model with probabilities made softer by temperatures, and with an output of its feature map."""
    model = onnx.load_from_string(data)
    temper(model, {"mask": 1.7, "gender": 2.5})
    model.graph.node.append(helper.make_node("Identity", ["active"], ["feature_map"]))
    model.graph.output.append(helper.make_tensor_value_info("feature_map", TensorProto.FLOAT, ["N", 6, None, None]))
    return model


def test_a_calibrated_graph_with_a_feature_map_keeps_both() -> None:
    """The temperature is applied in float32: neither 256 steps nor the smallest number of float16 cut a logarithm."""
    model, heads, images = calibrated(build_model()), ["mask", "gender"], blocks((40, 32))
    names = [*heads, "feature_map"]
    expected = run(model, images, names)
    for other, tolerance in ((to_int8(model, heads, images), 0.1), (to_fp16(model, heads), 5e-3)):
        actual = run(other, images, names)
        for ours, theirs in zip(actual, expected, strict=True):
            assert ours.dtype == np.float32 and ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1, np.abs(theirs).max()))
        behind = list(other.graph.node)[[node.op_type for node in other.graph.node].index("Softmax") :]
        assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in behind}
        logarithms = {name for node in other.graph.node if node.op_type == "Log" for name in node.input}
        casts = {name for node in other.graph.node if node.op_type == "Cast" for name in node.output}
        assert logarithms and not logarithms & casts
    assert any(node.op_type == "QuantizeLinear" for node in to_int8(model, heads, images).graph.node)
