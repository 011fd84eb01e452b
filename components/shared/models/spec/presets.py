"""Models by name: what each is composed of. Plain values that spec.py reads; imports nothing heavy.

`pretrained` is `imagenet` where the model begins from published weights; lay `{"pretrained": "none"}` over it for
random ones. A preset of several heads (`heads`) belongs to a label space that has heads of those names, `all`.
"""

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]

_XAVIER: Values = {"initialization": "xavier"}
_ARCFACE: Values = {"kind": "arcface", "scale": 30.0, "margin": 0.4}
_FIVE_DROPOUTS: Values = {"kind": "multi_sample_dropout", "samples": 5, "dropout": 0.5, **_XAVIER}
_ONE_LOGIT_GENDER: Values = {"gender": {"one_logit": True}}
_VIT_384: Values = {"backbone": "vit_b_16", "arguments": {"image_size": 384}, "pretrained": "imagenet"}


def _imagenet(backbone: str, head: Values | None = None, **entries: Any) -> Values:
    return {"backbone": backbone, "pretrained": "imagenet", "head": head or {}, **entries}


def _probe(backbone: str) -> Values:
    """A linear probe: only the head trains, with dropout in front of it."""
    return _imagenet(backbone, {"kind": "dropout", "dropout": 0.3}, freeze="backbone")


PRESETS: dict[str, Values] = {
    "BaseModel": {"backbone": "base"},
    "EffNetB0": _imagenet("efficientnet_b0", {"kind": "hidden", "hidden": 512, "dropout": 0.5}),
    "ResNet18": _imagenet("resnet18", _XAVIER),
    "ResNet18Freeze": _imagenet("resnet18", _XAVIER, freeze="backbone"),
    "ResNet18Dropout": _imagenet("resnet18", {"kind": "dropout", "dropout": 0.25, **_XAVIER}),
    "ResNet18MSD": _imagenet("resnet18", _FIVE_DROPOUTS, keep_classes=True),
    "ResNet18FreezeTop6": _imagenet("resnet18", _XAVIER, freeze=6),
    "ResNet34FreezeTop6": _imagenet("resnet34", _XAVIER, freeze=6),
    "EfficientNetB3": _imagenet("efficientnet_b3", _XAVIER),
    "EfficientNetB3Freeze": _imagenet("efficientnet_b3", _XAVIER, freeze="backbone"),
    "EfficientNetB3MSD": _imagenet("efficientnet_b3", _FIVE_DROPOUTS, keep_classes=True),
    "EfficientNetB0FreezeTop3": _imagenet("efficientnet_b0", _XAVIER, freeze=3),
    "EfficientNetB4FreezeTop3": _imagenet("efficientnet_b4", _XAVIER, freeze=3),
    "EfficientNetB7": _imagenet("efficientnet_b7", _XAVIER),
    "Vgg11": _imagenet("vgg11_bn", _XAVIER),
    "Vgg13": _imagenet("vgg13_bn", _XAVIER),
    "Vgg16": _imagenet("vgg16_bn", _XAVIER),
    "Vgg11Freeze": _imagenet("vgg11_bn", _XAVIER, freeze="backbone"),
    "Vgg13Freeze": _imagenet("vgg13_bn", _XAVIER, freeze="backbone"),
    "Vgg16Freeze": _imagenet("vgg16_bn", _XAVIER, freeze="backbone"),
    "Inception": _imagenet("inception_v3", _XAVIER),
    "Vit": {"backbone": "vit_scratch"},
    "ViTPretrainedFreeze": {**_VIT_384, "head": _XAVIER, "freeze": "backbone"},
    "CustomModel_Arc": _imagenet("resnet18", _ARCFACE),
    "CustomModel": _imagenet("resnet18", heads=_ONE_LOGIT_GENDER),
    "CustomModel_E": _imagenet("efficientnet_b3", heads=_ONE_LOGIT_GENDER),
    "CustomModel_E_18": _imagenet("efficientnet_b3", _ARCFACE),
    "MaskGenderModel": _imagenet("resnet18", heads=_ONE_LOGIT_GENDER),
    "VITModel": {**_VIT_384, "heads": _ONE_LOGIT_GENDER},
    "BAM_ResNet": {"backbone": "bam_resnet"},
    "CBAM_ResNet": {"backbone": "cbam_resnet"},
    "resnet_18": _imagenet("resnet18", {"initialization": "xavier_constant"}),
    "resnet50_linear_probe": _probe("resnet50"),
    "resnet101_linear_probe": _probe("resnet101"),
    "resnet152_linear_probe": _probe("resnet152"),
}
"""Name -> entries of a ModelSpec; what is left out has its default."""
