"""Names of the backbones and the image sizes that they accept. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from components.shared.by_name import unknown_name
from serving.runtime.card import InputSize
from serving.runtime.errors import InputError

TORCHVISION: tuple[str, ...] = (
    "alexnet",
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{number}" for number in range(8)),
    *(f"efficientnet_v2_{size}" for size in "sml"),
    "googlenet",
    "inception_v3",
    "maxvit_t",
    *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    *(f"regnet_{kind}_{size}" for kind in "xy" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    "regnet_y_128gf",
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    *("squeezenet1_0", "squeezenet1_1"),
    *(f"swin{version}_{size}" for version in ("", "_v2") for size in "tsb"),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
    *("wide_resnet50_2", "wide_resnet101_2"),
)
"""All classifiers of torchvision by its names; a test compares them with the installed torchvision."""

OWN_BACKBONES: dict[str, str] = {
    "base": "components.shared.models.zoo.base_cnn:BaseCnn",
    "small_resnet": "components.shared.models.zoo.small_resnet:SmallResNet",
    "gabor_ensemble": "components.shared.models.zoo.gabor_ensemble:GaborEnsemble",
    "vit_scratch": "components.shared.models.zoo.vit_scratch:vit_scratch",
    "bam_resnet": "components.shared.models.zoo.attention_resnet:bam_resnet",
    "cbam_resnet": "components.shared.models.zoo.attention_resnet:cbam_resnet",
    "poster_v2": "components.shared.models.zoo.poster_v2.model:PosterV2",
}
"""Our own backbones: name -> import path of a callable that gets the number of outputs and the arguments."""

# By the beginning of the name: the smallest side, the only side (pixels), and the argument that sets the only side.
_LEAST_SIDE = {"alexnet": 63, "convnext": 32, "densenet": 29, "googlenet": 15, "squeezenet": 21, "vgg": 32}
_ONLY_SIDE = {"inception_v3": 299, "poster_v2": 224}
_SIDE_ARGUMENT = {"vit_scratch": ("image_size", 256), "maxvit": ("input_size", 224), "vit": ("image_size", 224)}


def check_backbone(name: str, *, kind: str = "backbone") -> str:
    """Return `name` if it is a backbone or has the form of an import path, else raise InputError about the `kind`."""
    if name not in OWN_BACKBONES and name not in TORCHVISION and not is_import_path(name):
        raise InputError(unknown_name(kind, name, (*OWN_BACKBONES, *TORCHVISION)))
    return name


def is_import_path(name: str) -> bool:
    """Tell whether a name has the form `package.module:name`."""
    module, colon, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def check_input(backbone: str, arguments: Mapping[str, Any], size: InputSize) -> InputSize:
    """Return `size` if the backbone accepts images of that size; InputError says which sizes it accepts otherwise.

    A backbone by import path is not checked.
    """
    if is_import_path(backbone):
        return size
    refusal = f"backbone '{backbone}' does not accept images of {size.height}x{size.width} pixels"
    only = _only_size(backbone, arguments)
    if only is not None and only != (size.height, size.width):
        raise InputError(f"{refusal}: set image_height to {only[0]} and image_width to {only[1]}")
    least = next((side for family, side in _LEAST_SIDE.items() if backbone.startswith(family)), 1)
    if min(size.height, size.width) < least:
        raise InputError(f"{refusal}: set image_height and image_width to at least {least}")
    return size


def _only_size(backbone: str, arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    """The only height and width that a backbone accepts, if there is only one."""
    if backbone in _ONLY_SIDE:
        return _ONLY_SIDE[backbone], _ONLY_SIDE[backbone]
    for family, (argument, default) in _SIDE_ARGUMENT.items():
        if backbone.startswith(family):
            side = arguments.get(argument, default)
            return (side[0], side[1]) if isinstance(side, list | tuple) else (side, side)
    return None
