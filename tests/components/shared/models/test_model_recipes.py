"""Every recipe: its parameters, what it trains, that frozen parts do not change."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from components.shared.models.backbones import stage_names
from components.shared.models.network import Network, build_network
from components.shared.models.spec import RECIPES, check_input, resolve_model
from serving.runtime.card import Head, InputSize, Normalization
from serving.runtime.errors import InputError

NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
SPACES = {"mask_gender_age": (18,), "gender_age": (6,), "mask": (3,), "gender": (2,), "all": (3, 2, 3)}
RANDOM: Mapping[str, Any] = {"pretrained": "none"}

RESNET18, RESNET34, RESNET50 = 11_176_512, 21_284_672, 23_508_032
B0, B3 = 4_007_548, 10_696_232
FIRST_SIX_18 = 9_408 + 128 + 147_968 + 525_568
FIRST_SIX_34 = 9_408 + 128 + 221_952 + 1_116_416
VIT_384 = 85_798_656 + (24**2 - 14**2) * 768
VIT_LAYER = 4 * 1024**2 + 4 * 1024 + 2 * 1024 * 2048 + 2048 + 1024 + 4 * 1024
VIT = 1024 * (3 * 32**2 + 1) + 1024 + 65 * 1024 + 6 * VIT_LAYER + 2 * 1024
BAM = sum(
    2 * c * c // 16 + c // 16 + c + 2 * c + c * (c // 16) + 2 * (9 * (c // 16) ** 2) + 3 * (c // 16) + c // 16 + 3
    for c in (64, 128, 256)
)
CBAM = sum(2 * (2 * c * c // 16 + c // 16 + c + 2 * 49 + 1) for c in (64, 128, 256, 512))

# Parameters of the backbone without its last layer, of the head, and of these how many are frozen. 18 classes, or
# `all` with one logit for the gender.
TABLE = {
    "BaseModel": (97_312, 128 * 18 + 18, 0),
    "EffNetB0": (B0, 1280 * 512 + 512 + 512 * 18 + 18, 0),
    "ResNet18": (RESNET18, 513 * 18, 0),
    "ResNet18Freeze": (RESNET18, 513 * 18, RESNET18),
    "ResNet18Dropout": (RESNET18, 513 * 18, 0),
    "ResNet18MSD": (RESNET18, 513 * 1000 + 1001 * 18, 0),
    "ResNet18FreezeTop6": (RESNET18, 513 * 18, FIRST_SIX_18),
    "ResNet34FreezeTop6": (RESNET34, 513 * 18, FIRST_SIX_34),
    "EfficientNetB3": (B3, 1537 * 18, 0),
    "EfficientNetB3Freeze": (B3, 1537 * 18, B3),
    "EfficientNetB3MSD": (B3, 1537 * 1000 + 1001 * 18, 0),
    "EfficientNetB0FreezeTop3": (B0, 1281 * 18, None),
    "EfficientNetB4FreezeTop3": (17_548_616, 1793 * 18, None),
    "EfficientNetB7": (63_786_960, 2561 * 18, 0),
    "Vgg11": (132_868_840 - 4_097_000, 4097 * 18, 0),
    "Vgg13": (133_053_736 - 4_097_000, 4097 * 18, 0),
    "Vgg16": (138_365_992 - 4_097_000, 4097 * 18, 0),
    "Vgg11Freeze": (132_868_840 - 4_097_000, 4097 * 18, 132_868_840 - 4_097_000),
    "Vgg13Freeze": (133_053_736 - 4_097_000, 4097 * 18, 133_053_736 - 4_097_000),
    "Vgg16Freeze": (138_365_992 - 4_097_000, 4097 * 18, 138_365_992 - 4_097_000),
    "Inception": (23_834_568 - 2_049_000, 2049 * 18, 0),
    "Vit": (VIT, 1025 * 18, 0),
    "ViTPretrainedFreeze": (VIT_384, 769 * 18, VIT_384),
    "CustomModel_Arc": (RESNET18, 512 * 18, 0),
    "CustomModel": (RESNET18, 513 * 7, 0),
    "CustomModel_E": (B3, 1537 * 7, 0),
    "CustomModel_E_18": (B3, 1536 * 18, 0),
    "MaskGenderModel": (RESNET18, 513 * 7, 0),
    "VITModel": (VIT_384, 769 * 7, 0),
    "BAM_ResNet": (RESNET18 + BAM, 513 * 18, 0),
    "CBAM_ResNet": (RESNET18 + CBAM, 513 * 18, 0),
    "resnet_18": (RESNET18, 513 * 18, 0),
    "resnet50_linear_probe": (RESNET50, 2049 * 18, RESNET50),
    "resnet101_linear_probe": (42_500_160, 2049 * 18, 42_500_160),
    "resnet152_linear_probe": (58_143_808, 2049 * 18, 58_143_808),
}


def heads_of(space: str) -> tuple[Head, ...]:
    sizes = SPACES[space]
    names = ("mask", "gender", "age") if len(sizes) == 3 else (space,)
    return tuple(Head(name=name, labels=tuple(map(str, range(size)))) for name, size in zip(names, sizes, strict=True))


def build(name: str, space: str = "", changes: Mapping[str, Any] = RANDOM) -> Network:
    spec = resolve_model(name, changes)
    return build_network(spec, heads_of(space or ("all" if spec.heads else "mask_gender_age")), NORMALIZATION)


def test_the_table_has_every_recipe() -> None:
    assert TABLE.keys() == RECIPES.keys()


@pytest.mark.parametrize("name", TABLE)
def test_parameters(name: str) -> None:
    with torch.device("meta"):
        network = build(name)
    backbone, head, frozen = TABLE[name]
    parameters = dict(network.named_parameters())
    assert sum(value.numel() for value in parameters.values()) == backbone + head
    still = {key for key, value in parameters.items() if not value.requires_grad}
    if frozen is None:
        prefixes = ("backbone.features.0.", "backbone.features.1.", "backbone.features.2.")
        assert still == {key for key in parameters if key.startswith(prefixes)} != set()
    else:
        assert sum(parameters[key].numel() for key in still) == frozen
    assert all(parameters[key].requires_grad for key in parameters if key.startswith(f"{network.head_path}."))
    if resolve_model(name).freeze == 6:
        parts = {key.split(".")[1] for key in still}
        assert parts == {"conv1", "bn1", "layer1", "layer2"}


SMALL = [name for name in TABLE if RECIPES[name]["backbone"] in ("base", "resnet18", "bam_resnet", "cbam_resnet")]


SIDES = {"Inception": 299, "Vit": 256, "ViTPretrainedFreeze": 384, "VITModel": 384}


def check_logits(name: str, space: str) -> None:
    if resolve_model(name).heads and space not in ("gender", "all"):
        with pytest.raises(InputError, match="head of its own for gender"):
            build(name, space)
        return
    side = SIDES.get(name, 128)
    with torch.device("meta"):
        network = build(name, space)
        assert network(torch.zeros((2, side, side, 3), dtype=torch.uint8)).shape == (2, sum(SPACES[space]))


@pytest.mark.parametrize("name", SMALL)
def test_logits(name: str) -> None:
    check_logits(name, "all")


STATED = {
    "EffNetB0": (256, 192),
    "EfficientNetB3": (300, 300),
    "EfficientNetB4FreezeTop3": (380, 380),
    "EfficientNetB7": (600, 600),
    "Vgg11": (224, 224),
    "CustomModel_Arc": (384, 288),
}


@pytest.mark.parametrize("name", STATED)
def test_stated_sizes(name: str) -> None:
    """Inception and the ViTs, which accept one size only, are among all models below."""
    height, width = STATED[name]
    spec = resolve_model(name)
    check_input(spec.backbone, spec.arguments, InputSize(height=height, width=width))
    with torch.device("meta"):
        network, images = build(name).eval(), torch.zeros((2, height, width, 3), dtype=torch.uint8)
        assert network(images).shape == (2, 18)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", TABLE)
def test_logits_of_every_model_and_label_space(name: str, space: str) -> None:
    check_logits(name, space)


def two_steps(network: Network, side: int) -> dict[str, torch.Tensor]:
    """Two training steps with all parameters in the optimizer, which also decays weights."""
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        network.train()
        images = torch.randint(0, 256, (4, side, side, 3), dtype=torch.uint8, generator=generator)
        targets = [functional.one_hot(torch.arange(4) % size, size).float() for size in network.sizes]
        logits = network.margin_logits(network(images), targets)
        loss = functional.cross_entropy(logits, torch.cat(targets, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before


def check_training(network: Network, side: int) -> None:
    before = two_steps(network, side)
    after = network.state_dict()
    parameters = dict(network.named_parameters())
    still = [key for key, value in parameters.items() if not value.requires_grad]
    assert all(torch.equal(before[key], after[key]) for key in still)
    head = [key for key in after if key.startswith(f"{network.head_path}.")]
    assert head and all(not torch.equal(before[key], after[key]) for key in head)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            key = f"{name}.running_mean"
            assert torch.equal(before[key], after[key]) == (not module.weight.requires_grad), key
            key = f"{name}.num_batches_tracked"
            assert torch.equal(before[key], after[key]) == (not module.weight.requires_grad), key


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("ResNet18Freeze", 32),
        ("ResNet18FreezeTop6", 32),
        ("CustomModel_Arc", 32),
    ],
)
def test_frozen_parts_stay_bit_identical_and_the_head_learns(name: str, side: int) -> None:
    check_training(build(name), side)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in TABLE if RECIPES[name].get("freeze") or name in ("Vit", "Inception")]
)
def test_frozen_parts_of_all_models_stay_bit_identical(name: str) -> None:
    small = {"arguments": {"image_size": 64}} if name.startswith("Vi") else {}
    side = 64 if small else 299 if name == "Inception" else 64
    check_training(build(name, changes={**RANDOM, **small}), side)


def test_a_recipe_with_a_frozen_backbone_can_be_unfrozen() -> None:
    with torch.device("meta"):
        network = build("resnet50_linear_probe", changes={**RANDOM, "freeze": "none"}).train()
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(module.training for module in network.modules())


def test_freezing_by_name() -> None:
    network = build("resnet18", changes={"freeze": ["layer1", "backbone.layer3.0", "conv1.weight"]})
    still = [name for name, value in network.named_parameters() if not value.requires_grad]
    assert all(name.startswith(("backbone.layer1.", "backbone.layer3.0.", "backbone.conv1.")) for name in still)
    assert network.frozen == ("backbone.layer1", "backbone.layer3.0")
    check_training(network, 32)


def test_the_dropout_in_front_of_a_frozen_backbones_head_stays_active() -> None:
    network = build("EfficientNetB0FreezeTop3", changes={**RANDOM, "freeze": "backbone"}).train()
    assert network.get_submodule("backbone.classifier.0").training
    assert not network.get_submodule("backbone.features").training
    assert not network.eval().get_submodule("backbone.classifier.0").training


def test_a_copy_keeps_the_policy() -> None:
    network = copy.deepcopy(build("ResNet18Freeze")).train()
    assert not network.get_submodule("backbone.bn1").training and network.training


@pytest.mark.parametrize(
    ("model", "freeze", "message"),
    [
        ("resnet18", ["layer5"], "no module 'layer5'; at the top it has conv1, bn1"),
        ("resnet18", ["laye"], "no module 'laye'"),
        ("resnet18", 10, "the backbone has 9 stages, 10 cannot be frozen: conv1"),
        ("base", ["features", "fc"], "nothing is left to train"),
    ],
)
def test_policies_that_do_not_fit(model: str, freeze: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(model, changes={"freeze": freeze})


def test_stages_by_family() -> None:
    with torch.device("meta"):
        found = {
            name: stage_names(build(name).backbone)
            for name in ("resnet18", "efficientnet_b0", "vit_b_32", "mnasnet0_5")
        }
    assert found["resnet18"][:6] == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2"]
    assert found["efficientnet_b0"] == [f"features.{number}" for number in range(9)]
    assert found["vit_b_32"] == ["conv_proj", *(f"encoder.layers.encoder_layer_{number}" for number in range(12))]
    assert found["mnasnet0_5"][0] == "layers.0"


def test_the_vit_from_scratch_is_built_as_described() -> None:
    network = build("Vit", changes={"arguments": {"depth": 2, "mlp_dim": 64, "dim": 32, "heads": 4, "image_size": 64}})
    dropouts = {name: module.p for name, module in network.named_modules() if isinstance(module, nn.Dropout)}
    assert dropouts.pop("backbone.encoder.dropout") == 0.1
    assert set(dropouts.values()) == {0.3} and len(dropouts) == 6
    assert network(torch.zeros((2, 64, 64, 3), dtype=torch.uint8)).shape == (2, 18)


@pytest.mark.parametrize("name", ["bam_resnet", "cbam_resnet"])
def test_attention_is_where_the_papers_put_it(name: str) -> None:
    with torch.device("meta"):
        network = build(name, changes={"arguments": {"depth": 50, "reduction": 8}})
        assert network(torch.zeros((2, 64, 64, 3), dtype=torch.uint8)).shape == (2, 18)
    places = [key for key, module in network.named_modules() if type(module).__name__.endswith("Attention")]
    if name == "bam_resnet":
        assert places == ["backbone.layer1.3", "backbone.layer2.4", "backbone.layer3.6"]
    else:
        counts = zip((1, 2, 3, 4), (3, 4, 6, 3), strict=True)
        assert places == [f"backbone.layer{stage}.{block}.bn3.1" for stage, count in counts for block in range(count)]
    for depth, message in ((20, "depth 20"), (18, "")):
        if message:
            with pytest.raises(InputError, match=message):
                build(name, changes={"arguments": {"depth": depth}})


def test_attention_weights_follow_the_formulas() -> None:
    from components.shared.models.zoo.attention_resnet import BlockAttention, BottleneckAttention

    torch.manual_seed(0)
    maps = torch.randn(2, 32, 9, 7)
    cbam = BlockAttention(32, 16).eval()
    mlp, pooled = cbam.channel, (maps.mean((2, 3)), maps.amax((2, 3)))
    refined = maps * torch.sigmoid(mlp(pooled[0]) + mlp(pooled[1])).view(2, 32, 1, 1)
    place = torch.sigmoid(cbam.spatial(torch.stack([refined.mean(1), refined.amax(1)], 1)))
    torch.testing.assert_close(cbam(maps), refined * place)
    bam = BottleneckAttention(32, 16).eval()
    weights = torch.sigmoid(bam.channel(maps) + bam.spatial(maps))
    assert weights.shape == maps.shape
    torch.testing.assert_close(bam(maps), maps * (1 + weights))
    dilations = [module.dilation for module in bam.modules() if isinstance(module, nn.Conv2d)]
    assert dilations == [(1, 1), (4, 4), (4, 4), (1, 1)]
