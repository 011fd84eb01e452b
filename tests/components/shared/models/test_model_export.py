"""Heads and attention through the ONNX exporter, which compares probabilities with torch itself."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from bare_checkpoints import bare_checkpoint

from components.export_onnx.export import export
from components.shared.dataset.label_spaces import label_space
from components.shared.models.checkpoint import save_checkpoint
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from serving.runtime.card import Normalization

NORMALIZATION = Normalization(mean=(0.5, 0.45, 0.4), std=(0.25, 0.22, 0.2))
SMALL_VIT = {"arguments": {"image_size": 64, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64}}


@pytest.mark.parametrize(
    ("model", "changes", "space"),
    [
        ("base", {"head": {"kind": "arcface"}}, "mask_gender_age"),
        (
            "base",
            {
                "keep_classes": True,
                "head": {"kind": "multi_sample_dropout", "dropout": 0.5},
                "heads": {"gender": {"one_logit": True}, "age": {"kind": "arcface"}},
            },
            "all",
        ),
        pytest.param("base", {"head": {"one_logit": True}}, "gender", marks=pytest.mark.slow),
        pytest.param(
            "base",
            {"heads": {"gender": {"one_logit": True}, "age": {"kind": "arcface"}}},
            "all",
            marks=pytest.mark.slow,
        ),
        pytest.param("base", {"head": {"kind": "hidden", "dropout": 0.4}}, "all", marks=pytest.mark.slow),
        ("small_resnet", {"arguments": {"width": 8, "depth": 1}}, "gender_age"),
        ("gabor_ensemble", {"arguments": {"width": 8, "stem_stride": 4, "standardize": True, "members": 2}}, "mask"),
        ("gabor_ensemble", {"arguments": {"width": 8, "depth": 1, "linear_member": True}}, "mask"),
        pytest.param("bam_resnet", {}, "gender_age", marks=pytest.mark.slow),
        pytest.param("cbam_resnet", {}, "gender_age", marks=pytest.mark.slow),
        pytest.param("vit_scratch", SMALL_VIT, "mask", marks=pytest.mark.slow),
        pytest.param("EfficientNetB3MSD", {"pretrained": "none"}, "mask_gender_age", marks=pytest.mark.slow),
        pytest.param("Vgg11", {"pretrained": "none"}, "mask_gender_age", marks=pytest.mark.slow),
        pytest.param("squeezenet1_1", {}, "emotion", marks=pytest.mark.slow),
    ],
)
def test_the_graph_gives_the_probabilities_of_the_network(
    model: str, changes: dict[str, Any], space: str, tmp_path: Path
) -> None:
    spec = resolve_model(model, changes)
    torch.manual_seed(0)
    heads = label_space(space).heads
    network = build_network(spec, heads, NORMALIZATION).train()
    with torch.no_grad():
        network(torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8))
    checkpoint = bare_checkpoint(spec, network, heads, space, (64, 64))
    save_checkpoint(checkpoint, tmp_path / "best.pt")
    result = export(tmp_path, tmp_path / "model", name="heads")
    assert result.max_difference < 1e-4
    graph = onnx.load(tmp_path / "model" / "model.onnx").graph
    sizes = {output.name: output.type.tensor_type.shape.dim[1].dim_value for output in graph.output}
    assert sizes == {head.name: len(head.labels) for head in heads}
