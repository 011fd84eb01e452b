"""Checkpoints of format 2 under the names of format 3."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pretrained_samples import MASK, NORMALIZATION

from components.shared.models.checkpoint import load_checkpoint
from components.shared.models.format_2 import upgraded
from components.shared.models.network import build_network
from components.shared.models.poster_v2_weights import NOT_READ
from components.shared.models.spec import resolve_model

WRITTEN_BEFORE = Path(__file__).parents[3] / "written_before"
ENSEMBLE = {"stem": "convolution", "standardize": False, "members": 1, "linear_member": False}


@pytest.mark.parametrize(
    ("before", "backbone", "after"),
    [
        ({}, "small_resnet", {}),
        ({"width": 24, "depth": 1}, "small_resnet", {"width": 24, "depth": 1}),
        ({"stem": "convolution", "members": 1, "standardise": False}, "small_resnet", {}),
        ({"stem": "gabor", "stem_stride": 4}, "gabor_ensemble", ENSEMBLE | {"stem": "gabor", "stem_stride": 4}),
        ({"members": 2}, "gabor_ensemble", ENSEMBLE | {"members": 2}),
        ({"standardise": True}, "gabor_ensemble", ENSEMBLE | {"standardize": True}),
        ({"linear_member": True}, "gabor_ensemble", ENSEMBLE | {"linear_member": True}),
    ],
)
def test_a_small_resnet_with_members_is_an_ensemble(
    before: dict[str, Any], backbone: str, after: dict[str, Any]
) -> None:
    content = {
        "model": {"backbone": "small_resnet", "arguments": dict(before), "head": {"initialisation": "xavier"}},
        "config": {"model": "small_resnet", "network": {"arguments": dict(before)}, "optimiser": {"name": "SGD"}},
    }
    found = upgraded(content)
    assert found["model"] == {"backbone": backbone, "arguments": after, "head": {"initialization": "xavier"}}
    assert found["config"] == {"model": backbone, "network": {"arguments": after}, "optimizer": {"name": "SGD"}}
    assert resolve_model(found["model"]).backbone == backbone
    assert content["model"]["arguments"] == before


@pytest.mark.parametrize(
    ("part", "before", "after"),
    [
        ("scheduler", "one_cycle", "cosine_cycle"),
        ("scheduler", "cosine", "cosine_with_warmup"),
        ("scheduler", "StepLR", "StepLR"),
        ("scheduler", "CyclicLR", "torch.optim.lr_scheduler:CyclicLR"),
        ("optimiser", "AdamW_GC", "AdamW_GC"),
        ("optimiser", "Adamax", "torch.optim:Adamax"),
    ],
)
def test_optimizers_and_schedules_have_their_present_names(part: str, before: str, after: str) -> None:
    config = upgraded({"config": {part: {"name": before}}})["config"]
    assert config == {"optimizer" if part == "optimiser" else part: {"name": after}}


@pytest.mark.parametrize(
    ("augmentation", "arguments"),
    [
        ({"name": "face", "arguments": {"hue": 0.2}}, {"flip": 0.5, "hue": 0.2}),
        ({"name": "Aug0", "arguments": {"CLAHE": {"p": 0}}}, {"CLAHE": {"p": 0}}),
    ],
)
def test_the_options_of_face_are_its_arguments(augmentation: dict[str, Any], arguments: dict[str, Any]) -> None:
    config = {"augment": {"flip": 0.5, "hue": 0.1}, "augmentation": augmentation}
    assert upgraded({"config": config})["config"] == {"augmentation": augmentation | {"arguments": arguments}}


def test_tensors_of_poster_v2_that_nothing_reads_are_dropped() -> None:
    state = {f"backbone.{name}": torch.zeros(1) for name in (*NOT_READ, "conv1.bias")}
    content = {
        "model": {"backbone": "poster_v2", "arguments": {"keep_unused": True}},
        "config": {"model": "poster_v2"},
        "model_state": state,
        "ema_state": dict(state),
    }
    found = upgraded(content)
    assert found["model"]["arguments"] == {}
    assert found["model_state"].keys() == found["ema_state"].keys() == {"backbone.conv1.bias"}


def test_a_checkpoint_of_an_ensemble_is_read_and_gives_pretrained_weights() -> None:
    file = WRITTEN_BEFORE / "gabor" / "best.pt"
    checkpoint = load_checkpoint(file)
    assert (checkpoint.model.backbone, checkpoint.config["model"]) == ("gabor_ensemble", "gabor_ensemble")
    expected = checkpoint.network().state_dict()
    spec = resolve_model(checkpoint.model, {"pretrained": str(file)})
    found = build_network(spec, MASK, NORMALIZATION).state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
