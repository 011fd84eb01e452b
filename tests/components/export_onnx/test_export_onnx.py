import hashlib
import io
import os
import re
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
from PIL import Image

from components.export_onnx import export as exporter
from components.export_onnx.export import ExportResult, export, make_card
from components.shared.dataset.label_spaces import label_space
from components.shared.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from components.shared.models.network import build_network, head_probabilities
from components.shared.models.spec import resolve_model
from serving.runtime.card import (
    METADATA_KEY,
    CropRule,
    InputSize,
    Normalization,
    PseudoLabels,
    read_card,
)
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.load import load_model
from serving.runtime.seal import SEAL_KEY


def random_checkpoint(model: str, space: str = "all", seed: int = 0) -> Checkpoint:
    """A network with random weights and batch-norm statistics that are not those of a fresh one."""
    torch.manual_seed(seed)
    heads = label_space(space).heads
    normalization = Normalization(mean=(0.5, 0.45, 0.4), std=(0.25, 0.22, 0.2))
    network = build_network(model, heads, normalization).train()
    with torch.no_grad():
        for _ in range(5):
            network(torch.randint(0, 256, (4, 40, 32, 3), dtype=torch.uint8))
        network.get_parameter("backbone.fc.weight").mul_(10)
    return Checkpoint(
        model=resolve_model(model),
        label_space=space,
        heads=heads,
        input=InputSize(height=40, width=32),
        crop=CropRule(scale=1.4, min_decode=2.0),
        normalization=normalization,
        model_state=network.state_dict(),
        ema_state=None,
        config={},
        epoch=1,
        metrics={},
        dataset_digest="d" * 64,
        training_digest="t" * 64,
        leaks=False,
        run_id="a run id",
        versions={"pillow": "1.2.3"},
    )


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(random_checkpoint("resnet18"), folder / "best.pt")
    save_checkpoint(random_checkpoint("base", "mask_gender_age"), folder / "last.pt")
    return folder


@pytest.fixture(scope="module")
def exported(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportResult]:
    output = tmp_path_factory.mktemp("export") / "model"
    return output, export(checkpoints, output, name="faces")


def test_the_folder_holds_one_file_with_the_card(exported: tuple[Path, ExportResult]) -> None:
    output, result = exported
    assert [path.name for path in output.iterdir()] == ["model.onnx"]
    assert [path.name for path in output.parent.iterdir()] == ["model"]
    assert hashlib.sha256((output / "model.onnx").read_bytes()).hexdigest() == result.sha256
    assert result.max_difference <= 1e-4
    card = load_model(str(output)).card
    source = random_checkpoint("resnet18")
    assert (card.name, card.label_space, card.heads, card.leaks) == ("faces", "all", source.heads, False)
    assert (card.input, card.crop, card.normalization) == (source.input, source.crop, source.normalization)
    assert (card.dataset_digest, card.training_digest) == ("d" * 64, "t" * 64)
    assert card.versions.keys() == {"onnx", "onnxscript", "pillow", "torch", "torchvision"}


def test_the_card_has_pseudo_labels_and_a_frame_only_where_they_are_used() -> None:
    plain = random_checkpoint("resnet18")
    settings = {"enabled": False, "share": 0.5, "every": 50, "start": 50, "end": 100, "weight": 0.8}
    off = replace(plain, config={"pseudo_labels": settings})
    on = replace(plain, config={"pseudo_labels": settings | {"enabled": True}}, crop=CropRule(frame=(0, 0, 1, 0.5)))
    (text,) = make_card(off, "a").to_metadata().values()
    assert "pseudo_labels" not in text and "frame" not in text
    metadata = make_card(on, "a").to_metadata()
    card = read_card(metadata[METADATA_KEY], "a file")
    assert card.pseudo_labels == PseudoLabels(share=0.5, weight=0.8) and card.crop.frame == (0, 0, 1, 0.5)


def test_the_graph_has_the_documented_input_and_outputs(exported: tuple[Path, ExportResult]) -> None:
    graph = onnx.load(exported[0] / "model.onnx").graph
    (images,) = graph.input
    assert images.name == "images" and images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dimensions = images.type.tensor_type.shape.dim
    assert dimensions[0].dim_param and [dimension.dim_value for dimension in dimensions[1:]] == [40, 32, 3]
    assert [output.name for output in graph.output] == ["mask", "gender", "age"]
    assert all(output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for output in graph.output)


def test_no_path_or_name_of_the_build_is_in_the_file(exported: tuple[Path, ExportResult]) -> None:
    data = (exported[0] / "model.onnx").read_bytes()
    model = onnx.load_from_string(data)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY, SEAL_KEY]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")  # among so many random bytes any three are found
    data = model.SerializeToString()
    for trace in (b"site-packages", b".py", b"a run id", str(Path.cwd()).encode(), str(exported[0]).encode()):
        assert trace not in data, trace
    assert not re.search(rb"/(home|root|usr|tmp|work|opt|var)/", data)


def test_bytes_do_not_depend_on_folder_or_process(
    checkpoints: Path, exported: tuple[Path, ExportResult], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from components.export_onnx.export import export; "
        "print(export(Path(sys.argv[1]), Path(sys.argv[2]), name='faces').sha256)"
    )
    elsewhere = tmp_path / "another" / "folder"
    elsewhere.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoints), str(elsewhere / "out")],
        cwd=elsewhere,
        env=os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == (exported[1].sha256, "")


def test_torch_and_the_served_file_agree_on_the_same_bytes(
    checkpoints: Path, exported: tuple[Path, ExportResult]
) -> None:
    predictor = load_model(str(exported[0]))
    source = load_checkpoint(checkpoints / "best.pt")
    rng = np.random.default_rng(7)
    images: list[tuple[bytes, list[Box]]] = []
    for number in range(6):
        buffer = io.BytesIO()
        picture = Image.fromarray(rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((90, 120))
        picture.save(buffer, "PNG" if number % 2 else "JPEG")
        images.append((buffer.getvalue(), [] if number < 2 else [(10.0 + number, 20.5, 40.0, 55.5)]))
    served = predictor.predict([(Photo(data), boxes) for data, boxes in images])
    pixels = np.stack([decode_crop_resize(data, boxes[0] if boxes else None, predictor.card) for data, boxes in images])
    with torch.inference_mode():
        expected = head_probabilities(source.network()(torch.from_numpy(pixels)), [3, 2, 3])
    for name, probabilities in zip(("mask", "gender", "age"), expected, strict=True):
        values = np.array([list(face.heads[name].values()) for (face,) in served])
        np.testing.assert_allclose(values, probabilities.numpy(), atol=1e-4)
        assert name != "mask" or values.std(axis=0).max() > 0.01  # the faces differ, so agreement means something


def test_the_checkpoint_is_chosen_by_name(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no checkpoint 'epoch_9'.*present: best, last"):
        export(checkpoints, tmp_path / "model", checkpoint="epoch_9", name="x")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_is_not_written(
    checkpoints: Path, exported: tuple[Path, ExportResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(random_checkpoint("resnet18", seed=1), tmp_path / "other.pt")
    graph = onnx.load(exported[0] / "model.onnx")
    del graph.metadata_props[:]
    monkeypatch.setattr(exporter, "to_onnx", lambda module, source: graph)
    with pytest.raises(RuntimeError, match=r"'other' differs from the network: probabilities by up to 0\.\d+"):
        export(tmp_path, tmp_path / "model", checkpoint="other", name="x")
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


@pytest.mark.parametrize(("change", "accepted"), [(1e-5, True), (4e-3, False)])
def test_probabilities_may_differ_by_a_ten_thousandth(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: float, accepted: bool
) -> None:
    whole = exporter.to_onnx

    def changed(*arguments: Any) -> onnx.ModelProto:
        graph = whole(*arguments)
        bias = next(weight for weight in graph.graph.initializer if weight.name.endswith("fc.bias"))
        values = onnx.numpy_helper.to_array(bias).copy()
        values[0] += change
        bias.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), bias.name))
        return graph

    monkeypatch.setattr(exporter, "to_onnx", changed)
    if accepted:
        assert export(checkpoints, tmp_path / "model", name="x").max_difference <= 1e-4
    else:
        with pytest.raises(RuntimeError, match=r"probabilities by up to 0\.\d+"):
            export(checkpoints, tmp_path / "model", name="x")


def test_wrong_names_and_outputs(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name: must not be empty"):
        export(checkpoints, tmp_path / "model", name=" ")
    before = {path: path.read_bytes() for path in checkpoints.iterdir()}
    with pytest.raises(InputError, match="already exists and is not empty"):
        export(checkpoints, checkpoints, name="x")
    assert {path: path.read_bytes() for path in checkpoints.iterdir()} == before


def test_the_component(checkpoints: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from components.export_onnx.component import export_onnx

    logged: dict[str, float] = {}
    model = SimpleNamespace(path=str(tmp_path / "model"), metadata={})
    export_onnx.python_func(
        checkpoints=SimpleNamespace(path=str(checkpoints)),
        model=model,
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        name="faces",
        checkpoint="last",
    )
    assert logged.keys() == {"max_difference"} and logged["max_difference"] <= 1e-4
    data = (tmp_path / "model" / "model.onnx").read_bytes()
    assert [output.name for output in onnx.load_from_string(data).graph.output] == ["mask_gender_age"]
    assert model.metadata["sha256"] == hashlib.sha256(data).hexdigest()
    assert capfd.readouterr() == ("", "")


def test_the_card_says_when_a_mask_is_noticed() -> None:
    joint = make_card(random_checkpoint("base", "mask_gender_age"), "a", 0.25).notify
    assert joint is not None and (joint.head, joint.threshold, len(joint.labels)) == ("mask_gender_age", 0.25, 12)
    heads = make_card(random_checkpoint("base"), "a").notify
    assert heads is not None and (heads.head, heads.threshold, heads.labels) == ("mask", 0.5, ("incorrect", "absent"))
    gender = random_checkpoint("base", "gender")
    assert make_card(gender, "a").notify is None
    with pytest.raises(InputError, match="notify_threshold: label space 'gender' does not tell worn masks"):
        make_card(gender, "a", 0.25)
    with pytest.raises(InputError, match=r"notify_threshold: 1.5 is no probability; expected 0 to 1"):
        make_card(gender, "a", 1.5)
