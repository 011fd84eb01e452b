"""Names, shapes, sizes and cost of POSTER V2, without weights: all on torch's meta device (emotion 51)."""

import hashlib
from collections import Counter
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from components.shared.models.zoo.poster_v2.model import PosterV2
from components.shared.models.zoo.poster_v2.unused import UNUSED

# Of the sorted lines "name<tab>shape<tab>dtype" of a published 7-class checkpoint's tensors.
OFFICIAL_DIGEST = "d14da1051503155db8edbe9cc4c3bf0c1634fe79fcffa24a6da103a2865e5238"
TENSORS = {
    "face_landback": 333,
    "ir_back": 304,
    "VIT": 46,
    **{f"attn{level}": 6 for level in (1, 2, 3)},
    **{f"ffn{level}": 8 for level in (1, 2, 3)},
    **{f"window{level}": 2 for level in (1, 2, 3)},
    **{f"conv{level}": 2 for level in (1, 2, 3)},
    "last_face_conv": 2,
    "embed_q": 4,
    "embed_k": 2,
    "embed_v": 2,
}
PARAMETERS = {
    ("face_landback",): 1_007_248,
    ("ir_back",): 30_459_584,
    ("conv1", "conv2", "conv3"): 774_592,
    ("window1", "window2", "window3"): 896,
    ("attn1",): 18_530,
    ("attn2",): 52_452,
    ("attn3",): 198_728,
    ("ffn1",): 33_344,
    ("ffn2",): 132_224,
    ("ffn3",): 526_592,
    ("last_face_conv",): 1_179_904,
    ("embed_q",): 5_752_320,
    ("embed_k",): 885_504,
    ("embed_v",): 197_376,
    ("VIT",): 17_097_300,
}


@cache
def build(outputs: int = 7, *, keep_unused: bool = False) -> PosterV2:
    with torch.device("meta"):
        return PosterV2(outputs, keep_unused=keep_unused)


def size(module: nn.Module, *, trainable: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def test_the_official_form_has_the_names_shapes_and_types_of_the_published_weights() -> None:
    state = build(keep_unused=True).state_dict()
    lines = sorted(f"{name}\t{tuple(tensor.shape)}\t{tensor.dtype}" for name, tensor in state.items())
    assert len(lines) == 747
    assert Counter(name.split(".")[0] for name in state) == TENSORS
    assert sum(name.endswith("num_batches_tracked") for name in state) == 97
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == OFFICIAL_DIGEST


@pytest.mark.parametrize(
    ("keep_unused", "parameters", "trainable"),
    [(True, 58_316_594, 57_309_346), (False, 43_849_957, 42_842_709)],
)
def test_number_of_parameters(keep_unused: bool, parameters: int, trainable: int) -> None:
    model = build(keep_unused=keep_unused)
    assert (size(model), size(model, trainable=True)) == (parameters, trainable)


@pytest.mark.parametrize(("parts", "parameters"), PARAMETERS.items())
def test_number_of_parameters_of_each_part(parts: tuple[str, ...], parameters: int) -> None:
    model = build(keep_unused=True)
    assert sum(size(model.get_submodule(part)) for part in parts) == parameters


def test_the_form_that_trains_lacks_exactly_the_declared_tensors() -> None:
    official, used = build(keep_unused=True).state_dict(), build().state_dict()
    assert official.keys() - used.keys() == UNUSED.keys()
    assert {name: tuple(official[name].shape) for name in UNUSED} == UNUSED
    assert used.keys() <= official.keys()
    assert len(UNUSED) == 24


def test_shapes_at_every_tap() -> None:
    model = build()
    faces = torch.empty(2, 3, 112, 112, device="meta")
    assert [tuple(maps.shape) for maps in model.ir_back(faces)] == [(2, 64, 56, 56), (2, 128, 28, 28), (2, 256, 14, 14)]
    landmarks = model.face_landback(faces)
    assert [tuple(maps.shape) for maps in landmarks] == [(2, 64, 28, 28), (2, 128, 14, 14), (2, 512, 7, 7)]
    assert model.ir_back.input_layer(faces).shape == (2, 64, 112, 112)
    assert model.last_face_conv(landmarks[2]).shape == (2, 256, 7, 7)
    assert model.face_landback.output_layer(landmarks[2]).shape == (2, 136)


def test_logits_for_other_classes_and_features_without_a_head() -> None:
    images = torch.empty(2, 3, 224, 224, device="meta")
    assert build(8)(images).shape == (2, 8)
    assert build(0)(images).shape == (2, PosterV2.num_features)
    assert not [name for name, _ in build(0).named_parameters() if name.startswith("VIT.head")]


def test_multiply_adds_are_the_published_ones() -> None:
    with FlopCounterMode(display=False) as counter:
        logits = build()(torch.empty(1, 3, 224, 224, device="meta"))
    assert logits.shape == (1, 7)
    assert counter.get_total_flops() / 2 == pytest.approx(8.64e9, rel=0.02)


def test_every_norm_has_the_epsilon_of_its_part() -> None:
    for name, module in build(keep_unused=True).named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-6 if name.startswith("VIT") else 1e-5), name
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.eps == 1e-5, name


def test_units_strides_and_drop_rates() -> None:
    model = build()
    for body, units in ((model.ir_back.body1, 3), (model.ir_back.body2, 4), (model.ir_back.body3, 14)):
        assert [unit.res_layer[3].stride[0] for unit in body] == [2] + [1] * (units - 1)
    assert [ffn.drop_path.p for ffn in (model.ffn1, model.ffn2, model.ffn3)] == [0, 0.125, 0.25]
