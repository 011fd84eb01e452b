"""Names, changes and errors of model compositions: all of it without torch."""

import re
import subprocess
import sys

import pytest

from components.shared.models.spec import (
    OWN_BACKBONES,
    RECIPES,
    TORCHVISION,
    HeadSpec,
    ModelSpec,
    check_input,
    head_specs,
    resolve_model,
)
from serving.runtime.card import Head, InputSize
from serving.runtime.errors import InputError

ROWS = [
    "BaseModel",
    "EffNetB0",
    "ResNet18",
    "ResNet18Freeze",
    "ResNet18Dropout",
    "ResNet18MSD",
    "ResNet18FreezeTop6",
    "ResNet34FreezeTop6",
    "EfficientNetB3",
    "EfficientNetB3Freeze",
    "EfficientNetB3MSD",
    "EfficientNetB0FreezeTop3",
    "EfficientNetB4FreezeTop3",
    "EfficientNetB7",
    "Vgg11",
    "Vgg13",
    "Vgg16",
    "Vgg11Freeze",
    "Vgg13Freeze",
    "Vgg16Freeze",
    "Inception",
    "Vit",
    "ViTPretrainedFreeze",
    "CustomModel_Arc",
    "CustomModel",
    "CustomModel_E",
    "CustomModel_E_18",
    "MaskGenderModel",
    "VITModel",
    "BAM_ResNet",
    "CBAM_ResNet",
    "resnet_18",
    "resnet50_linear_probe",
    "resnet101_linear_probe",
    "resnet152_linear_probe",
    "poster_v2",
]

GENDER = Head(name="gender", labels=("male", "female"))
MASK = Head(name="mask", labels=("worn", "incorrect", "absent"))


@pytest.mark.parametrize("name", ROWS)
def test_every_model_of_earlier_projects_has_its_name(name: str) -> None:
    spec = resolve_model(name)
    assert resolve_model(spec.model_dump(mode="json")) == spec == resolve_model(spec)


def test_every_recipe_is_listed_above() -> None:
    assert set(RECIPES) == set(ROWS) - {"poster_v2"}


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys; from components.shared.models.spec import resolve_model; resolve_model('Vit'); "
        "resolve_model('resnet18'); resolve_model('my.own:Model'); "
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_names_are_those_of_the_installed_torchvision() -> None:
    from torchvision import models

    assert sorted(TORCHVISION) == sorted(models.list_models(module=models))
    assert not set(RECIPES) & {*TORCHVISION, *OWN_BACKBONES}


@pytest.mark.parametrize("name", ["resnet18", "base", "vit_b_16", "pack.age:Model"])
def test_a_backbone_name_is_a_plain_model_from_random_weights(name: str) -> None:
    assert resolve_model(name) == ModelSpec(backbone=name)


def test_compositions_of_the_rows() -> None:
    msd = resolve_model("EfficientNetB3MSD")
    assert msd.keep_classes and (msd.head.kind, msd.head.samples, msd.head.dropout) == ("multi_sample_dropout", 5, 0.5)
    assert (resolve_model("ResNet18Dropout").head.kind, resolve_model("ResNet18Dropout").head.dropout) == (
        "dropout",
        0.25,
    )
    arc = resolve_model("CustomModel_Arc").head
    assert (arc.kind, arc.scale, arc.margin, arc.easy_margin) == ("arcface", 30, 0.4, False)
    assert resolve_model("CustomModel").heads == {"gender": HeadSpec(one_logit=True)}
    assert resolve_model("ResNet34FreezeTop6").freeze == 6 and resolve_model("Vgg13Freeze").backbone == "vgg13_bn"
    probe = resolve_model("resnet101_linear_probe")
    assert (probe.backbone, probe.freeze, probe.head.kind, probe.head.dropout) == (
        "resnet101",
        "backbone",
        "dropout",
        0.3,
    )
    assert {name for name in RECIPES if resolve_model(name).pretrained == "none"} == {
        "BaseModel", "Vit", "BAM_ResNet", "CBAM_ResNet",
    }  # fmt: skip


def test_changes_override_entry_by_entry() -> None:
    changes = {"head": {"dropout": 0.1}, "pretrained": "s3://b/w.pt", "arguments": {"depth": 34.0}, "freeze": 2.0}
    spec = resolve_model("ResNet18MSD", changes)
    assert (spec.head.dropout, spec.head.samples, spec.head.initialization) == (0.1, 5, "xavier")
    assert (spec.pretrained, spec.freeze, spec.keep_classes) == ("s3://b/w.pt", 2, True)
    assert spec.arguments == {"depth": 34} and type(spec.arguments["depth"]) is int
    assert RECIPES["ResNet18MSD"]["head"]["dropout"] == 0.5


def test_a_head_of_another_kind_starts_from_its_defaults() -> None:
    assert resolve_model("ResNet18MSD", {"head": {"kind": "linear"}}).head == HeadSpec()
    assert resolve_model("CustomModel_Arc", {"head": {"kind": "arcface", "margin": 0.1}}).head.margin == 0.1


def test_label_heads_override_the_head() -> None:
    changes = {"head": {"kind": "hidden", "hidden": 64}, "heads": {"age": {"dropout": 0.2}, "mask": {"kind": "linear"}}}
    spec = resolve_model("base", changes)
    assert spec.heads == {"age": HeadSpec(kind="hidden", hidden=64, dropout=0.2), "mask": HeadSpec()}
    assert resolve_model(spec.model_dump(), {"heads": {"age": {"hidden": 8}}}).heads["age"].hidden == 8


@pytest.mark.parametrize(
    ("model", "changes", "parts"),
    [
        (
            "resnet19",
            {},
            ["unknown model 'resnet19'", "did you mean 'resnet18'", "small_resnet", "package.module"],
        ),
        ("Swin-T", {}, ["did you mean 'swin_t'"]),
        ("base", {"backbone": "vgg"}, ["unknown backbone 'vgg'", "did you mean 'vgg", "bam_resnet"]),
        ("base", {"haed": {}}, ["haed = {}: unknown key", "keep_classes"]),
        ("base", {"head": {"kind": "cosine"}}, ["head of model 'base'", "kind = 'cosine': ", "arcface"]),
        ("base", {"head": {"drop": 0.1}}, ["drop = 0.1: unknown key, did you mean 'dropout'", "samples"]),
        ("base", {"head": "linear"}, ["head of model 'base': expected a mapping, got 'linear'"]),
        ("base", {"heads": {"age": {"scale": 3}}}, ["head 'age' of model 'base'", "'scale' has no effect", "arcface"]),
        ("base", {"head": {"dropout": 0.3}}, ["'dropout' has no effect in a head of kind linear"]),
        ("base", {"head": {"kind": "dropout"}}, ["needs a 'dropout' above 0"]),
        ("base", {"head": {"kind": "arcface", "one_logit": True}}, ["'one_logit' has no effect"]),
        ("base", {"freeze": "some"}, ["freeze = 'some': ", "none, backbone, a number of stages"]),
        ("base", {"freeze": True}, ["freeze = True: "]),
        ("base", {"freeze": 0}, ["freeze = 0: "]),
        ("base", {"freeze": []}, ["freeze = []: "]),
        ("resnet18", {"arguments": {"num_classes": 3}}, ["'num_classes' follows from the label space"]),
    ],
)
def test_wrong_entries_are_named(model: str, changes: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        resolve_model(model, changes)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_names_of_recipes_are_neither_suggested_nor_listed() -> None:
    with pytest.raises(InputError) as caught:
        resolve_model("CustomModel_E_17")
    assert "did you mean" not in str(caught.value)
    words = set(re.findall(r"[\w.]+", str(caught.value).partition("known:")[2]))
    assert not words & set(RECIPES) and words >= {*TORCHVISION, *OWN_BACKBONES}


def test_heads_must_fit_the_label_space() -> None:
    spec = resolve_model("CustomModel")
    assert [entry.one_logit for entry in head_specs(spec, [MASK, GENDER])] == [False, True]
    with pytest.raises(InputError, match="head of its own for gender, but the label space has mask; use"):
        head_specs(spec, [MASK])
    with pytest.raises(InputError, match="one_logit: head 'mask' has 3 labels"):
        head_specs(resolve_model("base", {"head": {"one_logit": True}}), [MASK])


@pytest.mark.parametrize(
    ("model", "changes", "right", "wrong", "said"),
    [
        ("Inception", {}, (299, 299), (300, 299), "299 and image_width to 299"),
        ("ViTPretrainedFreeze", {}, (384, 384), (224, 224), "384"),
        ("ViTPretrainedFreeze", {"arguments": {"image_size": 64}}, (64, 64), (384, 384), "64"),
        ("Vit", {}, (256, 256), (256, 224), "256"),
        ("vit_b_32", {}, (224, 224), (128, 96), "224"),
        ("maxvit_t", {}, (224, 224), (128, 96), "224"),
        ("maxvit_t", {"arguments": {"input_size": [448, 224]}}, (448, 224), (224, 448), "image_height to 448"),
        ("poster_v2", {}, (224, 224), (112, 112), "224"),
        ("Vgg11", {}, (32, 40), (40, 31), "at least 32"),
        ("alexnet", {}, (63, 63), (62, 63), "at least 63"),
        ("resnet18", {}, (8, 8), None, ""),
        ("BaseModel", {}, (128, 96), None, ""),
        ("vit_of.mine:Net", {}, (128, 96), None, ""),
    ],
)
def test_input_sizes(
    model: str, changes: dict[str, object], right: tuple[int, int], wrong: tuple[int, int] | None, said: str
) -> None:
    spec = resolve_model(model, changes)
    check_input(spec.backbone, spec.arguments, InputSize(height=right[0], width=right[1]))
    if wrong:
        with pytest.raises(InputError, match=f"does not accept images of {wrong[0]}x{wrong[1]} pixels.*{said}"):
            check_input(spec.backbone, spec.arguments, InputSize(height=wrong[0], width=wrong[1]))


def test_the_training_config_checks_the_size() -> None:
    from components.train_classifier.config.training import resolve_config

    with pytest.raises(InputError, match="inception_v3.*does not accept images of 128x96"):
        resolve_config({"label_space": "mask"}, model="Inception", image_height=128, image_width=96)
    assert resolve_config({"label_space": "mask"}, model="Inception", image_height=299, image_width=299)
