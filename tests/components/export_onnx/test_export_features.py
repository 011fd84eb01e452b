"""The feature map as an output: the one that the network computes, and nothing else changes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from components.export_onnx.export import export
from components.export_onnx.features import add_features
from components.shared.dataset.label_spaces import label_space
from components.shared.explain.activation import activation
from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.models.network import Network, build_network
from components.shared.models.spec import resolve_model
from serving.runtime.card import CropRule, InputSize, Normalization
from serving.runtime.errors import InputError
from serving.runtime.load import load_model
from serving.runtime.predictor import Classifier

SIDE = 64
SMALL_VIT = {"arguments": {"image_size": SIDE, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64}}
MEMBERS = {"arguments": {"width": 8, "depth": 1, "members": 2, "linear_member": True}}


def saved(folder: Path, model: str, changes: dict[str, Any], space: str = "all") -> Network:
    """Save a checkpoint of a network with random weights."""
    torch.manual_seed(0)
    heads, normalization = label_space(space).heads, Normalization(mean=(0.5, 0.45, 0.4), std=(0.25, 0.22, 0.2))
    spec = resolve_model(model, changes)
    network = build_network(spec, heads, normalization).train()
    with torch.no_grad():
        network(torch.randint(0, 256, (4, SIDE, SIDE, 3), dtype=torch.uint8))
    checkpoint = Checkpoint(
        model=spec, label_space=space, heads=heads, input=InputSize(height=SIDE, width=SIDE), crop=CropRule(),
        normalization=normalization, model_state=network.state_dict(), ema_state=None, config={}, epoch=1, metrics={},
        dataset_digest="d" * 64, training_digest="t" * 64, leaks=False, run_id="", versions={},
    )  # fmt: skip
    save_checkpoint(checkpoint, folder / "best.pt")
    return network.eval()


def loaded(folder: Path) -> Classifier:
    model = load_model(str(folder))
    assert isinstance(model, Classifier)
    return model


@pytest.mark.parametrize(
    ("model", "changes", "makers"),
    [
        ("base", {"head": {"kind": "arcface"}}, ["features"]),
        pytest.param("resnet18", {}, ["layer4"], marks=pytest.mark.slow),
        ("gabor_ensemble", MEMBERS, ["features.members.0", "features.members.1"]),
        pytest.param("base", {"keep_classes": True}, ["features"], marks=pytest.mark.slow),
        pytest.param("small_resnet", {"arguments": {"width": 8, "depth": 1}}, ["features"], marks=pytest.mark.slow),
        pytest.param("cbam_resnet", {}, ["layer4"], marks=pytest.mark.slow),
        pytest.param("squeezenet1_1", {}, ["features"], marks=pytest.mark.slow),
        pytest.param("vgg11", {}, ["avgpool"], marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", {}, ["features"], marks=pytest.mark.slow),
        pytest.param("densenet121", {}, ["features"], marks=pytest.mark.slow),
        pytest.param("convnext_tiny", {}, ["features"], marks=pytest.mark.slow),
        pytest.param("swin_t", {}, ["permute"], marks=pytest.mark.slow),
    ],
)
def test_the_output_is_the_map_before_the_pool(
    model: str, changes: dict[str, Any], makers: list[str], tmp_path: Path
) -> None:
    network = saved(tmp_path, model, changes)
    result = export(tmp_path, tmp_path / "model", name="x", features=True)
    assert result.max_difference < 1e-4
    maps: list[torch.Tensor] = []
    for maker in makers:
        network.backbone.get_submodule(maker).register_forward_hook(lambda module, inputs, output: maps.append(output))
    images = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    with torch.no_grad():
        network(torch.from_numpy(images))
    expected = torch.cat(maps, dim=1).numpy()
    if model == "densenet121":  # whose ReLU before the pool is no module
        expected = expected.clip(0)
    classifier = loaded(tmp_path / "model")
    np.testing.assert_allclose(classifier.features(images), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert list(classifier.card.outputs) == ["mask", "gender", "age"]
    assert activation(classifier, images[0]).shape == (SIDE, SIDE)


def test_a_network_without_a_map_is_one_clear_error(tmp_path: Path) -> None:
    saved(tmp_path, "vit_scratch", SMALL_VIT)
    with pytest.raises(InputError, match=r"features: the network has no feature map: .* the shape \(N, 5, 32\), not"):
        export(tmp_path, tmp_path / "model", name="x", features=True)
    assert not (tmp_path / "model").exists()


def test_nothing_else_changes(tmp_path: Path) -> None:
    saved(tmp_path, "base", {})
    export(tmp_path, tmp_path / "plain", name="x")
    export(tmp_path, tmp_path / "model", name="x", features=True)
    model, plain = loaded(tmp_path / "model"), loaded(tmp_path / "plain")
    images = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    for name, values in plain.infer(images).items():
        np.testing.assert_allclose(model.infer(images)[name], values, atol=1e-6)
    assert model.card.features == "features" and plain.card.features is None
    assert model.card.model_copy(update={"features": None}) == plain.card
    assert "features" not in plain.card.to_metadata()["facet_card"]


def test_names_that_are_taken(tmp_path: Path) -> None:
    """A head cannot be called like the output; a value inside the graph can."""
    saved(tmp_path, "base", {})
    export(tmp_path, tmp_path / "model", name="x")
    graph = onnx.load(tmp_path / "model/model.onnx")
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = ["features" if name == "max_pool2d_1" else name for name in names]
    add_features(graph, ["mask", "gender", "age"])
    onnx.checker.check_model(graph, full_check=True)
    assert [output.name for output in graph.graph.output] == ["mask", "gender", "age", "features"]
    saved(tmp_path, "base", {}, "features:a,b")
    with pytest.raises(InputError, match="features: a head is called 'features'"):
        export(tmp_path, tmp_path / "other", name="x", features=True)


def test_an_exported_arcface_head_answers_the_nearest_class_vector_and_is_not_flat(tmp_path: Path) -> None:
    network = saved(tmp_path, "base", {"head": {"kind": "arcface"}}, "mask_gender_age")
    export(tmp_path, tmp_path / "model", name="x", features=True)
    model = loaded(tmp_path / "model")
    images = np.random.default_rng(1).integers(0, 256, (40, 1, 1, 3), dtype=np.uint8).repeat(SIDE, 1).repeat(SIDE, 2)
    pooled = model.features(images).mean(axis=(2, 3))
    vectors = network.get_parameter("backbone.fc.weight").detach().numpy()
    lengths = np.linalg.norm(pooled, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    cosines = pooled @ vectors.T / lengths
    probabilities = model.infer(images)["mask_gender_age"]
    np.testing.assert_array_equal(probabilities.argmax(axis=1), cosines.argmax(axis=1))
    powers = np.exp(30 * cosines)
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), atol=1e-3)
    unscaled = np.exp(cosines) / np.exp(cosines).sum(axis=1, keepdims=True)
    assert probabilities.max(axis=1).mean() > 4 * unscaled.max(axis=1).mean(), "almost flat"
