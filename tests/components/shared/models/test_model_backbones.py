"""Every classifier of torchvision by its name, and own ones by import path."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from components.shared.models.backbones import build_backbone
from components.shared.models.network import build_network
from components.shared.models.spec import TORCHVISION, resolve_model
from serving.runtime.card import Head, Normalization
from serving.runtime.errors import InputError

HEADS = (Head(name="mask", labels=("worn", "incorrect", "absent")),)
NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
QUICK = ["squeezenet1_1", "mobilenet_v3_small"]
LESS_QUICK = ["alexnet", "densenet121", "mnasnet0_5", "shufflenet_v2_x0_5", "googlenet", "regnet_x_400mf", "swin_t"]
ON_META = [name for name in TORCHVISION if not name.startswith("regnet")]  # RegNet computes its widths with tensors
_AUXILIARY = {"inception_v3": 3_326_696}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LESS_QUICK)])
def test_a_family_really_runs(name: str, keep: bool) -> None:
    network = build_network(resolve_model(name, {"keep_classes": keep}), HEADS, NORMALIZATION).train()
    logits = network(torch.randint(0, 256, (2, 96, 80, 3), dtype=torch.uint8))
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    head = network.get_submodule(network.head_path)
    assert isinstance(head, nn.Linear) and head.weight.grad is not None and head.weight.grad.abs().sum() > 0
    assert (head.in_features == 1000) == keep


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_all_of_torchvision_take_a_head(name: str) -> None:
    """Built on the meta device where that works: the head replaces the last layer and nothing else."""
    with torch.device("meta" if name in ON_META else "cpu"):
        network = build_network(name, HEADS, NORMALIZATION).eval()
        side = 299 if name == "inception_v3" else 224
        if name in ON_META:
            assert network(torch.zeros((1, side, side, 3), dtype=torch.uint8)).shape == (1, 3)
    head = network.get_submodule(network.head_path)
    assert isinstance(head, nn.Linear)
    published = get_model_weights(name).DEFAULT.meta["num_params"] - _AUXILIARY.get(name, 0)
    bias = name != "maxvit_t"  # its last layer has none
    if name != "vit_h_14":  # its published weights are for larger pictures
        rest = published - head.in_features * 1000 - 1000 * bias
        assert sum(value.numel() for value in network.parameters()) == rest + (head.in_features + bias) * 3


def test_inception_has_no_auxiliary_head_and_gives_main_logits_in_training() -> None:
    with torch.device("meta"):
        network = build_network("inception_v3", HEADS, NORMALIZATION).train()
        assert not any("Aux" in name for name, _ in network.named_modules())
        assert network(torch.zeros((2, 299, 299, 3), dtype=torch.uint8)).shape == (2, 3)


def test_poster_v2_takes_any_head() -> None:
    spec = resolve_model("poster_v2", {"head": {"kind": "arcface"}, "freeze": "backbone"})
    with torch.device("meta"):
        network = build_network(spec, HEADS, NORMALIZATION).train()
        assert network(torch.zeros((2, 224, 224, 3), dtype=torch.uint8)).shape == (2, 3)
    assert network.head_path == "backbone.VIT.head.linear"
    assert [name for name, value in network.named_parameters() if value.requires_grad] == [
        f"{network.head_path}.weight"
    ]
    assert not network.get_submodule("backbone.ir_back.body1").training


OWN = """
from torch import nn

class Tiny(nn.Module):
    def __init__(self, outputs, width=4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.last = nn.Linear(width, outputs)

    def forward(self, images):
        return self.last(self.body(images).mean((2, 3)))

def function(outputs):
    raise AssertionError("was called")

class NoLinear(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.last = nn.Conv2d(3, outputs, 1)

NUMBER = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "facet_own_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "facet_own_models", raising=False)
    return "facet_own_models"


def test_a_model_by_import_path(own_module: str) -> None:
    changes = {"arguments": {"width": 6.0}, "head": {"kind": "arcface"}, "freeze": "backbone"}
    spec = resolve_model(f"{own_module}:Tiny", changes)
    network = build_network(spec, HEADS, NORMALIZATION)
    assert network(torch.zeros((2, 9, 9, 3), dtype=torch.uint8)).shape == (2, 3)
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters() if value.requires_grad}
    assert shapes == {"backbone.last.weight": (3, 6)}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("facet_own_models:Tiny", {"height": 1}, "backbone 'facet_own_models:Tiny' cannot be built with height=1"),
        ("facet_own_models:Absent", {}, "cannot be imported: .*Absent"),
        ("facet_absent:Tiny", {}, "cannot be imported: No module named 'facet_absent'"),
        ("facet_own_models:NUMBER", {}, "must be a class derived from torch.nn.Module, got 3"),
        ("facet_own_models:function", {}, "must be a class derived from torch.nn.Module, got <function"),
        ("os:system", {}, "must be a class derived from torch.nn.Module"),
        ("facet_own_models:NoLinear", {}, "must end in a linear layer of the 3 outputs.*it has none"),
        ("resnet18", {"depth": 3}, "backbone 'resnet18' cannot be built with depth=3: .*depth"),
        ("vit_scratch", {"image_size": 100}, "cannot be built with image_size=100"),
        ("base", {"width": 3}, "backbone 'base' cannot be built with width=3"),
    ],
)
def test_backbones_that_cannot_be_built(own_module: str, name: str, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_network(resolve_model(name, {"arguments": arguments}), HEADS, NORMALIZATION)


def test_an_unknown_argument_of_torchvision_is_refused() -> None:
    assert isinstance(build_backbone("resnet18", 4, {"zero_init_residual": True}, imagenet=False), nn.Module)
