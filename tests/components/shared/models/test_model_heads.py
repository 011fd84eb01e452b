"""The arithmetic of heads, compared with plain numpy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from components.shared.models.heads import ConcatenatedHeads, OneLogit, ScaledCosine, make_head, with_margin
from components.shared.models.network import build_network, head_probabilities
from components.shared.models.spec import HeadSpec, resolve_model
from serving.runtime.card import Head, Normalization

NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
SPACES = {"mask_gender_age": (18,), "gender_age": (6,), "mask": (3,), "gender": (2,), "all": (3, 2, 3)}
KINDS: dict[str, dict[str, Any]] = {
    "linear": {},
    "hidden": {"kind": "hidden", "hidden": 7, "dropout": 0.5},
    "dropout": {"kind": "dropout", "dropout": 0.5},
    "multi_sample_dropout": {"kind": "multi_sample_dropout", "dropout": 0.5, "samples": 3},
    "arcface": {"kind": "arcface"},
}


def heads_of(space: str) -> tuple[Head, ...]:
    sizes = SPACES[space]
    names = ("mask", "gender", "age") if len(sizes) == 3 else (space,)
    return tuple(Head(name=name, labels=tuple(map(str, range(size)))) for name, size in zip(names, sizes, strict=True))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [False, True])
def test_every_head_serves_every_label_space(kind: str, space: str, keep: bool) -> None:
    spec = resolve_model("base", {"head": KINDS[kind], "keep_classes": keep})
    network = build_network(spec, heads_of(space), NORMALIZATION).train()
    logits = network(torch.randint(0, 256, (4, 16, 12, 3), dtype=torch.uint8))
    assert logits.shape == (4, sum(SPACES[space]))
    logits.square().sum().backward()
    grown = [
        name for name, value in network.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0
    ]
    assert f"{network.head_path}." in "".join(grown)
    assert ("backbone.fc.0.weight" in grown) == keep or kind in ("hidden", "dropout")


def numpy_arcface(
    features: np.ndarray, weight: np.ndarray, labels: np.ndarray | None, scale: float, margin: float, easy: bool
) -> np.ndarray:
    cosine = (features / np.linalg.norm(features, axis=1, keepdims=True)) @ (
        weight / np.linalg.norm(weight, axis=1, keepdims=True)
    ).T
    out = cosine.copy()
    for row, label in enumerate(labels if labels is not None else []):
        angle = math.acos(cosine[row, label])
        if easy:
            out[row, label] = math.cos(angle + margin) if cosine[row, label] > 0 else cosine[row, label]
        elif angle + margin < math.pi:
            out[row, label] = math.cos(angle + margin)
        else:
            out[row, label] = cosine[row, label] - math.sin(math.pi - margin) * margin
    return scale * out


@pytest.mark.parametrize("margin", [0.0, 0.4, 1.5])
@pytest.mark.parametrize("easy", [False, True])
def test_arcface_is_the_formula(margin: float, easy: bool) -> None:
    rng = np.random.default_rng(3)
    features, weight = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    labels = rng.integers(5, size=40)
    labels[:5] = range(5)
    features[:5] = -weight + 0.05 * rng.normal(size=(5, 3))  # almost opposite: beyond pi
    spec = HeadSpec(kind="arcface", scale=20.0, margin=margin, easy_margin=easy)
    head = ScaledCosine(3, 5, 20.0).double()
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
    logits = head(torch.from_numpy(features))
    np.testing.assert_allclose(logits.detach(), numpy_arcface(features, weight, None, 20, margin, easy), atol=1e-9)
    targets = functional.one_hot(torch.from_numpy(labels), 5).float()
    found = with_margin(logits, targets, spec)
    expected = numpy_arcface(features, weight, labels, 20, margin, easy)
    np.testing.assert_allclose(found.detach(), expected, atol=2e-4)
    cosine = expected[np.arange(40), labels]
    if margin == 0.4 and not easy:
        plain = numpy_arcface(features, weight, None, 1, 0, False)[np.arange(40), labels]
        beyond = np.arccos(plain) + margin >= np.pi
        assert beyond.any() and not beyond.all() and (cosine <= 20 * plain).all()


def test_soft_targets_mix_with_and_without_margin() -> None:
    spec = HeadSpec(kind="arcface")
    logits = 30 * torch.tensor([[0.5, -0.2, 0.1]])
    hard = torch.stack([with_margin(logits, row[None], spec)[0] for row in torch.eye(3)])
    targets = torch.tensor([[0.7, 0.3, 0.0]])
    found = with_margin(logits, targets, spec)
    for column in range(3):
        share = targets[0, column]
        assert float(found[0, column]) == pytest.approx(
            float(share * hard[column, column] + (1 - share) * logits[0, column])
        )


def test_arcface_has_finite_gradients_where_vectors_coincide() -> None:
    head = ScaledCosine(4, 2, 30.0)
    features = head.weight.detach().clone().requires_grad_()
    loss = with_margin(head(features), torch.eye(2), HeadSpec(kind="arcface")).sum()
    loss.backward()
    assert torch.isfinite(features.grad).all() and torch.isfinite(head.weight.grad).all()


def test_arcface_evaluates_scaled_cosines_and_trains_with_a_margin() -> None:
    """Unscaled cosines would give almost flat probabilities, and a validation loss that means nothing."""
    heads = heads_of("all")
    spec = resolve_model("base", {"head": {"kind": "arcface", "scale": 40.0}, "heads": {"age": {"kind": "linear"}}})
    network = build_network(spec, heads, NORMALIZATION)
    images = torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8)
    targets = [functional.one_hot(torch.zeros(6, dtype=torch.int64), size).float() for size in (3, 2, 3)]
    network.eval()
    logits = network(images)
    assert network.margin_logits(logits, targets) is logits
    features = network.backbone.features(images.permute(0, 3, 1, 2).float().sub(network.mean) / network.std).mean(
        (2, 3)
    )
    vectors = network.get_parameter("backbone.fc.heads.0.weight")
    expected = 40 * functional.cosine_similarity(features[:, None], vectors[None], dim=2)
    torch.testing.assert_close(logits[:, :3], expected, atol=1e-4, rtol=1e-4)
    vectors.data[0] = features[0].detach()
    assert head_probabilities(network(images), (3, 2, 3))[0][0, 0] > 0.99
    network.train()
    changed = network.margin_logits(logits, targets)
    assert torch.equal(changed[:, 5:], logits[:, 5:]) and torch.equal(changed[:, 1:3], logits[:, 1:3].float())
    assert (changed[:, 0] < logits[:, 0]).all() and (changed[:, 3] < logits[:, 3]).all()
    plain = build_network("base", heads, NORMALIZATION).train()
    assert plain.margin_logits(logits, targets) is logits


def test_margin_zero_is_the_scaled_cosine_softmax() -> None:
    logits = 30 * torch.empty(8, 5).uniform_(-0.99, 0.99)
    targets = functional.one_hot(torch.arange(8) % 5, 5).float()
    torch.testing.assert_close(with_margin(logits, targets, HeadSpec(kind="arcface", margin=0.0)), logits)


def test_one_logit_is_a_sigmoid_and_its_cross_entropy_is_the_binary_one() -> None:
    torch.manual_seed(0)
    head = make_head(5, [HeadSpec(one_logit=True)], [2])
    assert isinstance(head, OneLogit)
    features, share = torch.randn(9, 5), torch.rand(9)
    logits = head(features)
    z = head.layer(features)[:, 0]
    assert z.shape == (9,) and not logits[:, 0].any()
    torch.testing.assert_close(torch.softmax(logits, 1)[:, 1], torch.sigmoid(z))
    found = functional.cross_entropy(logits, torch.stack([1 - share, share], 1), reduction="none")
    torch.testing.assert_close(found, functional.binary_cross_entropy_with_logits(z, share, reduction="none"))
    assert torch.equal(logits.argmax(1) == 1, z > 0)


def test_one_logit_among_three_heads() -> None:
    spec = resolve_model("base", {"heads": {"gender": {"one_logit": True}}})
    network = build_network(spec, heads_of("all"), NORMALIZATION)
    head = network.get_submodule(network.head_path)
    assert isinstance(head, ConcatenatedHeads)
    assert [value.shape[0] for name, value in head.named_parameters() if "weight" in name] == [3, 1, 3]
    logits = network(torch.zeros((2, 16, 16, 3), dtype=torch.uint8))
    assert logits.shape == (2, 8) and not logits[:, 3].any()


def test_multi_sample_dropout_averages_in_training_only() -> None:
    torch.manual_seed(0)
    head = make_head(50, [HeadSpec(kind="multi_sample_dropout", dropout=0.5, samples=5)], [3])
    features = torch.randn(4, 50)
    torch.manual_seed(1)
    found = head.train()(features)
    torch.manual_seed(1)
    masks = [functional.dropout(torch.ones(4, 50), 0.5) for _ in range(5)]
    expected = sum(head.layer(features * mask) for mask in masks) / 5
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, head(features))
    assert torch.equal(head.eval()(features), head.layer(features))
    assert sum(value.numel() for value in head.parameters()) == 50 * 3 + 3  # one layer shared by all samples


@pytest.mark.parametrize("model", ["ResNet18Dropout", "resnet50_linear_probe"])
def test_dropout_happens_before_the_layer(model: str) -> None:
    spec = resolve_model(model)
    torch.manual_seed(0)
    head = make_head(40, [spec.head], [6]).train()
    features = torch.ones(400, 40)
    dropout, layer = head[0], head[1]
    seen = dropout(features)
    assert (seen == 0).float().mean().item() == pytest.approx(spec.head.dropout, abs=0.02)
    outputs = head(features)
    assert not (outputs == 0).any(), "dropout of the outputs would leave zeros"
    assert torch.equal(head.eval()(features), layer(features))


def test_hidden_head_is_linear_dropout_relu_linear() -> None:
    head = make_head(6, [HeadSpec(kind="hidden", hidden=9, dropout=0.4)], [3]).eval()
    assert [type(layer).__name__ for layer in head] == ["Linear", "Dropout", "ReLU", "Linear"]
    assert head[1].p == 0.4 and head[0].weight.shape == (9, 6) and head[3].weight.shape == (3, 9)
    features = torch.randn(2, 6)
    torch.testing.assert_close(head(features), head[3](torch.relu(head[0](features))))


@pytest.mark.parametrize("kind", [{}, {"kind": "hidden", "hidden": 300}])
@pytest.mark.parametrize("name", ["default", "xavier", "xavier_constant"])
def test_initializations(name: str, kind: dict[str, Any]) -> None:
    torch.manual_seed(0)
    head = make_head(1280, [HeadSpec(initialization=name, **kind)], [18])
    for layer in [module for module in head.modules() if isinstance(module, torch.nn.Linear)]:
        inputs, outputs = layer.in_features, layer.out_features
        bound = 1 / math.sqrt(inputs) if name == "default" else math.sqrt(6 / (inputs + outputs))
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        if name == "xavier_constant":
            assert torch.equal(layer.bias, torch.full_like(layer.bias, 0.01))
        else:
            assert 0.6 / math.sqrt(inputs) < layer.bias.abs().max() <= 1 / math.sqrt(inputs)


def test_arcface_vectors_begin_xavier_uniform_without_bias() -> None:
    head = ScaledCosine(512, 18, 30.0)
    bound = math.sqrt(6 / 530)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert 0.98 * bound < head.weight.abs().max() <= bound
