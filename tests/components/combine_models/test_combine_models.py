"""Several classifiers as one graph, served and in int8."""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from starlette.testclient import TestClient
from tiny_detector import build_detector
from tiny_model import build_model, card_facts

from components.calibrate.graph import temper
from components.combine_models.combine import combine_models
from components.combine_models.component import combine_models as component
from components.quantize.precision import to_fp16, to_int8
from components.shared.dataset.label_spaces import label_space
from components.shared.models.graph_file import graph_file
from components.shared.prediction.combine import combine_probabilities, joint_probabilities
from serving.runtime.card import METADATA_KEY, ClassificationCard, read_card
from serving.runtime.errors import InputError, StorageError
from serving.runtime.load import load_model
from serving.runtime.registry import MODEL_FILE
from serving.runtime.seal import SEAL_KEY
from serving.server.http.app import create_app
from serving.server.state import ModelRepository, ServerState

# Blocks of 8x8 pixels: the means of noise would be the same in every picture.
IMAGES = np.random.default_rng(5).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def write_member(folder: Path, seed: int, space: str = "", temperature: float = 0, **facts: Any) -> str:
    """A model with weights of its own, whose answers differ from face to face."""
    if space:
        facts |= {"label_space": space, "heads": [head.model_dump() for head in label_space(space).heads]}
    model = onnx.load_from_string(build_model(card_facts(**facts)))
    rng = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        if tensor.name == "filters" or tensor.name.endswith(".weight"):
            values = rng.normal(0, 0.5 if tensor.name == "filters" else 0.4, tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    (card,) = (entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    if temperature:
        temper(model, {value.name: temperature for value in model.graph.output})
    del model.metadata_props[:]
    folder.mkdir(parents=True)
    read = read_card(card, "the test")
    (folder / MODEL_FILE).write_bytes(graph_file(model, read))
    return str(folder)


def answers(model: str) -> dict[str, np.ndarray]:
    return load_model(model).infer(IMAGES)


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("folds")
    return [write_member(folder / f"fold-{seed}", seed, temperature=[0, 2.0][seed % 2]) for seed in range(5)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("parts")
    return {name: write_member(folder / name, len(name), name) for name in ("mask", "gender_age")}


@pytest.mark.parametrize("rule", ["mean", "log_mean"])
def test_folds_are_combined_as_by_hand(folds: list[str], rule: str, tmp_path: Path) -> None:
    result = combine_models(folds, tmp_path / "all", name="all", rule=rule)
    ours, theirs = answers(str(tmp_path / "all")), [answers(fold) for fold in folds]
    for head in ("mask", "gender"):
        by_hand = combine_probabilities(rule, [one[head] for one in theirs])
        np.testing.assert_allclose(ours[head], by_hand, atol=1e-6)
        np.testing.assert_allclose(ours[head].sum(axis=1), 1, atol=1e-6)
        assert np.abs(theirs[0][head] - theirs[1][head]).max() > 0.1, "the members differ"
    assert result.members == 5 and result.max_difference < 1e-5
    data = (tmp_path / "all" / MODEL_FILE).read_bytes()
    assert result.sha256 == hashlib.sha256(data).hexdigest() and result.sizes[1] == len(data)
    assert result.sizes[1] < 2 * result.sizes[0]
    graph = onnx.load_from_string(data).graph
    assert [value.name for value in graph.output] == ["mask", "gender"] and graph.input[0].name == "images"


def test_masks_and_gender_age_become_the_classes_of_the_rule(parts: dict[str, str], tmp_path: Path) -> None:
    combine_models([parts["gender_age"], parts["mask"]], tmp_path / "both", name="both")
    mask, gender_age = answers(parts["mask"])["mask"], answers(parts["gender_age"])["gender_age"]
    ours = answers(str(tmp_path / "both"))["mask_gender_age"]
    np.testing.assert_allclose(ours, joint_probabilities(mask, gender_age), atol=1e-6)
    np.testing.assert_array_equal(ours.argmax(axis=1), 6 * mask.argmax(axis=1) + gender_age.argmax(axis=1))
    card = load_model(str(tmp_path / "both")).card
    assert isinstance(card, ClassificationCard)
    assert (card.label_space, card.heads) == ("mask_gender_age", label_space("mask_gender_age").heads)
    assert card.notify is not None and len(card.notify.labels) == 12


def test_all_18_combinations(tmp_path: Path) -> None:
    """Models that say one label, whatever they see."""

    def saying(space: str, label: int) -> str:
        heads = label_space(space).heads
        facts = card_facts(label_space=space, heads=[head.model_dump() for head in heads])
        model = onnx.load_from_string(build_model(facts))
        for tensor in model.graph.initializer:
            if tensor.name == f"{space}.weight":
                values = np.zeros(tensor.dims, np.float32)
                values[:, label] = 4
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        folder = tmp_path / f"{space}-{label}"
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(model.SerializeToString())
        return str(folder)

    masks, rest = ([saying(name, n) for n in range(count)] for name, count in (("mask", 3), ("gender_age", 6)))
    for (mask, first), (gender_age, second) in itertools.product(enumerate(masks), enumerate(rest)):
        combine_models([first, second], tmp_path / f"{mask}{gender_age}", name="x")
        said = answers(str(tmp_path / f"{mask}{gender_age}"))["mask_gender_age"].argmax(axis=1)
        assert set(said) == {6 * mask + gender_age}


def test_folds_of_masks_and_of_gender_age_are_averaged_first(parts: dict[str, str], tmp_path: Path) -> None:
    second = write_member(tmp_path / "second", 11, "mask")
    combine_models([parts["mask"], parts["gender_age"], second], tmp_path / "all", name="x")
    mean = (answers(parts["mask"])["mask"] + answers(second)["mask"]) / 2
    expected = joint_probabilities(mean, answers(parts["gender_age"])["gender_age"])
    np.testing.assert_allclose(answers(str(tmp_path / "all"))["mask_gender_age"], expected, atol=1e-6)


def test_the_card_says_what_it_is_made_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notify = {"head": "mask", "reasons": {"absent": ["absent"]}, "threshold": 0.3}
    one = write_member(tmp_path / "a", 0, name="a", notify=notify, versions={"torch": "2", "x": "1"})
    other = write_member(
        tmp_path / "b", 1, name="b", leaks=True, training_digest="2" * 64, versions={"torch": "3"},
        normalization={"mean": [0.4] * 3, "std": [0.2] * 3}, notify=notify | {"threshold": 0.4},
    )  # fmt: skip
    combine_models([one, other], tmp_path / "all", name="all", rule="log_mean")
    model = load_model(str(tmp_path / "all"))
    card = model.card
    assert isinstance(card, ClassificationCard) and card.combined is not None
    assert (card.name, card.label_space, card.leaks, card.normalization) == ("all", "all", True, None)
    assert card.combined.rule == "log_mean" and [member.name for member in card.combined.members] == ["a", "b"]
    assert [member.sha256 for member in card.combined.members] == [load_model(each).sha256 for each in (one, other)]
    assert card.dataset_digest == "0" * 64 and card.training_digest not in ("1" * 64, "2" * 64)
    assert len(card.training_digest) == 64
    assert card.versions["torch"] == "2, 3" and card.versions["x"] == "1"
    assert card.notify is not None and card.notify.model_dump() == notify | {
        "reasons": {"absent": ("absent",)},
        "threshold": 0.5,
    }
    assert "notify of masks from 0.3, 0.4 on, together from the default 0.5 on: calibrate the combined" in caplog.text
    data = (tmp_path / "all" / MODEL_FILE).read_bytes()
    assert [entry.key for entry in onnx.load_from_string(data).metadata_props] == [METADATA_KEY, SEAL_KEY]
    combine_models([one, other], tmp_path / "again", name="all", rule="log_mean")
    assert (tmp_path / "again" / MODEL_FILE).read_bytes() == data
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    (tmp_path / "again" / MODEL_FILE).write_bytes(broken)
    with pytest.raises(InputError):
        load_model(str(tmp_path / "again"))


def test_graphs_of_other_opsets_and_with_a_feature_map_are_members(folds: list[str], tmp_path: Path) -> None:
    model = onnx.load(Path(folds[1], MODEL_FILE))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    model = onnx.version_converter.convert_version(model, 21)
    model.graph.node.append(helper.make_node("Identity", ["active"], ["feature_map"]))
    model.graph.output.append(helper.make_tensor_value_info("feature_map", TensorProto.FLOAT, ["N", 6, None, None]))
    card = read_card(facts[METADATA_KEY], "the test")
    assert isinstance(card, ClassificationCard)
    del model.metadata_props[:]
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / MODEL_FILE).write_bytes(
        graph_file(model, card.model_copy(update={"features": "feature_map"}))
    )
    combine_models([folds[0], str(tmp_path / "newer")], tmp_path / "all", name="x")
    expected = (answers(folds[0])["mask"] + answers(folds[1])["mask"]) / 2
    np.testing.assert_allclose(answers(str(tmp_path / "all"))["mask"], expected, atol=1e-6)


def test_an_ensemble_in_int8_and_fp16(folds: list[str], tmp_path: Path) -> None:
    combine_models(folds, tmp_path / "all", name="x", rule="log_mean")
    model = onnx.load(tmp_path / "all" / MODEL_FILE)
    expected = answers(str(tmp_path / "all"))
    card = load_model(str(tmp_path / "all")).card
    assert isinstance(card, ClassificationCard)
    for name, graph, tolerance in (
        ("int8", to_int8(model, ["mask", "gender"], IMAGES), 0.1),
        ("fp16", to_fp16(model, ["mask", "gender"]), 5e-3),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / MODEL_FILE).write_bytes(graph_file(graph, card.model_copy(update={"precision": name})))
        for head, values in answers(str(tmp_path / name)).items():
            np.testing.assert_allclose(values, expected[head], atol=tolerance)
            assert (values.argmax(axis=1) == expected[head].argmax(axis=1)).mean() > 0.8
    int8 = onnx.load(tmp_path / "int8" / MODEL_FILE).graph
    assert sum(node.op_type == "Conv" for node in int8.node) == 5
    assert any(node.op_type == "QuantizeLinear" for node in int8.node)


def test_what_it_refuses(folds: list[str], parts: dict[str, str], tmp_path: Path) -> None:
    def refused(message: str, sources: Sequence[str], error: type[Exception] = InputError, **options: Any) -> None:
        with pytest.raises(error, match=message):
            combine_models(sources, tmp_path / "out", **{"name": "x"} | options)
        assert not (tmp_path / "out").exists()

    wide = {"input": {"height": 40, "width": 40}}
    (tmp_path / "wide.onnx").write_bytes(build_model(card_facts(**wide), shape=("N", 40, 40, 3)))
    (tmp_path / "detector.onnx").write_bytes(build_detector())
    refused("expected two models or more, got 1", folds[:1])
    refused("fold-0: is the same model as .*fold-0; give each model once", [folds[0], folds[0]])
    refused("rule: unknown 'median'.*; known: log_mean, mean", folds, rule="median")
    refused("name: must not be empty", folds, name=" ")
    refused("has the input 40x40, .* has 40x32; .*facet predict", [folds[0], str(tmp_path / "wide.onnx")])
    tight = write_member(tmp_path / "tight", 3, crop={"scale": 1.0})
    refused("has the crop rule .*'scale': 1.0.*composite", [folds[0], tight])
    refused("label spaces all, mask: expected models of the same one", [folds[0], parts["mask"]])
    refused("detector.onnx: is a detector", [folds[0], str(tmp_path / "detector.onnx")])
    int8 = write_member(tmp_path / "int8", 3, precision="int8")
    refused("is in int8; combine the models in fp32", [folds[0], int8])
    refused("missing", [folds[0], str(tmp_path / "missing")], StorageError)


def test_the_component_and_the_server(folds: list[str], tmp_path: Path) -> None:
    """Over HTTP five nets answer as the mean of the five."""
    logged: dict[str, float] = {}
    model = SimpleNamespace(path=str(tmp_path / "model"), metadata={})
    component.python_func(
        model=model,
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        name="five",
        models=[SimpleNamespace(path=fold) for fold in folds[:2]],
        weights=folds[2:],
    )
    assert logged["members"] == 5 and logged["max_difference"] < 1e-5 and logged["cpu_ms"] > 0
    expected = np.mean([answers(fold)["mask"] for fold in folds], axis=0)
    images = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape), "data": IMAGES.ravel().tolist()}
    client = TestClient(create_app(ServerState(models=ModelRepository(load_model(str(tmp_path / "model"))))))
    outputs = {
        one["name"]: one for one in client.post("/v2/models/five/infer", json={"inputs": [images]}).json()["outputs"]
    }
    np.testing.assert_allclose(np.reshape(outputs["mask"]["data"], outputs["mask"]["shape"]), expected, atol=1e-6)
