"""Names, shapes, sizes and cost of POSTER V2, without weights: all on torch's meta device ."""

from functools import cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from components.shared.models.zoo.poster_v2.model import PosterV2

PARAMETERS = {
    ("face_landback",): 1_007_248,
    ("ir_back",): 17_611_968,
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
    ("VIT",): 15_478_279,
}


@cache
def build(outputs: int = 7) -> PosterV2:
    with torch.device("meta"):
        return PosterV2(outputs)


def size(module: nn.Module, *, trainable: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def test_number_of_parameters() -> None:
    assert (size(build()), size(build(), trainable=True)) == (43_849_957, 42_842_709)


@pytest.mark.parametrize(("parts", "parameters"), PARAMETERS.items())
def test_number_of_parameters_of_each_part(parts: tuple[str, ...], parameters: int) -> None:
    model = build()
    assert sum(size(model.get_submodule(part)) for part in parts) == parameters


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
    for name, module in build().named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-6 if name.startswith("VIT") else 1e-5), name
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.eps == 1e-5, name


def test_units_strides_and_drop_rates() -> None:
    model = build()
    for body, units in ((model.ir_back.body1, 3), (model.ir_back.body2, 4), (model.ir_back.body3, 14)):
        assert [unit.res_layer[3].stride[0] for unit in body] == [2] + [1] * (units - 1)
    assert [ffn.drop_path.p for ffn in (model.ffn1, model.ffn2, model.ffn3)] == [0, 0.125, 0.25]
